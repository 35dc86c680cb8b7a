"""Features for a whole collection: in parallel, cached by content, resumed after a kill.

Each song is read once. What came of it lies in `OUT/cache`, under a name made of the file's content and the settings,
so a song that was done is never done again, however the run ended and whatever the file is called now. When all songs
are done the results are put together, in the order of the collection, one song at a time in memory:
`OUT/summary` and `OUT/mel` become array folders, `OUT/picture` a folder of genre folders with grey log-mel pictures.
"""

import json
import os
import re
import shutil
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from genre_nbs.audio import load_audio
from genre_nbs.datasets import BAD_COLUMNS, DataError, read_tracks, Representation
from genre_nbs.io.cluster import progress_bar, run_tasks
from genre_nbs.io.decode import AudioError
from genre_nbs.io.files import atomic_path, check_target, sha256 as file_sha256
from genre_nbs.io.pictures import save_picture
from genre_nbs.spectrograms import log_mel, to_grey

VERSION = 1  # raise it when the same song and settings begin to give other numbers: older caches are then left alone
SR = 22050  # sample rate of all three, in Hz
ARRAYS = {kind: Representation(kind, sr=SR) for kind in ("summary", "mel")}
KINDS = (*ARRAYS, "picture")


@dataclass(frozen=True)
class Done:
    "What a worker says of one song: the rows it gave for each kind, or the reason why there are none."

    key: str = ""
    rows: dict = field(default_factory=dict)
    computed: tuple = ()  # kinds that were not in the cache
    reason: str = ""


def cache_path(cache, key, kind):
    "Where a result lies. The name holds the content's checksum and that of the settings."
    settings = ARRAYS[kind].to_dict() if kind in ARRAYS else {"kind": kind, "sr": SR}
    mark = sha256(json.dumps([VERSION, settings], sort_keys=True).encode()).hexdigest()[:8]
    return Path(cache) / kind / key[:2] / f"{key}-{mark}{'.npy' if kind in ARRAYS else '.png'}"


def prepare_song(path, kinds, cache):
    "Compute what is not in the cache yet for one song. Never raises on a bad file: the reason is returned."
    try:
        if not Path(path).is_file():  # missing, a folder or a pipe: reading it says which, before a checksum waits on it for ever
            load_audio(path)
        key = file_sha256(path)
        missing = tuple(kind for kind in kinds if not usable(cache_path(cache, key, kind), kind))
        if missing:
            compute(path, [(kind, cache_path(cache, key, kind)) for kind in missing])
        return Done(key, {kind: rows_of(cache_path(cache, key, kind), kind) for kind in kinds}, missing)
    except AudioError as error:
        return Done(reason=error.reason)


def compute(path, targets):
    "The kinds of one song that are wanted, from one reading. One thread: the sums then come out the same to the bit everywhere."
    with threadpool_limits(1):
        y, sr = load_audio(path, SR, min_seconds=1.0)
        for kind, target in targets:
            write_one(target, kind, y, sr)


def write_one(target, kind, y, sr):
    "One result of one song, whole or not at all."
    if kind == "picture":
        save_picture(target, to_grey(log_mel(y, sr)))
        return
    with atomic_path(target) as part:
        np.save(part, ARRAYS[kind].of_waveform(y, sr).astype(np.float32, copy=False))


def usable(path, kind):
    "Whether a result lies there whole; a file that a failing disk cut short counts as none."
    try:
        return path.stat().st_size > 0 and rows_of(path, kind) > 0
    except (OSError, ValueError, EOFError):
        return False


def rows_of(path, kind):
    "How many examples a result holds, read off its header."
    return 1 if kind == "picture" else len(np.load(path, mmap_mode="r", allow_pickle=False))


def prepare(data, out, kinds=("summary",), jobs=1, scheduler=None, progress=False):
    """Prepare a collection of songs; returns a dict with n, computed, bad (DataFrame) and the folders written.

    `kinds` are some of summary, mel and picture. Work goes to `jobs` processes, or to the Dask cluster at `scheduler`
    (which must see the same folders), through joblib's own Dask backend. A run that was killed is resumed by the same
    call. Raises `ValueError` for an unknown kind, `DataError` when no song can be used.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise ValueError(f"cannot prepare {', '.join(map(repr, unknown)) or 'nothing'}; choose from {', '.join(KINDS)}")
    tracks, out = read_tracks(data), Path(out).absolute()
    check_target(out / "bad.csv")
    tracks = tracks.assign(path=[os.path.abspath(path) for path in tracks.path])
    results = run_all(tracks.path, tuple(kinds), out / "cache", jobs, scheduler, progress)
    good = [not done.reason for done in results]
    bad = pd.DataFrame([(p, d.reason) for p, d in zip(tracks.path, results, strict=True) if d.reason], columns=BAD_COLUMNS)
    if not any(good):
        raise DataError(f"none of the {len(bad)} files can be used; the first, {bad.path[0]}: {bad.reason[0]}")
    kept, done = tracks[good], [result for result in results if not result.reason]
    for kind in kinds:
        gather(out, kind, kept, done)
    with atomic_path(out / "bad.csv") as part:
        bad.to_csv(part, index=False, lineterminator="\n", errors="backslashreplace")
    computed = Counter(kind for result in done for kind in result.computed)
    return {"n": len(kept), "computed": dict(computed), "bad": bad, "folders": {kind: str(out / kind) for kind in kinds}}


def run_all(paths, kinds, cache, jobs, scheduler, progress):
    "`prepare_song` of every path, in order, here or on a cluster."
    tasks = [joblib.delayed(prepare_song)(path, kinds, cache) for path in paths]
    done = run_tasks(tasks, jobs, scheduler)
    return list(progress_bar(done, len(tasks), "Preparing") if progress else done)


def gather(out, kind, tracks, done):
    "The results of all songs as one folder that `genre-nbs train` reads."
    cache, folder = out / "cache", out / kind
    paths = [cache_path(cache, result.key, kind) for result in done]
    if kind == "picture":
        gather_pictures(folder, tracks, paths)
    else:
        gather_arrays(folder, tracks, paths, [result.rows[kind] for result in done])


def gather_arrays(folder, tracks, paths, counts):
    "`X.npy` with all examples, and the label, track and artist of each beside it; one song in memory at a time."
    first = np.load(paths[0], mmap_mode="r", allow_pickle=False)
    with atomic_path(folder / "X.npy") as part:
        x = np.lib.format.open_memmap(part, "w+", np.float32, (sum(counts), *first.shape[1:]))
        place = 0
        for path, count in zip(paths, counts, strict=True):
            x[place : place + count] = np.load(path, allow_pickle=False)
            place += count
        x.flush()
        del x
    columns = {"labels": tracks.genre, "tracks": tracks.track}
    if "artist" in tracks and tracks.artist.notna().all():
        columns["artists"] = tracks.artist
    for name, values in columns.items():
        with atomic_path(folder / f"{name}.npy") as part:
            np.save(part, np.repeat(values.to_numpy(dtype=str), counts))


def gather_pictures(folder, tracks, paths):
    "Pictures in genre folders, named by track, and a manifest."
    names = picture_names(tracks)
    for name, source in zip(names, paths, strict=True):
        with atomic_path(folder / name) as part:
            try:
                os.link(source, part)
            except OSError:  # another disk, or one without links
                shutil.copyfile(source, part)
    columns = [name for name in ("genre", "track", "artist", "split") if name in tracks]
    with atomic_path(folder / "manifest.csv") as part:
        tracks[columns].assign(path=names)[["path", *columns]].to_csv(part, index=False, lineterminator="\n", errors="backslashreplace")


def picture_names(tracks):
    "A path inside the folder for each track, whatever its name holds; numbered where two would be alike."
    seen, names = Counter(), []
    for genre, track in zip(tracks.genre, tracks.track, strict=True):
        stem = re.sub(r"[^\w.-]+", "_", track.removeprefix(f"{genre}/")).lstrip(".") or "track"
        name = f"{genre}/{stem}"
        seen[name] += 1
        names.append(f"{name}.png" if seen[name] == 1 else f"{name}~{seen[name]}.png")
    return names

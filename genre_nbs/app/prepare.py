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
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from genre_nbs.audio import load_audio
from genre_nbs.collections import read_collection
from genre_nbs.datasets import BAD_COLUMNS, DataError, Representation
from genre_nbs.io.cluster import check_scheduler, progress_bar, run_tasks
from genre_nbs.io.decode import AudioError, known_fault
from genre_nbs.io.files import FULL, atomic_path, check_target, sha256 as file_sha256
from genre_nbs.io.finding import unreadable
from genre_nbs.io.leftovers import only_run, sweep_parts
from genre_nbs.io.pictures import save_picture
from genre_nbs.io.segments import SongBlocks
from genre_nbs.io.workers import KILLED, run_each
from genre_nbs.spectrograms import log_mel_parts, to_grey

VERSION = 1  # raise it when the same song and settings begin to give other numbers: older caches are then left alone
SR = 22050  # sample rate of all three, in Hz
ARRAYS = {kind: Representation(kind, sr=SR) for kind in ("summary", "mel")}
KINDS = (*ARRAYS, "picture")
MOST_OF_NAME = 200  # bytes of a picture's name without its ending; systems take 255


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
        if reason := unreadable(path):
            return Done(reason=reason)
        if not Path(path).is_file():  # missing, a folder or a pipe: reading it says which, before a checksum waits on it for ever
            load_audio(path)
        key = file_sha256(path)
        missing = tuple(kind for kind in kinds if not usable(cache_path(cache, key, kind), kind))
        results = compute(path, missing) if missing else {}
    except AudioError as error:
        return Done(reason=known_fault(path, error.reason))
    except (OSError, MemoryError) as error:  # a disk that fails in the middle of a file
        return Done(reason=f"cannot be read ({getattr(error, 'strerror', None) or str(error) or type(error).__name__})")
    for kind, result in results.items():  # a disk that is full here ends the run: each further song would meet it too
        write_one(cache_path(cache, key, kind), kind, result)
    return Done(key, {kind: rows_of(cache_path(cache, key, kind), kind) for kind in kinds}, missing)


def compute(path, kinds):
    "The kinds of one song that are wanted. One thread: the sums then come out the same to the bit everywhere."
    song = SongBlocks(path, SR, min_seconds=1.0)
    try:
        with threadpool_limits(1):
            return {kind: MAKERS[kind](song) for kind in kinds}
    except AudioError as error:
        raise AudioError(path, error.reason) from error


def summaries_of(song):
    "A row for each whole second of a song in blocks of whole seconds; what is left of the last one is none."
    return np.concatenate([ARRAYS["summary"].of_waveform(y, SR) for y in song if len(y) >= SR]).astype(np.float32, copy=False)


def mels_of(song):
    "Mel windows of a song in blocks."
    return ARRAYS["mel"].of_waveform(song, SR).astype(np.float32, copy=False)


def picture_of(song):
    "The grey log-mel picture of a song in blocks."
    return np.concatenate([to_grey(part) for part in log_mel_parts(song, SR)], axis=1)


MAKERS = {"summary": summaries_of, "mel": mels_of, "picture": picture_of}


def write_one(target, kind, result):
    "One result of one song, whole or not at all."
    if kind == "picture":
        save_picture(target, result)
        return
    save_array(target, result.shape, [result])


def save_array(path, shape, parts, kind="<f4"):
    "The bytes of `numpy.save`, part by part. Written and not mapped, and not by numpy: a full disk would kill the process, or have no name."
    with atomic_path(path) as half, open(half, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
        for part in parts:
            file.write(part.tobytes())


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
    (which must see the same folders). A run that was killed is resumed by the same
    call. Raises `ValueError` for an unknown kind, `DataError` when no song can be used.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise ValueError(f"cannot prepare {', '.join(map(repr, unknown)) or 'nothing'}; choose from {', '.join(KINDS)}")
    out = Path(out).absolute()
    check_target(out / "bad.csv")
    check_scheduler(scheduler)
    tracks = read_collection(data, progress)
    tracks = tracks.assign(path=[os.path.abspath(path) for path in tracks.path])
    with swept(out):
        results = run_all(tracks.path, tuple(kinds), out / "cache", jobs, scheduler, progress)
        kept, done, bad = sort_out(tracks, results)
        for kind in kinds:
            gather(out, kind, kept, done)
        write_csv(out / "bad.csv", bad)
    computed = Counter(kind for result in done for kind in result.computed)
    notes = tracks.attrs.get("notes", [])
    return {"n": len(kept), "computed": dict(computed), "bad": bad, "notes": notes, "folders": {kind: str(out / kind) for kind in kinds}}


@contextmanager
def swept(out):
    "Hold the folder of a run, without the half-written files of killed runs. It goes again if nothing was written; a full disk is named."
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    with only_run(out) as alone:
        if alone:
            sweep_parts(out)
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            said = f"the disk that holds {out} is full ({shutil.disk_usage(out).free / 1e6:.1f} MB free); make room, and the same command goes on"
            raise OSError(error.errno, said, error.filename) from error
        finally:
            if alone:
                sweep_parts(out)  # of workers that were killed, by Ctrl-C too
            if made and not any(out.iterdir()):
                out.rmdir()


def sort_out(tracks, results):
    "Tracks that can be used, their results, and a table of what cannot. Raises `DataError` when no song can be used."
    good = [not done.reason for done in results]
    failed = [(path, done.reason) for path, done in zip(tracks.path, results, strict=True) if done.reason]
    if not any(good):
        raise DataError(f"none of the {len(failed)} files can be used; the first, {failed[0][0]}: {failed[0][1]}")
    bad = pd.DataFrame(failed + tracks.attrs.get("skipped", []), columns=BAD_COLUMNS)
    return tracks[good], [result for result in results if not result.reason], bad


def run_all(paths, kinds, cache, jobs, scheduler, progress):
    "`prepare_song` of every path, in order, here or on a cluster."
    if scheduler is None:
        done = run_each(partial(prepare_song, kinds=kinds, cache=cache), paths, jobs, lost=lambda path: Done(reason=KILLED))
    else:
        tasks = [joblib.delayed(prepare_song)(path, kinds, cache) for path in paths]
        done = run_tasks(tasks, scheduler=scheduler, lost=lambda number: Done(reason=KILLED))
    return list(progress_bar(done, len(paths), "Preparing") if progress else done)


def write_csv(path, table):
    "A table as CSV, whole or not at all, in which no spreadsheet takes a name for a formula."
    names = table.select_dtypes(exclude="number").columns
    with atomic_path(path) as part:
        safe = table.assign(**{name: table[name].map(harmless) for name in names})
        safe.to_csv(part, index=False, lineterminator="\n", errors="backslashreplace")


def harmless(cell):
    "A cell that no spreadsheet takes for a formula: OWASP's advice is an apostrophe before a leading = + - @ or tab. A return, which would end the row, is written out."
    if not isinstance(cell, str):
        return cell
    cell = cell.replace("\r", "\\r")
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t")) else cell


def gather(out, kind, tracks, done):
    "The results of all songs as one folder that `genre-nbs train` reads."
    cache, folder = out / "cache", out / kind
    paths = [cache_path(cache, result.key, kind) for result in done]
    if kind == "picture":
        gather_pictures(folder, tracks, paths)
    else:
        gather_arrays(folder, tracks, paths, [result.rows[kind] for result in done])


def gather_arrays(folder, tracks, paths, counts):
    "`X.npy` with all examples, and label, track, artist, split and group of each beside it; one song in memory at a time."
    shape = (sum(counts), *np.load(paths[0], mmap_mode="r", allow_pickle=False).shape[1:])
    save_array(folder / "X.npy", shape, (np.load(path, allow_pickle=False) for path in paths))
    columns = {"labels": tracks.genre, "tracks": tracks.track} | {f"{name}s": tracks[name] for name in ("artist", "split", "group") if name in tracks}
    for name, values in columns.items():
        repeated = np.repeat(values.to_numpy(dtype=str), counts)
        save_array(folder / f"{name}.npy", repeated.shape, [repeated], repeated.dtype.str)
    for name in {"artists", "splits", "groups"} - set(columns):  # of an earlier run that knew them
        (folder / f"{name}.npy").unlink(missing_ok=True)


def gather_pictures(folder, tracks, paths):
    "Pictures in genre folders, named by track, and a manifest."
    names = picture_names(tracks)
    for name, source in zip(names, paths, strict=True):
        with atomic_path(folder / name) as part:
            try:
                os.link(source, part)
            except OSError:  # another disk, or one without links
                shutil.copyfile(source, part)
    columns = [name for name in ("genre", "track", "artist", "split", "group") if name in tracks]
    write_csv(folder / "manifest.csv", tracks[columns].assign(path=names)[["path", *columns]])


def picture_names(tracks):
    "A path inside the folder for each track, whatever its name holds; numbered where two would be alike."
    seen, names = Counter(), []
    for genre, track in zip(tracks.genre, tracks.track, strict=True):
        stem = re.sub(r"[^\w.-]+", "_", track.removeprefix(f"{genre}/")).lstrip(".") or "track"
        stem = os.fsencode(stem)[-MOST_OF_NAME:].decode(errors="ignore")  # its end: the folders of a long path are the same for many
        name = f"{genre}/{stem}"
        seen[name] += 1
        names.append(f"{name}.png" if seen[name] == 1 else f"{name}~{seen[name]}.png")
    return names

"""The data folder of the lessons, from public sources: what the cells marked `#| data` read.

| in the folder | what it holds | from |
|---|---|---|
| `gtzan/songs` | GTZAN, as `fetch gtzan` leaves it | Tzanetakis and Cook, 2002 |
| `gtzan_audio` | its excerpts 00000 to 00004 of each genre | |
| `gtzan_mel` | log-mel pictures of the training and validation tracks of the fault-filtered split | made here |
| `gtzan_lists` | that split, and an index of who plays | Kereliuk and others, 2015; Sturm, 2012 |
| `athens_mfcc` | MFCC summaries of one-second clips in four genres | the Athens project |

What is there and right is neither fetched nor made again. A source that is gone does not keep the others away.
"""

import filecmp
import os
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np

from genre_nbs.audio import load_audio
from genre_nbs.collections import (
    fetch_gtzan, fetch_gtzan_lists, fetch_named, gtzan_track, GTZAN_LISTS, GTZAN_LISTS_URL, GTZAN_URL, read_artists, song_state)
from genre_nbs.datasets import DataError
from genre_nbs.genres import GTZAN_GENRES
from genre_nbs.io.cluster import progress_bar
from genre_nbs.io.downloads import ArchiveError, DownloadError, fetch
from genre_nbs.io.files import atomic_path
from genre_nbs.io.leftovers import swept_folder
from genre_nbs.io.pictures import PictureError, read_picture, save_picture
from genre_nbs.spectrograms import log_mel

GITHUB = "https://raw.githubusercontent.com"
LISTS_MIRROR = f"{GITHUB}/jordipons/sklearn-audio-transfer-learning/066fc6a292bd5f8f4b494d6a17271276ea1e173b/data/index/GTZAN"
INDEX_URL = f"{GITHUB}/mtp0326/SynthToSoul/e983d93fb7c8a7b345327fa41320326ff1a4df6c/backend/csv"
ATHENS_URL = (
    f"{GITHUB}/EvangeliaS/Music-Classification-with-Neural-Networks/f47fc3f9401b257989bd223f3c7316f808a13d98/data/music_genre_data_di"
)
ATHENS = {  # SHA-256 of the values, whatever the header of the file and the order in memory
    "train/mfccs/X.npy": "52da8df2243364729dbe37a7e876ca71a13c7ebf9a60e3599e62e87ffac43794",
    "train/mfccs/labels.npy": "828410ecc78744d24f19111a25ffb537f053a4854bdfa3c2064c128c0d48303d",
    "val/mfccs/X.npy": "9dc227cd8b6a9f29c5302b46fd848f3dd358b4c8cb89c1cff7f048059bad280e",
    "val/mfccs/labels.npy": "5f5059a1dd8905d444b270078796fe080c4e2b25e7eabc2085385c9c94c050aa",
}
EXCERPTS = tuple(f"{genre}/{genre}.{i:05}" for genre in GTZAN_GENRES for i in range(5))
LEFT_OUT = {"jazz/jazz.00054"}  # in the lists, but broken in most copies: the lessons were written without it
BANDS, COLUMNS, DRAWN_COLUMNS = 128, 387, 387.5  # the plot that was drawn was half a pixel wider than the picture
FEWEST_ARTISTS = 200
MAX_BYTES = 10_000_000
GONE = (DownloadError, ArchiveError, DataError)


def fetch_data_folder(
    folder,  # where to
    url: str | None = None,  # a folder of the web that holds all three sources, instead of the known addresses
    progress: bool = False,  # show bars on standard error
    **kwargs,  # passed on to `downloads.fetch`, such as `timeout` or `tries`
) -> dict:  # folder, songs (state -> number), wrong ((track, reason)), pictures, excerpts, missing (source -> reason)
    "Build the data folder of the lessons. Raises `OSError` where it cannot be written; what cannot be fetched is in `missing`."
    folder, missing, report = Path(folder), {}, {"songs": {}, "wrong": [], "pictures": 0, "excerpts": 0}
    kwargs["progress"] = progress
    with swept_folder(folder):
        parts = {
            "gtzan-lists": lambda: fetch_lists(folder / "gtzan_lists", (url, url) if url else (GTZAN_LISTS_URL, LISTS_MIRROR), **kwargs),
            "GTZANindex.txt": lambda: fetch_index(folder / "gtzan_lists", url or INDEX_URL, **kwargs),
            "athens": lambda: fetch_athens(folder / "athens_mfcc", url or ATHENS_URL, **kwargs),
            "gtzan": lambda: report.update(fetch_songs(folder, f"{url.rstrip('/')}/genres.tar.gz" if url else GTZAN_URL, **kwargs)),
        }
        for source, part in parts.items():
            try:
                part()
            except GONE as error:
                missing[source] = str(error)
    return {"folder": str(folder), **report, "missing": missing}


def fetch_by_name(
    what: str,  # 'course-data', or what `fetch_named` takes
    folder=None,  # where to
    url: str | None = None,  # another address
    progress: bool = False,  # show bars on standard error
) -> dict:  # what `fetch_data_folder` or `fetch_named` says
    "Fetch any collection. The data folder of the lessons is the one that they look for."
    if what == "course-data":
        return fetch_data_folder(folder or os.environ.get("GENRE_NBS_DATA") or "data", url, progress)
    return fetch_named(what, folder or "data", url, progress)


def fetched_lines(result) -> str:
    "What was fetched, in a few lines."
    made = {name: result[name] for name in ("excerpts", "pictures") if name in result}
    lines = {"Songs": [f"{count} {state}" for state, count in result["songs"].items()], "Made": [f"{n} {name}" for name, n in made.items()]}
    return "\n".join([f"Folder: {result['folder']}", *(f"{name}: {', '.join(parts)}" for name, parts in lines.items() if parts)])


def say_missing(result, say):
    "Say which sources are gone, a line each. Raises `DownloadError` when one is."
    if missing := result.get("missing"):
        for reason in missing.values():
            say(reason)
        raise DownloadError(f"{', '.join(missing)} could not be fetched; what came is kept, and the same command goes on from there")


# ---- the small files


def fetch_checked(
    url,  # of the file
    path: Path,  # where to
    fault,  # takes a path; says why the file is another one, '' where it is right
    **kwargs,  # passed on to `downloads.fetch`
):
    "Fetch a file that is not there, or is not the right one. Raises `DownloadError`, or `DataError` where another one came."
    if path.is_file() and not fault(path):
        return
    path.unlink(missing_ok=True)
    fetch(url, path, max_bytes=MAX_BYTES, **kwargs)
    if reason := fault(path):
        path.unlink()
        raise DataError(f"{url}: {reason}; it was thrown away")


def fetch_lists(folder, urls, **kwargs):
    "Fetch the three lists from the first address that has them. A wrong one on the disk is thrown away by the first try."
    for url in urls[:-1]:
        try:
            return fetch_gtzan_lists(folder, url, **kwargs)
        except (DownloadError, DataError):
            pass
    return fetch_gtzan_lists(folder, urls[-1], **kwargs)


def fetch_index(folder, url, **kwargs):
    "Fetch the index of artists."
    fetch_checked(f"{url.rstrip('/')}/GTZANindex.txt", folder / "GTZANindex.txt", fault_of_index, **kwargs)


def fault_of_index(path) -> str:
    "Why a file is not Sturm's index; there are versions of it that differ in a word or two, so that a checksum says nothing."
    try:
        artists = read_artists(path)
    except DataError as error:
        return str(error).removeprefix(f"{path}: ")
    if len(artists) != 1000 or len(set(artists.values())) < FEWEST_ARTISTS:
        return f"names {len(artists)} tracks by {len(set(artists.values()))} artists, instead of 1000 by more than {FEWEST_ARTISTS}"
    return ""


def fetch_athens(folder, url, **kwargs):
    "Fetch the clips of the Athens project, training and validation set."
    for name, checksum in ATHENS.items():
        fetch_checked(f"{url.rstrip('/')}/{name}", folder / name, lambda path, known=checksum: fault_of_array(path, known), **kwargs)


def fault_of_array(path, checksum) -> str:
    "Why a file does not hold the array with this checksum of its values."
    try:
        array = np.load(path, allow_pickle=False)
        values = "\n".join(array.tolist()).encode() if array.dtype.kind == "U" else np.ascontiguousarray(array, "<f8").tobytes()
    except (ValueError, TypeError, EOFError) as error:
        return f"is no array of numbers or names ({error})"
    return "" if sha256(values).hexdigest() == checksum else f"its values have not the checksum {checksum}"


# ---- GTZAN


def fetch_songs(
    folder: Path,  # the data folder
    url,  # of the archive
    progress: bool = False,  # show bars
    **kwargs,  # passed on to `downloads.fetch`
) -> dict:  # songs, wrong, pictures, excerpts
    "Fetch GTZAN, check each song, copy the excerpts and draw the pictures. Raises `DownloadError` or `ArchiveError`."
    pictures = {track: folder / "gtzan_mel" / f"{track}.png" for track in listed_tracks(folder / "gtzan_lists")}
    excerpts = {track: folder / "gtzan_audio" / f"{track}.wav" for track in EXCERPTS}
    there = {"pictures": len(pictures), "excerpts": len(excerpts)}
    if not (folder / "gtzan/songs").is_dir() and all(map(is_picture, pictures.values())) and all(map(is_song, excerpts.values())):
        return there  # somebody has thrown the archive's songs away, now that all is made
    table = checked_songs(folder / "gtzan", url, {*pictures, *excerpts}, progress, **kwargs)
    wrong = table[~table.state.isin(("as known", "other bytes", "missing"))]
    reasons = dict(zip(wrong.track, wrong.reason))
    usable = {track: Path(path) for track, path, state in zip(table.track, table.path, table.state) if state in ("as known", "other bytes")}
    made = [track for track in excerpts if track in usable]
    for track in made:
        copy_song(usable[track], excerpts[track])
    drawn = [track for track in pictures if track in usable]
    for track in progress_bar(drawn, len(drawn), "Drawing") if progress else drawn:
        if reason := draw(usable[track], pictures[track]):
            reasons[track] = reason
    there = {"pictures": len([path for path in pictures.values() if path.is_file()]), "excerpts": len(made)}
    return {"songs": table.state.value_counts().to_dict(), "wrong": [list(pair) for pair in reasons.items()], **there}


def listed_tracks(folder) -> list:  # tracks of the training and the validation set
    "What pictures are made of: never the test set. Nothing where the lists are not there."
    paths = [folder / name for name in GTZAN_LISTS if not name.startswith("test") and (folder / name).is_file()]
    tracks = [gtzan_track(line) for path in paths for line in path.read_text(encoding="utf-8", errors="replace").split()]
    return [track for track in tracks if track not in LEFT_OUT]


def checked_songs(home, url, needed, progress, **kwargs):
    """`check_gtzan`'s table, after fetching GTZAN where it is not there, or where a needed song was lost or damaged since.

    Where most songs have the known checksums, one that has not is damaged. What was wrong in the archive itself is
    noted in `faults.txt`, and is no reason to fetch it again.
    """
    faults, fresh = home / "faults.txt", not (home / "songs").is_dir()
    table = fetch_gtzan(home, url, progress=progress, **kwargs)
    if (table.state == "as known").sum() > (table.state == "other bytes").sum():
        other = table.state == "other bytes"
        table = table.assign(state=table.state.mask(other, "wrong checksum"), reason=table.reason.mask(other, "has not the known checksum"))
    bad = set(table.track[~table.state.isin(("as known", "other bytes"))])
    if fresh or not faults.is_file():
        with atomic_path(faults) as part:
            part.write_text("\n".join(sorted(bad)), encoding="utf-8")
    elif bad & needed - set(faults.read_text(encoding="utf-8").split("\n")):
        fetch(url, home / "gtzan.tar.gz", progress=progress, **kwargs)  # before anything is thrown away
        shutil.rmtree(home / "songs")
        return checked_songs(home, url, needed, progress, **kwargs)
    return table


def is_song(path) -> bool:
    "Whether a song of GTZAN is there and can be read."
    return path.is_file() and song_state(path, "")[0] == "other bytes"


def is_picture(path) -> bool:
    "Whether a picture is there and can be read; a PNG holds a checksum of its pixels."
    try:
        return read_picture(path).shape == (BANDS, COLUMNS)
    except PictureError:
        return False


def copy_song(song, path) -> None:
    "Put a copy of a song there, unless it is there."
    if not path.is_file() or not filecmp.cmp(song, path, shallow=False):
        with atomic_path(path) as part:
            shutil.copyfile(song, part)


def draw(song, path) -> str:
    "Draw the picture of a song, unless it is there. Says why it cannot be drawn, or ''."
    if not is_picture(path):
        try:
            save_picture(path, track_picture(*load_audio(song)))
        except ValueError as error:
            return str(error).removeprefix(f"{song}: ")
    return ""


def track_picture(
    y: np.ndarray,  # waveform of 30 s, (samples,)
    sr: int,  # sample rate in Hz
) -> np.ndarray:  # (128, 387), uint8: highest band on top, a column is 77.5 ms
    """The log-mel picture of a track: 255 is its maximum, 0 is 80 dB below it, or its softest point where that is louder.

    This is what a plot of librosa's `power_to_db(melspectrogram, ref=np.max)` shows, where each pixel takes the nearest
    frame and one of 256 colours. Raises `ValueError` for a waveform that cannot be used.
    """
    mel = log_mel(y, sr).T[::-1].astype(float)
    frames = ((np.arange(COLUMNS) + 0.5) * mel.shape[1] / DRAWN_COLUMNS).astype(int)
    if mel.min() == 0:
        raise ValueError("is equally loud everywhere, so nothing can be drawn")
    return np.minimum(256 * (1 - mel[:, frames] / mel.min()), 255).astype(np.uint8)

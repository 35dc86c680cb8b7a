"Songs and pictures in folders that nobody has checked: what is used, and why the rest is not."

import os
import re
import stat
import unicodedata
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from genre_nbs.io.decode import AUDIO_SUFFIXES
from genre_nbs.io.pictures import PICTURE_SUFFIXES
from genre_nbs.io.tables import subset_name, SUBSETS

OTHER_SUFFIXES = tuple(
    f".{name}"
    for name in (
        "3g2 3gp aa aac aax ac3 aif aifc aiff alac amr ape asf au avi caf dff dsf dts f4v flac flv gsm kar m2ts m4a m4b m4p m4r m4v mid "
        "midi mka mkv mov mp2 mp3 mp4 mpa mpc mpeg mpg oga ogg ogv opus ra rf64 rm rmvb shn snd spx tak tta voc vob w64 wav weba webm "
        "wma wmv wv 3ga adts awb bwf divx dv f4a it m1a m1v m2a m2v mo3 mod mp1 mpe mpeg3 mpga mts mxf ogx qcp rmi s3m ts wave xm"
    ).split()
)  # endings of audio and video; those that we do not read are said where they are met
ARCHIVES = (".7z", ".gz", ".rar", ".tar", ".tgz", ".zip")
OTHER_PICTURES = (".bmp", ".gif", ".tif", ".tiff", ".webp")
COVER_NAME = re.compile(r"(cover|folder|front|back|albumart.*|album|artwork|booklet|inlay|thumb)[-_ ()\d]*", re.IGNORECASE)


@dataclass
class Found:
    "What lies in a folder of genre folders."

    files: list = field(default_factory=list)  # songs, or spectrogram pictures, sorted
    skipped: list = field(default_factory=list)  # (path, reason) of what is not used
    subsets: int | None = None  # which folder of a path names its subset, 0: `train/rock/a.wav`, 1: `rock/train/a.wav`; None where none does


def is_hidden(name: str) -> bool:
    "Hidden names are passed over; `._song.wav`, a note of macOS, is not, since it looks like a song to everybody else."
    return name.startswith(".") and not name.startswith("._") or name == "__MACOSX"


def find_files(
    folder,  # a folder of genre folders, which hold songs or pictures at any depth
) -> Found:
    "All songs and pictures inside the genre folders. Linked folders are followed once; pictures beside songs are covers, not spectrograms."
    root, found = Path(folder), Found()
    if not root.is_dir():
        return found
    files = sorted(walk(root, found))
    found.subsets = subset_folder([path.relative_to(root).parts for path in files if path.suffix.lower() in AUDIO_SUFFIXES + PICTURE_SUFFIXES])
    parts = {path: path.relative_to(root).parts[found.subsets == 0 :] for path in files}
    songs = {parts[path][0] for path in files if path.suffix.lower() in AUDIO_SUFFIXES and parts[path]}
    for path in files:
        reason = why_unused(path, parts[path], songs)
        if reason is None:
            found.files.append(path)
        elif reason:
            found.skipped.append((str(path), reason))
    said = {Path(path).relative_to(root).parts[0] for path in [*found.files, *(path for path, _ in found.skipped)]}
    found.skipped += [(str(path), "holds no song or picture") for path in genre_folders(root) if path.name not in said]
    found.skipped.sort()
    return found


def subset_folder(
    parts: list,  # of the paths of songs or pictures within a collection
) -> int | None:  # which folder names the subset, see `Found`
    "Whether genre folders lie in folders such as `train` and `test`, or such folders, and nothing else, in all genre folders."
    for place in (0, 1):
        names = {subset_name(folders[place]) for folders in parts if len(folders) > place + 1}
        inside = [len(folders) > 2 for folders in parts]
        if "train" in names and len(names & set(SUBSETS)) > 1 and (any(inside) if place == 0 else all(inside) and names <= set(SUBSETS)):
            return place
    return None


def find_songs(
    folder,  # holds songs (or else pictures) at any depth
) -> Found:
    "All songs in a folder, whatever folders they lie in, or its pictures where there is no song; and what looks like music and is not used."
    found = Found()
    files = sorted(walk(Path(folder), found))
    songs = [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]
    found.files = songs or [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES]
    found.skipped += [(str(path), unread_kind(path)) for path in files if is_unread(path)]
    found.skipped.sort()
    return found


def is_unread(path) -> bool:
    "Whether a file is by its ending audio, video or an archive of them, of a kind that is not read."
    return path.suffix.lower() not in AUDIO_SUFFIXES and ending(path) in AUDIO_SUFFIXES + OTHER_SUFFIXES + ARCHIVES


def ending(path) -> str:
    "The ending of a file's name, also where blanks or dots follow it."
    return Path(path.name.rstrip(" .")).suffix.lower()


def unread_kind(path) -> str:
    "Why such a file is not used."
    if ending(path) in ARCHIVES:
        return "is an archive, and archives in folders are not opened; unpack it there"
    if ending(path) in AUDIO_SUFFIXES:
        return f"has blanks or dots after its ending {ending(path)}; rename it"
    return f"is audio or video of a kind that is not read ({ending(path)}); convert it to .wav, .flac or .mp3"


def entries(folder) -> list:
    "What lies right inside a folder and is not hidden, sorted; nothing for one that cannot be opened."
    try:
        return [path for path in sorted(Path(folder).iterdir()) if not is_hidden(path.name)]
    except OSError:
        return []


def genre_folders(root) -> list:
    "The folders right inside a folder, sorted, but for what `genre-nbs prepare` wrote there."
    return [path for path in entries(root) if os.path.isdir(path) and not is_prepared(path)]


def is_prepared(folder) -> bool:
    "Whether `genre-nbs prepare` wrote a folder: its pictures and arrays are no further songs."
    return os.path.isfile(os.path.join(folder, "bad.csv")) and os.path.isdir(os.path.join(folder, "cache"))


def why_unused(path, parts, genres_with_songs):
    "None for a file that is used, '' for one that nobody would miss, and else the reason why it is not used."
    suffix = path.suffix.lower()
    if len(parts) < 2:
        return unread_kind(path) if suffix in ARCHIVES else "lies outside the genre folders" if suffix in AUDIO_SUFFIXES or is_unread(path) else ""
    if suffix in AUDIO_SUFFIXES + PICTURE_SUFFIXES and not re.search(r"[^\W_]", parts[0]):
        return "lies in a folder whose name, without a letter or a number, cannot be that of a genre"
    if suffix in AUDIO_SUFFIXES:
        return None
    if suffix in PICTURE_SUFFIXES:
        if parts[0] not in genres_with_songs:
            return None
        return "" if COVER_NAME.fullmatch(path.stem) else "is a picture beside songs, so it is taken for a cover and not for a spectrogram"
    if is_unread(path):
        return unread_kind(path)
    return f"is a picture of a kind that is not read ({suffix})" if suffix in OTHER_PICTURES and parts[0] not in genres_with_songs else ""


def walk(root, found):
    "Every plain file below a folder. Linked folders come last, each once, and never one that is in the collection already."
    seen = {identity(folder) for folder in (root, *root.absolute().parents)}
    links, todo = [], [(root, False)]
    while todo or links:
        links.sort()
        folder, linked = todo.pop() if todo else links.pop(0)
        if linked and identity(folder) in seen:
            found.skipped.append((str(folder), "is a link to a folder that is read already, or that holds this one"))
            continue
        if folder != root and is_prepared(folder):
            found.skipped.append((str(folder), "was written by genre-nbs prepare"))
            continue
        seen.add(identity(folder))
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            found.skipped.append((str(folder), f"is a folder that cannot be opened ({error.strerror})"))
            continue
        if not entries and folder != root:
            found.skipped.append((str(folder), "is an empty folder"))
        for entry in entries:
            if is_hidden(entry.name):
                continue
            path, kind = Path(entry.path), kind_of(entry)
            if kind == "folder":
                (links if entry.is_symlink() else todo).append((path, entry.is_symlink()))
            elif kind == "file":
                yield path
            else:
                found.skipped.append((str(path), kind))


def identity(folder):
    "What two names of one folder share: its disk and its number there."
    try:
        status = os.stat(folder)
    except OSError:
        return str(folder)
    return status.st_dev, status.st_ino


def kind_of(entry):
    "'file', 'folder', or the reason why an entry is neither."
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        return f"is a link that leads nowhere ({error.strerror})" if entry.is_symlink() else f"cannot be looked at ({error.strerror})"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "is a device or a pipe, not a song"


def is_array_folder(path) -> bool:
    "Whether a folder holds `X.npy` and `labels.npy`."
    return all(os.path.isfile(os.path.join(path, name)) for name in ("X.npy", "labels.npy"))


def are_fma_clips(
    files: list,  # paths
) -> bool:
    "Whether most files lie as the Free Music Archive's clips do: `000/000002.mp3`."
    like = sum(bool(re.fullmatch(r"\d{6}", path.stem)) and path.parent.name == path.stem[:3] for path in files)
    return like > len(files) / 2


def songs_beside(
    root: Path,  # the folder of genre folders that is read
    top: Path,  # the folder that was named
) -> list:  # (path, reason) of each song, and each folder with songs, beside the way from `top` to `root`
    "Songs that nobody reads, since the collection was found deeper down."
    rows, why = [], f"since the collection was found in {root.relative_to(top)}"
    for parent in [root, *root.parents][: len(root.relative_to(top).parts)]:
        for other in entries(parent.parent):
            if other == parent or other.name.startswith("fma_metadata"):
                continue
            if os.path.isdir(other) and (n := len(others(other, [])[0])):
                rows.append((str(other), f"holds {n} songs that are not used, {why}"))
            if os.path.isfile(other) and (is_unread(other) or other.suffix.lower() in AUDIO_SUFFIXES):
                rows.append((str(other), unread_kind(other) if is_unread(other) else f"is not used, {why}"))
    return rows


def others(
    folder,  # a folder of which some files are used
    used,  # their paths
) -> tuple:  # the other songs, sorted; (path, reason) of what looks like songs but is not read
    "What lies in a folder and is not used."
    found, known = Found(), {os.path.abspath(path) for path in used}
    files = sorted(path for path in walk(Path(folder), found) if os.path.abspath(path) not in known)
    songs = [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]
    said = [row for row in found.skipped if not row[1].endswith("an empty folder")]
    return songs, sorted(said + [(str(path), unread_kind(path)) for path in files if is_unread(path)])


def unlisted(
    folder,  # a folder with a manifest
    listed,  # paths that the manifest names
) -> list:  # (path, reason)
    "Songs that lie in a folder and are not in its manifest, and what looks like songs but is not read."
    extra, rows = others(folder, listed)
    if not extra:
        return rows
    files = "1 song that lies" if len(extra) == 1 else f"{len(extra)} songs that lie"
    return [(str(Path(folder) / "manifest.csv"), f"does not list {files} in this folder, such as {os.path.relpath(extra[0], folder)}"), *rows]


def listed_file(
    folder: Path,  # of the manifest
    name: str,  # a path in it
) -> str:  # the path of the file; where none is found, of the one that was named
    "Where a file is that a manifest names, also with blanks around, from the home folder, as Windows writes it, or with accents written in the other way."
    plain = str(name).strip()
    ways = [str(name), plain, os.path.expanduser(plain), plain.replace("\\", "/")]
    ways += [unicodedata.normalize(form, ways[-1]) for form in ("NFC", "NFD")]
    return next((str(folder / way) for way in ways if "\0" not in way and os.path.exists(folder / way)), str(folder / name))


def unreadable(
    path,  # a file that is to be read
) -> str:  # why it cannot be, or ''
    "What the system says against reading a file, asked before a decoder is."
    if "\0" in str(path):
        return "has a zero byte in its name"
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return ""  # the decoder says what it is
        with open(path, "rb") as file:
            file.read(1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    return ""


FMA_SUBSETS = ("small", "medium", "large", "full")
FMA_FOLDERS = tuple(f"fma_{name}" for name in FMA_SUBSETS)
MOST_OF_TABLE = 2**30  # bytes of tracks.csv; the real one has 260 million


def fma_table(
    folder,  # an FMA folder
):  # the path of its tracks.csv, or of the archive that holds it, or None
    "Where `tracks.csv` is: in `fma_metadata` inside the folder or beside it, right in it, or for folders such as `fma_small` in the one above."
    folder = Path(folder)
    if not any(re.fullmatch(r"\d{3}", path.name) or path.name in FMA_FOLDERS for path in genre_folders(folder)):
        return None
    above = [folder.parent] if folder.name in FMA_FOLDERS else []
    places = [folder / "fma_metadata", folder.parent / "fma_metadata", folder, *above]
    files = [place / "tracks.csv" for place in places] + [place / "fma_metadata.zip" for place in (folder, folder.parent)]
    return next((file for file in files if os.path.isfile(file)), None)


@contextmanager
def open_fma_table(
    path,  # tracks.csv, or fma_metadata.zip
):  # yields an open file
    "Open the table of the Free Music Archive. Raises `ValueError` or `OSError` when that cannot be."
    if Path(path).suffix != ".zip":
        with open(path, "rb") as file:
            yield file
        return
    try:
        with zipfile.ZipFile(path) as archive:
            inside = next((one for one in archive.infolist() if one.filename.removeprefix("fma_metadata/") == "tracks.csv"), None)
            if inside is None or inside.file_size > MOST_OF_TABLE:
                raise ValueError("there is no tracks.csv in it" if inside is None else "its tracks.csv is too large")
            with archive.open(inside) as file:
                yield file
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise ValueError(f"the archive cannot be read: {error}") from error


GENRE_WORDS = frozenset(
    "acoustic alternative ambient baroque bluegrass blues bossa breakbeat chanson choral christian classic classical country dance "
    "disco downtempo drum dub dubstep easy edm electro electronic electronica experimental flamenco folk funk fusion gospel grime grunge "
    "hardcore hardrock hip hiphop historic house indie industrial instrumental international jazz jungle latin lofi metal mpb newage opera "
    "orchestral pop polka postrock progressive psychedelic punk ragtime rap reggae reggaeton rnb rock rocknroll romantic salsa samba ska "
    "soul soundtrack spoken swing tango techno trance trap trip triphop urban vocal waltz world "
    "bachata bebop bhangra bollywood boogie cajun celtic chillout chiptune cumbia darkwave dixieland dnb emo eurodance fado foxtrot garage "
    "glitch gothic highlife idm jpop klezmer kpop krautrock lounge mariachi merengue motown noise oldies qawwali rai ranchera rocksteady "
    "rumba schlager screamo shoegaze skiffle songwriter surf synthpop synthwave tejano turntablism vallenato vaporwave zouk zydeco".split()
)


def names_a_genre(name: str) -> bool:
    "Whether a word of a folder's name is that of a well-known genre."
    return bool(GENRE_WORDS & set(re.split(r"[\W_]+", name.casefold())))


def is_one_genre(
    folder: Path,  # the only folder in a collection
) -> bool:
    "Whether a folder is one genre with folders of artists, and not a collection that somebody wrapped in a folder."
    return names_a_genre(folder.name) and sum(names_a_genre(path.name) for path in genre_folders(folder)) < 2

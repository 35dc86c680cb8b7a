"Songs and pictures in folders that nobody has checked: what is used, and why the rest is not."

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from genre_nbs.io.decode import AUDIO_SUFFIXES
from genre_nbs.io.pictures import PICTURE_SUFFIXES

OTHER_SUFFIXES = tuple(
    f".{name}"
    for name in (
        "3g2 3gp aa aac aax ac3 aif aifc aiff alac amr ape asf au avi caf dff dsf dts f4v flac flv gsm kar m2ts m4a m4b m4p m4r m4v mid "
        "midi mka mkv mov mp2 mp3 mp4 mpa mpc mpeg mpg oga ogg ogv opus ra rf64 rm rmvb shn snd spx tak tta voc vob w64 wav weba webm "
        "wma wmv wv"
    ).split()
)  # endings of audio and video; those that we do not read are said where they are met
OTHER_PICTURES = (".bmp", ".gif", ".tif", ".tiff", ".webp")
COVER_NAME = re.compile(r"(cover|folder|front|back|albumart.*|album|artwork|booklet|inlay|thumb)[-_ ()\d]*", re.IGNORECASE)


@dataclass
class Found:
    "What lies in a folder of genre folders."

    files: list = field(default_factory=list)  # songs, or spectrogram pictures, sorted
    skipped: list = field(default_factory=list)  # (path, reason) of what is not used


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
    parts = {path: path.relative_to(root).parts for path in files}
    songs = {parts[path][0] for path in files if path.suffix.lower() in AUDIO_SUFFIXES}
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


def find_songs(
    folder,  # holds songs (or else pictures) at any depth
) -> Found:
    "All songs in a folder, whatever folders they lie in, or its pictures where there is no song; and what looks like music and is not used."
    found = Found()
    files = sorted(walk(Path(folder), found))
    songs = [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]
    found.files = songs or [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES]
    for path in files:
        if path.suffix.lower() not in AUDIO_SUFFIXES and path.suffix.lower() in OTHER_SUFFIXES:
            found.skipped.append((str(path), unread_kind(path)))
    found.skipped.sort()
    return found


def unread_kind(path) -> str:
    "Why a file of a known ending of audio or video is not used."
    return f"is audio or video of a kind that is not read ({path.suffix.lower()}); convert it to .wav, .flac or .mp3"


def genre_folders(root) -> list:
    "The folders right inside a folder, sorted."
    try:
        return [path for path in sorted(Path(root).iterdir()) if not is_hidden(path.name) and path.is_dir()]
    except OSError:
        return []


def holds_folder(
    folder,  # a folder
    *names,  # of folders inside it
) -> bool:
    "Whether one of these folders is there; no where it cannot be looked into."
    return any(os.path.isdir(Path(folder) / name) for name in names)


def why_unused(path, parts, genres_with_songs):
    "None for a file that is used, '' for one that nobody would miss, and else the reason why it is not used."
    suffix = path.suffix.lower()
    if len(parts) == 1:
        return "lies outside the genre folders" if suffix in AUDIO_SUFFIXES + OTHER_SUFFIXES else ""
    if suffix in AUDIO_SUFFIXES:
        return None
    if suffix in PICTURE_SUFFIXES:
        if parts[0] not in genres_with_songs:
            return None
        return "" if COVER_NAME.fullmatch(path.stem) else "is a picture beside songs, so it is taken for a cover and not for a spectrogram"
    if suffix in OTHER_SUFFIXES:
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
    return (Path(path) / "X.npy").is_file() and (Path(path) / "labels.npy").is_file()


def are_fma_clips(
    files: list,  # paths
) -> bool:
    "Whether most files lie as the Free Music Archive's clips do: `000/000002.mp3`."
    like = sum(bool(re.fullmatch(r"\d{6}", path.stem)) and path.parent.name == path.stem[:3] for path in files)
    return like > len(files) / 2


def songs_beside(
    root: Path,  # the folder of genre folders that is read
    top: Path,  # the folder that was named
) -> list:  # (folder, reason) of each folder beside the way from `top` to `root` that holds songs
    "Songs that nobody reads, since the collection was found deeper down."
    rows = []
    for parent in [root, *root.parents][: len(root.relative_to(top).parts)]:
        for other in genre_folders(parent.parent):
            if other != parent and not other.name.startswith("fma_metadata"):
                n = len(walk_songs(other))
                if n:
                    rows.append((str(other), f"holds {n} songs that are not used, since the collection was found in {root.relative_to(top)}"))
    return rows


def walk_songs(folder) -> set:
    "The paths of all songs below a folder."
    return {str(path) for path in walk(Path(folder), Found()) if path.suffix.lower() in AUDIO_SUFFIXES}


def unlisted(
    folder,  # a folder with a manifest
    listed,  # paths that the manifest names
) -> list:  # [(manifest, reason)], or []
    "Songs that lie in a folder and are not in its manifest."
    known = {os.path.abspath(path) for path in listed}
    extra = sorted(path for path in walk_songs(folder) if os.path.abspath(path) not in known)
    if not extra:
        return []
    files = "1 song that lies" if len(extra) == 1 else f"{len(extra)} songs that lie"
    return [(str(Path(folder) / "manifest.csv"), f"does not list {files} in this folder, such as {os.path.relpath(extra[0], folder)}")]


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


def fma_table(
    folder,  # an FMA folder
):  # the path of its tracks.csv, or None
    "Where `fma_metadata/tracks.csv` is: inside the folder, beside it, or right in it."
    folder = Path(folder)
    places = [folder / "fma_metadata", folder.parent / "fma_metadata", folder]
    found = [place / "tracks.csv" for place in places if os.path.isfile(place / "tracks.csv")]  # no where it cannot be looked into
    holds_clips = any(re.fullmatch(r"\d{3}|fma_(small|medium|large|full)", path.name) for path in genre_folders(folder))
    return found[0] if found and holds_clips else None


GENRE_WORDS = frozenset(
    "acoustic alternative ambient baroque bluegrass blues bossa breakbeat chanson choral christian classic classical country dance "
    "disco downtempo drum dub dubstep easy edm electro electronic electronica experimental flamenco folk funk fusion gospel grime grunge "
    "hardcore hardrock hip hiphop historic house indie industrial instrumental international jazz jungle latin lofi metal mpb newage opera "
    "orchestral pop polka postrock progressive psychedelic punk ragtime rap reggae reggaeton rnb rock rocknroll romantic salsa samba ska "
    "soul soundtrack spoken swing tango techno trance trap trip triphop urban vocal waltz world".split()
)


def names_a_genre(name: str) -> bool:
    "Whether a word of a folder's name is that of a well-known genre."
    return bool(GENRE_WORDS & set(re.split(r"[\W_]+", name.casefold())))


def is_one_genre(
    folder: Path,  # the only folder in a collection
) -> bool:
    "Whether a folder is one genre with folders of artists, and not a collection that somebody wrapped in a folder."
    return names_a_genre(folder.name) and sum(names_a_genre(path.name) for path in genre_folders(folder)) < 2

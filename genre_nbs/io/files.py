"Files written whole or not at all, and where the cache lives."

import errno
import os
import secrets
from contextlib import contextmanager
from pathlib import Path


class FileProblem(ValueError):
    "A file that cannot be used: `path` says which, `reason` why."

    def __init__(self, path, reason):
        self.path, self.reason = str(path), reason
        super().__init__(f'{path}: {reason}' if str(path) else reason)

    def __reduce__(self): return type(self), (self.path, self.reason)


FULL = (errno.ENOSPC, errno.EDQUOT)  # the disk is full, or what one may use of it


@contextmanager
def full_disk_named(path):
    "Where the system says that a disk is full, say which file did not fit: it names none, or one with a name for the moment."
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextmanager
def atomic_path(path):
    """Yield a temporary path beside `path`; move it there on success, remove it on an error.

    The temporary name keeps the suffix, since writers choose their format by it.
    Folders that are missing are made. Raises `OSError`, which names `path`, where nothing can be written.
    """
    path = Path(path)
    check_target(path)
    part = path.with_name(f".{path.stem[:50]}-{secrets.token_hex(6)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except OSError as error:
        if str(part) in (str(error.filename), str(error.filename2)) or error.errno in FULL:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def check_target(path):
    """Ask, before long work, whether a file can be written at `path`. Raises `OSError`, which names it, when it cannot.

    A device or a pipe is refused too: to replace it, as a whole file is put in its place, would destroy it.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "Is no plain file, so nothing is written there", str(path))
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder", str(path))
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, f"Nothing can be written in {folder}", str(path))


def sha256(path):
    "The SHA-256 of a file's bytes, in hexadecimal."
    import pooch

    return pooch.file_hash(str(path), alg="sha256")


def cache_dir():
    "Folder for what can be made again: `GENRE_NBS_CACHE`, or the system's place for caches."
    import pooch

    return Path(os.environ.get("GENRE_NBS_CACHE") or pooch.os_cache("genre_nbs"))

"Files written whole or not at all, and where the cache lives."

import os
import secrets
from contextlib import contextmanager
from pathlib import Path

import pooch


@contextmanager
def atomic_path(path):
    """Yield a temporary path beside `path`; move it there on success, remove it on an error.

    The temporary name keeps the suffix, since writers choose their format by it.
    Folders that are missing are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem[:100]}-{secrets.token_hex(6)}{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def sha256(path):
    "The SHA-256 of a file's bytes, in hexadecimal."
    return pooch.file_hash(str(path), alg="sha256")


def cache_dir():
    "Folder for what can be made again: `GENRE_NBS_CACHE`, or the system's place for caches."
    return Path(os.environ.get("GENRE_NBS_CACHE") or pooch.os_cache("genre_nbs"))

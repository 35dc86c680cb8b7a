"""Memory that a training step frees is kept for the next one.

By default the C library of Linux hands large arrays back to the system as soon as they are freed, and the system fills every page
of the next ones with zeros. A step of a convolutional network frees and asks for hundreds of MB.
"""

import ctypes
import os
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # glibc's malloc.h
SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")


def c_library():
    "The C library where it is glibc and nobody has told it how to keep memory; else None."
    if os.name != "posix" or any(name in os.environ for name in SETTINGS):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "gnu_get_libc_version") else None


@contextmanager
def freed_memory_kept():
    "For a while, freed memory stays with this process; afterwards it is given back. Does nothing where the C library is not glibc."
    library = c_library()
    if library is None:
        yield
        return
    library.mallopt(M_MMAP_MAX, 0)
    library.mallopt(M_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:  # where glibc's own thresholds end when large arrays are freed again and again
        library.mallopt(M_MMAP_MAX, 65536)
        library.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)
        library.mallopt(M_TRIM_THRESHOLD, 64 * 2**20)
        library.malloc_trim(0)

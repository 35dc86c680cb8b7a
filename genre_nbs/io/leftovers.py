"What a killed run leaves behind: half-written files, swept by the next run."

import os
import re
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PART = re.compile(r"\..*-[0-9a-f]{12}(\.\w+)?")  # the names that `files.atomic_path` gives to files that it is writing


def sweep_parts(
    folder,  # where runs write
) -> list:  # paths of the half-written files that were removed
    "Remove the half-written files of killed runs at any depth. Only to be called where no other run is writing, see `only_run`."
    parts = [Path(where) / name for where, _, names in os.walk(folder) for name in names if PART.fullmatch(name)]
    for part in parts:
        part.unlink(missing_ok=True)
    return parts


@contextmanager
def swept_folder(
    folder,  # that a run writes to; made where it is missing
):
    "Sweep a folder, before and after, unless another run has it; share it with the runs that begin meanwhile, so that none of them sweeps it."
    Path(folder).mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # held by another run
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sweep_parts(folder)
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sweep_parts(folder)  # of workers that were killed, by Ctrl-C too
        os.close(handle)


@contextmanager
def swept_files(
    *paths,  # files that a run writes, side by side in a folder that may hold anything else
):
    "Before and after a run, remove the half-written files of `paths`, and no others, unless another run writes to their folder."
    folder = Path(paths[0]).parent
    starts = tuple(f".{Path(path).stem[:50]}-" for path in paths)  # as `files.atomic_path` names them

    def sweep():
        for part in folder.iterdir():
            if part.name.startswith(starts) and PART.fullmatch(part.name):
                part.unlink(missing_ok=True)

    if not folder.is_dir():
        yield
        return
    with only_run(folder) as alone:
        if alone:
            sweep()
        try:
            yield
        finally:
            if alone:
                sweep()


@contextmanager
def only_run(
    folder,  # an existing folder that a run writes to
):  # yields whether no other run has it
    "Hold a folder for one run. The system gives it back when the run ends, however it ends; nothing is written for it."
    if fcntl is None:
        yield False
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except OSError:  # held by another run, or a disk that cannot hold files for anybody
            alone = False
        yield alone
    finally:
        os.close(handle)

"The course notebooks: where they lie in the installed package, and how they come to the student."

import os
import shutil
from pathlib import Path

from genre_nbs.io.files import atomic_path, sha256

MARK = ".genre_nbs"  # remembers what was copied: a line "checksum  name" for each file


def course_folder():
    "The folder of the notebooks: inside the installed package, or `nbs` beside it in a checkout."
    package = Path(__file__).parents[1]
    installed, checkout = package / "course", package.parent / "nbs"
    return installed if installed.is_dir() else checkout


def copy_course(folder):
    """Copy the notebooks and the results that they draw into `folder`, never over a file that the student changed.

    Returns (copied, kept) names. A file that is still as we copied it is brought up to date; one that differs
    stays as it is. Raises `ValueError` when `folder` is a file.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: is a file, not a folder")
    folder.mkdir(parents=True, exist_ok=True)
    before, marks, copied, kept = _read_marks(folder), {}, [], []
    home = course_folder()
    for source in [*sorted(home.glob("*.ipynb")), *sorted(home.glob("results/*"))]:
        name = source.relative_to(home).as_posix()
        target, fresh = folder / name, sha256(source)
        present = sha256(target) if target.is_file() else "no plain file" if os.path.lexists(target) else None
        if present in (None, before.get(name)) and present != fresh:
            target.parent.mkdir(exist_ok=True)
            with atomic_path(target) as part:
                shutil.copyfile(source, part)
            copied.append(name)
        elif present != fresh:
            kept.append(name)
        marks[name] = before.get(name, fresh) if name in kept else fresh
    with atomic_path(folder / MARK) as part:
        part.write_text("".join(f"{mark}  {name}\n" for name, mark in marks.items()), encoding="utf-8")
    return copied, kept


def _read_marks(folder):
    "Checksums of the notebooks as they were last copied, by name."
    mark = folder / MARK
    lines = mark.read_text(encoding="utf-8", errors="replace").splitlines() if mark.is_file() else []
    return {name: checksum for checksum, _, name in (line.partition("  ") for line in lines)}

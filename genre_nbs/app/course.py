"The course: where its notebooks lie in the installed package, how they come to the student, and how she checks her exercises."

import os
import shutil
import subprocess
from pathlib import Path

from genre_nbs.checks import read_line
from genre_nbs.io.files import atomic_path, sha256

MARK = ".genre_nbs"  # remembers what was copied: a line "checksum  name" for each file
FOLDERS = ("", "exercises", "solutions")  # of notebooks
SAMPLES = ("data_samples", "test_samples")
START = "start.ipynb"


def course_folder():
    "The folder of the notebooks: inside the installed package, or `nbs` beside it in a checkout."
    package = Path(__file__).parents[1]
    installed, checkout = package / "course", package.parent / "nbs"
    return installed if installed.is_dir() else checkout


def course_files():
    "Name in the student's folder -> file: lessons, exercises, solutions, results, and the songs and pictures that come along."
    course = course_folder()
    data = course if (course / SAMPLES[0]).is_dir() else course.parent
    files = [path for folder in FOLDERS for path in sorted((course / folder).glob("*.ipynb"))]
    files += sorted((course / "results").glob("*.*"))  # what the lessons draw
    samples = [path for folder in SAMPLES for path in sorted((data / folder).glob("*.[op][gn]g"))]
    return {path.relative_to(root).as_posix(): path for root, paths in ((course, files), (data, samples)) for path in paths}


def copy_course(folder):
    """Copy the course into `folder`, never over a file that the student changed; returns (copied, kept) names.

    A file that is still as we copied it is brought up to date; one that differs stays as it is.
    Raises `ValueError` when `folder` is a file.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: is a file, not a folder")
    folder.mkdir(parents=True, exist_ok=True)
    before, marks, copied, kept = _read_marks(folder), {}, [], []
    for name, source in course_files().items():
        target, fresh = folder / name, sha256(source)
        present = sha256(target) if target.is_file() else "no plain file" if os.path.lexists(target) else None
        blocked = target.parent.exists() and not target.parent.is_dir()
        if not blocked and present in (None, before.get(name)) and present != fresh:
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
    "Checksums of the files as they were last copied, by name."
    mark = folder / MARK
    lines = mark.read_text(encoding="utf-8", errors="replace").splitlines() if mark.is_file() else []
    return {name: checksum for checksum, _, name in (line.partition("  ") for line in lines)}


def check_exercises(folder):
    """Run the exercise notebooks of `folder` and read what their checks say: a dictionary an exercise, with notebook, exercise, state and words.

    The notebooks are run in copies in memory; nothing is written. Raises `ValueError` when there are none.
    """
    found = sorted((Path(folder) / "exercises").glob("*.ipynb"))
    if not found:
        raise ValueError(f"{folder}: holds no exercises; genre-nbs lab {folder} brings them")
    return [row for path in found for row in _checks_of(path)]


def _checks_of(path):
    "What the checks in one notebook say, a dictionary an exercise."
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    try:
        notebook = nbformat.read(path, as_version=4)
        client = NotebookClient(notebook, timeout=600, allow_errors=True, resources={"metadata": {"path": str(path.parent)}})
        client.execute(stderr=subprocess.DEVNULL)  # what kernels say of themselves
    except (CellTimeoutError, DeadKernelError, ValueError, OSError) as error:
        return [{"notebook": path.name, "exercise": "", "state": "cannot be run", "words": str(error).splitlines()[0][:200]}]
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    lines = [line for output in outputs if output.output_type == "stream" for line in output.text.splitlines()]
    return [{"notebook": path.name, **said} for said in map(read_line, lines) if said]

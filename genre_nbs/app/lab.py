"What `genre-nbs lab` does: lays the course out, says how far the student is, opens JupyterLab on the start page."

import subprocess
import sys
from pathlib import Path

from genre_nbs.app.console import say
from genre_nbs.app.course import MARK, START, check_exercises, copy_course


def lay_out(folder):
    "Copy the course into `folder`; returns (result, text for people). Files that the student changed are named and left as they are."
    again = (Path(folder) / MARK).is_file()
    copied, kept = copy_course(folder)
    for name in kept:
        say(f"kept, since you changed it: {name}")
    for name in copied if again else ():
        say(f"new or newer: {name}")
    return {"folder": str(folder), "copied": copied, "kept": kept}, f"{len(copied)} files copied to {folder}"


def progress(folder):
    "What the checks of the exercises say; returns (result, a table as text)."
    rows = check_exercises(folder)
    done = sum(row["state"] == "right" for row in rows)
    width = max(len(row["notebook"]) for row in rows)
    lines = [f"{row['notebook']:{width}}  {row['exercise']:11}  {row['state']:13}  {row['words']}".rstrip() for row in rows]
    return {"folder": str(folder), "right": done, "exercises": rows}, "\n".join([*lines, f"{done} of {len(rows)} exercises right"])


def open_course(folder):
    "Open JupyterLab on the start page, and wait until it ends; returns its exit code."
    return subprocess.call([sys.executable, "-m", "jupyter", "lab", "--notebook-dir", str(folder), f"{folder}/{START}"])

"""Execute notebooks top to bottom and save them with their outputs, clean.

    python tools/run_lessons.py nbs/03_features.ipynb ...

Cells marked `#| slow` or `#| cuda` are not run and keep the outputs that they have, and so do cells marked `#| data` where
`GENRE_NBS_DATA` is not set. With `--slow`, slow cells run as well. A notebook with an error is not saved.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

MARK = re.compile(r"^#\|\s*(data|slow|cuda|online)\b", re.MULTILINE)


class LessonClient(NotebookClient):
    "Runs a notebook, but for the cells that are left as they are."

    left_alone = ()

    async def async_execute_cell(self, cell, cell_index, execution_count=None, store_history=True):
        marks = set(MARK.findall(cell.source)) if cell.cell_type == "code" else set()
        if marks & set(self.left_alone):
            return cell
        return await super().async_execute_cell(cell, cell_index, execution_count=execution_count, store_history=store_history)


def run(path, left_alone):
    "Execute one notebook and write it back."
    notebook, start = nbformat.read(path, as_version=4), time.perf_counter()
    client = LessonClient(notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}})
    client.left_alone = left_alone
    client.execute()
    nbformat.write(notebook, path)
    subprocess.run(["nbdev_clean", "--fname", path], check=True)
    print(f"{path.name}: {time.perf_counter() - start:.0f} s, {path.stat().st_size / 2**20:.2f} MB", flush=True)


def main(words):
    os.environ.pop("MPLBACKEND", None)  # with a backend of its own, a notebook would be saved without its figures
    os.environ["GENRE_NBS_SLOW"] = "1" if "--slow" in words else ""
    left_alone = {"cuda", "online"} | (set() if "--slow" in words else {"slow"}) | (set() if os.environ.get("GENRE_NBS_DATA") else {"data"})
    for path in (Path(word).resolve() for word in words if not word.startswith("--")):
        run(path, left_alone)


if __name__ == "__main__":
    main(sys.argv[1:])

"Check that what is committed is what the notebooks say: exported code, clean notebooks, README, sizes, no paths of a machine."

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MACHINE_PATH = re.compile(rb"/(?:root|home/[a-z]+|work|tmp|opt|Users/[A-Za-z]+)/")
TOP = 3 << 20  # bytes of one notebook at most


def run(*command, cwd):
    subprocess.run(command, cwd=cwd, check=True)


def differing(copy):
    "Files of the copy that differ from the checkout after exporting, cleaning and making the README again."
    run("nbdev_export", cwd=copy)
    run(sys.executable, "tools/make_exercises.py", cwd=copy)
    for notebook in sorted((copy / "nbs").rglob("*.ipynb")):
        run("nbdev_clean", "--fname", notebook, cwd=copy)
    run(sys.executable, "tools/make_readme.py", cwd=copy)
    files = [p.relative_to(copy) for folder in ("nbs", "genre_nbs") for p in sorted((copy / folder).rglob("*")) if p.is_file()]
    files = [name for name in (*files, Path("README.md")) if "__pycache__" not in name.parts]
    return [str(name) for name in files if not (ROOT / name).is_file() or (ROOT / name).read_bytes() != (copy / name).read_bytes()]


def complaints():
    "One line for each thing that is not as it should be."
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", "*.egg-info", "build", "dist"))
        yield from (f"{name}: not current, run nbdev_export, tools/make_exercises.py, nbdev_clean and tools/make_readme.py" for name in differing(copy))
    for notebook in sorted((ROOT / "nbs").rglob("*.ipynb")):
        data = notebook.read_bytes()
        if len(data) >= TOP:
            yield f"{notebook.name}: {len(data) >> 10} KiB, the limit is 3 MB"
        if found := MACHINE_PATH.search(data):
            yield f"{notebook.name}: holds a path of a machine, {found.group().decode()}"


if __name__ == "__main__":
    found = list(complaints())
    sys.exit("\n".join(found) or None)

"`genre-nbs lab`: what it lays out, what it leaves alone, and how far the student is."

import json
import re
from pathlib import Path

import nbformat
import pytest

from genre_nbs.app.course import START, copy_course, course_files

ROOT = Path(__file__).parents[1]


def fill(path, answers):
    "Write a student's code in the place of each first line that begins like the answer."
    notebook = nbformat.read(path, as_version=4)
    for stub, answer in answers.items():
        cell = next(c for c in notebook.cells if c.cell_type == "code" and stub in c.source)
        cell.source = cell.source.replace(stub, answer)
    nbformat.write(notebook, path)


def test_lab_lays_out_everything(genre_nbs_cli, tmp_path):
    folder = tmp_path / "course"
    copied = set(json.loads(genre_nbs_cli("lab", folder, "--no-open", "--json").stdout)["copied"])
    assert copied == {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {".genre_nbs"}
    assert {START, "00_genres.ipynb", "exercises/01_audio.ipynb", "solutions/01_audio.ipynb", "data_samples/blues.ogg", "test_samples/rock2.png"} <= copied
    assert not re.search("BEGIN SOLUTION", "".join(p.read_text(encoding="utf-8") for p in (folder / "exercises").iterdir()))


def test_lab_never_overwrites_what_the_student_changed(genre_nbs_cli, tmp_path):
    folder = tmp_path / "course"
    copy_course(folder)
    (folder / "00_genres.ipynb").write_text("mine")
    (folder / "exercises" / "01_audio.ipynb").write_text("mine too")
    (folder / "01_audio.ipynb").unlink()
    done = genre_nbs_cli("lab", folder, "--no-open", "--json")
    assert json.loads(done.stdout) == {"folder": str(folder), "copied": ["01_audio.ipynb"], "kept": ["00_genres.ipynb", "exercises/01_audio.ipynb"]}
    assert "new or newer: 01_audio.ipynb" in done.stderr and "kept, since you changed it: exercises/01_audio.ipynb" in done.stderr
    assert (folder / "00_genres.ipynb").read_text() == "mine" and (folder / "exercises" / "01_audio.ipynb").read_text() == "mine too"


def test_a_file_where_a_folder_should_be_is_kept(tmp_path):
    (tmp_path / "exercises").write_text("mine")
    copied, kept = copy_course(tmp_path)
    assert (tmp_path / "exercises").read_text() == "mine" and "exercises/01_audio.ipynb" in kept and "00_genres.ipynb" in copied


def test_the_start_page_links_to_every_notebook():
    text = (ROOT / "nbs" / START).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([\w/]+\.ipynb)\)", text)
    assert set(links) == {name for name in course_files() if name.endswith(".ipynb")} - {START, "index.ipynb"} - {name for name in course_files() if name.startswith("solutions/")}


def test_lab_says_how_far_the_student_is(genre_nbs_cli, tmp_path):
    copy_course(tmp_path)
    for path in (tmp_path / "exercises").glob("*.ipynb"):
        if path.name != "01_audio.ipynb":
            path.unlink()
    mine = tmp_path / "exercises" / "01_audio.ipynb"
    fill(mine, {"frequency = ...": "frequency = 1000 / 4", "octave_below = ...": "octave_below = frequency / 2", "return ...": "return f"})
    before = mine.read_bytes()
    result = json.loads(genre_nbs_cli("lab", tmp_path, "--check", "--json").stdout)
    assert [row["state"] for row in result["exercises"]] == ["right", "not right", "not yet"] and result["right"] == 1
    assert "Nyquist" in result["exercises"][1]["words"] and mine.read_bytes() == before
    mine.write_text("{")
    done = genre_nbs_cli("lab", tmp_path, "--check")
    assert "cannot be run" in done.stdout and "0 of 1 exercises right" in done.stdout and done.returncode == 0


@pytest.mark.parametrize("words", [("lab",), ("lab", "--check")])
def test_a_folder_without_exercises_is_said(genre_nbs_cli, tmp_path, words):
    folder = tmp_path / "a file"
    folder.write_text("")
    done = genre_nbs_cli(words[0], folder, *words[1:], "--no-open")
    assert done.returncode == 2 and str(folder) in done.stderr and done.stderr.count("\n") == 1

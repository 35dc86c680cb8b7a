"""Exercises: made from their solutions, run without an error, checks that accept the solution and refuse typical wrong answers.

Each notebook's code runs here in one namespace a notebook, without a kernel: once as the solution, once as the student finds it.
"""

import contextlib
import importlib.util
import io
import re
from pathlib import Path

import matplotlib.pyplot
import nbformat
import pytest

from genre_nbs.checks import check, expect, given, read_line, verdict

ROOT = Path(__file__).parents[1]
SOLUTIONS = sorted((ROOT / "nbs" / "solutions").glob("*.ipynb"))
EXERCISES = sorted((ROOT / "nbs" / "exercises").glob("*.ipynb"))
CHECK = re.compile(r'^@check\("(Exercise \d+)"\)', re.MULTILINE)


@pytest.fixture(scope="module")
def make():
    spec = importlib.util.spec_from_file_location("make_exercises", ROOT / "tools" / "make_exercises.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def no_window():
    before = matplotlib.get_backend()
    matplotlib.use("agg")
    yield
    matplotlib.pyplot.close("all")
    matplotlib.use(before)


def run(source, space):
    "Run the code of a cell; returns what it printed."
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(source, "cell", "exec"), space)
    return out.getvalue()


def said(source, space):
    "What the check in a cell says."
    return next(read_line(line) for line in run(source, space).splitlines() if read_line(line))


def cells(path):
    return nbformat.read(path, as_version=4).cells


def wrong_answers(after):
    "Snippets of the first raw cell before the next check."
    for cell in after:
        if cell.cell_type == "raw":
            return [part.strip("\n") for part in re.split(r"^---$", cell.source, flags=re.MULTILINE)]
        if CHECK.search(cell.source):
            return []
    return []


def test_exercise_notebooks_are_current(make):
    assert make.stale() == {} and len(EXERCISES) == len(SOLUTIONS)


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_checks_accept_the_solution_and_refuse_wrong_answers(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    space, notebook, checked = {"__name__": "lesson"}, cells(path), []
    for i, cell in enumerate(notebook):
        if cell.cell_type != "code":
            continue
        if not CHECK.search(cell.source):
            run(cell.source, space)
            continue
        checked.append(CHECK.search(cell.source)[1])
        answer = said(cell.source, dict(space))
        assert answer["state"] == "right" and answer["exercise"] == checked[-1], answer
        wrong = wrong_answers(notebook[i + 1 :])
        assert len(wrong) >= 2, f"{checked[-1]}: two typical wrong answers are needed"
        for snippet in wrong:
            other = dict(space)
            run(snippet, other)
            answer = said(cell.source, other)
            assert answer["state"] == "not right" and len(answer["words"]) > 20, (checked[-1], snippet, answer)
            assert "Your code stops" not in answer["words"], (checked[-1], snippet, answer)
    assert len(checked) == len(set(checked)) >= 2


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_an_exercise_notebook_runs_as_the_student_finds_it(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    space = {"__name__": "lesson"}
    for cell in cells(path):
        if cell.cell_type == "code":
            out = run(cell.source, space)
            if CHECK.search(cell.source):
                assert read_line(out.strip())["state"] == "not yet", out


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_an_exercise_has_all_its_parts(path):
    parts = re.split(r"^## (?=Exercise \d+\. )", "\n\n".join(c.source for c in cells(path)), flags=re.MULTILINE)[1:]
    assert 3 <= len(parts) <= 5
    for number, text in enumerate(parts, 1):
        assert re.match(rf"Exercise {number}\. .+ \((by hand|program|experiment|think)\)\n", text), text[:80]
        solved = "# BEGIN SOLUTION" in text and f'@check("Exercise {number}")' in text
        assert solved or "**Solution.**" in text, text[:80]
        assert "*Predict first" in text or "(think)" in text.splitlines()[0], text[:80]
    kinds = {re.match(r".*\((.+)\)$", text.splitlines()[0])[1] for text in parts}
    assert len(kinds) >= 3, kinds


def test_no_exercise_notebook_holds_a_solution(make):
    for path in SOLUTIONS:
        source = "\n".join(cell.source for cell in cells(path))
        laid_out = (path.parents[1] / "exercises" / path.name).read_text(encoding="utf-8")
        assert not re.search(r"SOLUTION|STUB|\*\*Solution", laid_out) and '"raw"' not in laid_out
        for _, body in make.SOLUTION.findall(source):
            lines = [line.strip() for line in body.splitlines() if "# STUB" not in line and len(line.strip()) > 24]
            shown = [line for line in lines if line.split("  #")[0].strip().replace('"', '\\"') in laid_out]
            assert shown == [], (path.name, shown)
        for answer in re.findall(r"^\*\*Solution\.\*\*(.{30})", source, flags=re.MULTILINE):
            assert answer not in laid_out


def test_what_a_check_says(capsys):
    def wrong():
        expect(1 == 2, "One is not two.")

    assert verdict(lambda: None) == ("right", "")
    assert verdict(lambda: given(1, ...))[0] == "not yet" == verdict(lambda: given(None))[0]
    assert verdict(wrong) == ("not right", "One is not two.")
    assert verdict(lambda: 1 / 0) == ("not right", "Your code stops with ZeroDivisionError: division by zero")
    check("Exercise 7")(wrong)
    line = capsys.readouterr().out.strip()
    assert read_line(line) == {"exercise": "Exercise 7", "state": "not right", "words": "One is not two."}
    assert read_line("Exercise 7 is next") is None

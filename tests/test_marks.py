"Marked cells that cannot run here are passed over with a sentence, and the notebook goes on."

import pytest
from IPython.core.interactiveshell import InteractiveShell

from genre_nbs import marks


@pytest.mark.parametrize(
    "source, name, there, words",
    [
        ("#| data\n1 / 0", "GENRE_NBS_DATA", "folder", "real songs"),
        ("#| slow\n1 / 0", "GENRE_NBS_SLOW", "1", "delete its line"),
    ],
)
def test_a_cell_is_passed_over_where_its_variable_is_not_set(source, name, there, words, monkeypatch):
    monkeypatch.delenv(name, raising=False)
    assert words in marks.missing(source) and marks.pass_over([source])[0].startswith("print(")
    monkeypatch.setenv(name, there)
    assert marks.missing(source) == "" and marks.pass_over([source]) == [source]


def test_all_marks_of_a_cell_count(monkeypatch):
    monkeypatch.setenv("GENRE_NBS_DATA", "folder")
    monkeypatch.delenv("GENRE_NBS_SLOW", raising=False)
    assert "delete its line" in marks.missing("#| data\n#| slow\n1 / 0") and marks.missing("x = '#| slow'") == "" == marks.missing("x = 1")


@pytest.mark.parametrize("mark, name", [("cuda", "_gpu"), ("online", "_online")])
def test_gpu_and_internet(mark, name, monkeypatch):
    for there in (False, True):
        monkeypatch.setitem(marks.NEEDS, mark, (lambda there=there: there, marks.NEEDS[mark][1]))
        assert bool(marks.missing(f"#| {mark}\n1")) is not there


def test_a_notebook_goes_on(capsys, monkeypatch):
    monkeypatch.delenv("GENRE_NBS_DATA", raising=False)
    shell = InteractiveShell()
    assert not shell.run_cell("#| data\n1 / 0").success
    marks.respect_marks(shell)
    marks.respect_marks(shell)
    assert shell.run_cell("#| data\n1 / 0").success and shell.run_cell("2 + 2").result == 4
    assert capsys.readouterr().out.count("passed over: it needs real songs") == 1 and shell.input_transformers_cleanup.count(marks.pass_over) == 1

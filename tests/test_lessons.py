"""How a lesson is built: a short exercise in each section, and no more words than an hour holds."""

import json
import re
from pathlib import Path

import pytest

LESSONS = sorted(Path(__file__).resolve().parents[1].glob("nbs/[0-9][0-9]_*.ipynb"))
WORDS = 2500
BEYOND = ("Take-away", "Quiz", "Exercises", "Further reading", "The functions of this lesson", "For the curious", "For the library", "For the lessons to come")


def without_answers(text):
    return re.sub(r"<details>.*?</details>", "", text, flags=re.S)


def sections(cells):
    "Title of each `##` section, and all of its text, code included."
    source = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    text = "\n".join(text if kind == "markdown" else text.replace("#", " #") for kind, text in source)  # a comment is no heading
    _, *parts = re.split(r"(?m)^## (?=\S)", text)
    return [tuple((part + "\n").split("\n", 1)) for part in parts]


def missing_turns(cells):
    "Titles of the sections of a lesson without *Your turn*, those beyond the lesson left aside."
    return [title for title, text in sections(cells) if not title.startswith(BEYOND) and not re.search(r"your turn", text, re.I)]


def words(cells):
    return sum(len(without_answers("".join(cell["source"])).split()) for cell in cells if cell["cell_type"] == "markdown")


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_each_section_has_a_turn_of_your_own(path):
    assert not (missing := missing_turns(json.loads(path.read_text())["cells"])), f"no 'Your turn' in: {'; '.join(missing)}"


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_holds_no_more_words_than_an_hour(path):
    assert words(json.loads(path.read_text())["cells"]) <= WORDS


def cell(kind, text):
    return {"cell_type": kind, "source": text.splitlines(keepends=True)}


def test_what_the_two_tests_refuse():
    with_turn = [cell("markdown", "# A lesson\n\n## One\n\nText."), cell("code", "# Your turn: double it\n2"), cell("markdown", "## Quiz")]
    without = [*with_turn[:2], cell("markdown", "## Two\n\nText."), cell("code", "## not a heading")]
    assert missing_turns(with_turn) == [] and missing_turns(without) == ["Two"]
    assert words([cell("markdown", "one two <details>three\nfour</details> five"), cell("code", "six")]) == 3

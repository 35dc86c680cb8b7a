"The results page quotes no figure that the notebook or table it names does not show."

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FIGURE = re.compile(r"\d+\.\d+|\d+(?= (?:%|s\b|MB))")


def cells(name):
    return json.loads((ROOT / "nbs" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]


def shown_in(name):
    "All text that a notebook's outputs show, or a Markdown file."
    if name.endswith(".md"):
        return (ROOT / name).read_text(encoding="utf-8")
    parts = []
    for cell in cells(name):
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            for kind in ("text/plain", "text/html"):
                parts.append("".join(data.get(kind, "")))
            parts.append("".join(output.get("text", "")))
    return "\n".join(parts)


def rows():
    "The rows of the two tables, by what they are about."
    known = {"shown": list}
    for cell in cells("16_results"):
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and re.match(r"(PICTURES|ATHENS) = \[", source):
            exec(source, known)
    return known["PICTURES"] + known["ATHENS"]


def missing(ours, text):
    "Figures of `ours` that do not stand in `text`, where 0.67 also stands for 0.670."
    return [figure for figure in FIGURE.findall(ours) if not re.search(rf"(?<![\d.]){re.escape(figure)}(?:0*)(?!\d)", text)]


def test_missing_figures_are_found():
    assert missing("0.67 and 12 s", "0.670 x 12") == []
    assert missing("0.67", "10.67 0.671 0.067") == ["0.67"]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_every_figure_stands_where_it_comes_from(row):
    what, _, ours, _, source = row
    assert FIGURE.search(ours), f"{what}: no figure at all"
    assert missing(ours, shown_in(source)) == []


def test_the_page_has_both_projects():
    assert len(rows()) > 12

"""The words: public names, axis labels and table columns are the field's own terms.

`STANDARD` names the private words of earlier versions, and beside each the standard term that takes its place.
"""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "genre_nbs"
STANDARD = {
    "slope": "gradient",
    "slopes": "gradients",
    "answer": "logits, output or prediction",
    "answers": "logits, outputs or predictions",
    "guess": "predicted",
    "guessed": "predicted",
    "truth": "true",
    "doubles": "duplicates",
    "double": "duplicate",
    "replica": "duplicate",
    "replicas": "duplicates",
    "likeness": "similarity",
    "dice": "random number generator",
    "luck": "random variation",
    "judge": "evaluate",
    "judged": "evaluated",
    "worked": "computed",
    "straighten": "orthogonalize",
    "turned": "transposed",
    "squeezed": "whole song picture",
    "mend": "truncate, repair",
    "suited": "adapt",
    "hushed": "silence stderr",
    "spread": "standard deviation (std)",
    "share": "fraction",
    "shares": "fractions",
    "sure": "confidence",
    "behind": "difference",
    "place": "rank, or position",
    "places": "positions",
    "moment": "frame",
    "moments": "frames",
    "differs": "activation std",
    "steepness": "curvature",
    "course": "untuned (the Athens project)",
    "fair": "tuned",
    "tone": "random equalisation (eq)",
    "stripe": "mask",
    "stripes": "masks",
    "kept": "best checkpoint",
    "side": "subset",
    "sides": "subsets",
    "pieces": "segments",
    "weather": "random variation",
}
PUBLIC_EXCEPTIONS = {"copy_course", "course_folder", "tone", "nearest_tone", "APPLE_DOUBLE", "freed_memory_kept", "sure"}  # this course, musical tones, macOS's AppleDouble, a field of the JSON that predict prints
LABELS = ("xlabel", "ylabel", "title", "label", "set_xlabel", "set_ylabel", "set_title", "suptitle", "supxlabel", "supylabel")
NOT_IN_LABELS = set(STANDARD) - {"tone", "place", "course", "kept", "side", "sides", "fair", "double", "worked", "turned", "answer", "answers"}


def words_of(text):
    "The words of a name or a label, in lower case."
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return [word.lower() for word in re.findall(r"[A-Za-z]+", spaced)]


def public_names(source):
    "Functions, classes, methods, their parameters, constants and fields that do not begin with an underscore; (name, line)."
    for node in ast.parse(source).body:
        inside = node.body if isinstance(node, ast.ClassDef) else []
        for item in (node, *inside):
            if isinstance(item, ast.FunctionDef):
                names = [item.name, *(a.arg for a in (*item.args.posonlyargs, *item.args.args, *item.args.kwonlyargs))]
            elif isinstance(item, ast.ClassDef):
                names = [item.name]
            else:
                targets = item.targets if isinstance(item, ast.Assign) else [item.target] if isinstance(item, ast.AnnAssign) else []
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            yield from ((name, item.lineno) for name in names if not name.startswith("_"))


def literal_parts(node):
    "The text of a string or an f-string."
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield from (part.value for part in node.values if isinstance(part, ast.Constant) and isinstance(part.value, str))
    elif isinstance(node, ast.IfExp):
        yield from literal_parts(node.body)
        yield from literal_parts(node.orelse)


def labels(source):
    "Texts that stand on an axis, over a figure or in a legend; (text, line)."
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        values = [k.value for k in node.keywords if k.arg in LABELS] + (node.args[:1] if called in LABELS else [])
        for value in values:
            yield from ((text, node.lineno) for text in literal_parts(value))


def columns(source):
    "Names of columns of tables; (text, line)."
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("DataFrame", "set_axis", "agg", "assign"):
            lists = [k.value for k in node.keywords if k.arg in ("columns", "index")]
            texts = [item for each in lists if isinstance(each, (ast.List, ast.Tuple)) for item in each.elts]
            texts += [key for each in node.args[:1] if isinstance(each, ast.Dict) for key in each.keys if key is not None]
            names = [k.arg for k in node.keywords if k.arg and getattr(node.func, "attr", "") in ("agg", "assign")]
            yield from ((text, node.lineno) for item in texts for text in literal_parts(item))
            yield from ((name, node.lineno) for name in names)


def code_cells(path):
    "Code of a notebook, cell by cell, without magics."
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            yield "".join(line for line in cell["source"] if not line.lstrip().startswith(("%", "!")))


def complaints(source, where, names=True):
    "One line for each private term, with the standard one."
    if names:
        for name, line in public_names(source):
            for word in words_of(name):
                if word in STANDARD and name not in PUBLIC_EXCEPTIONS:
                    yield f"{where}:{line}: public name {name!r}: say {STANDARD[word]!r}"
    for kind, found in (("label", labels(source)), ("column", columns(source))):
        for text, line in found:
            for word in words_of(text):
                if word in NOT_IN_LABELS:
                    yield f"{where}:{line}: {kind} {text!r}: say {STANDARD[word]!r}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_use_standard_terms(path):
    assert list(complaints(path.read_text(encoding="utf-8"), path.name)) == []


@pytest.mark.parametrize("path", sorted((ROOT / "nbs").glob("*.ipynb")), ids=lambda path: path.stem)
def test_figures_and_tables_of_lessons_use_standard_terms(path):
    assert [line for source in code_cells(path) for line in complaints(source, path.stem, names=False)] == []


@pytest.mark.parametrize(
    "planted",
    [
        "def find_slopes(x): pass",
        "def fit(x, slopes=None): pass",
        "class Stack:\n    spread: float = 0.0",
        "REPLICA = 0.75",
        "ax.set(xlabel='guess')",
        "ax.plot(x, label=f'{name}: how sure')",
        "table = pd.DataFrame(rows, columns=['layer', 'slope'])",
        "table.groupby('x').agg(spread=('a', 'std'))",
    ],
)
def test_a_planted_word_is_found(planted):
    assert list(complaints(planted, "planted"))

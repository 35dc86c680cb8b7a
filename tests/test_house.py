"""The house: where a line may stand, and what it may import. Imports go down only.

Floors, from the top: programs (`app/`), lessons in their order (nbs/NN_*.ipynb), with the appendices between them, the practice songs, and
on the ground the wings `io/` and `fast/`, which know no lesson. `style.py`, `marks.py` and `checks.py` import no lesson.
"""

import ast
import json
import re
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "genre_nbs"
LONGEST_FILE, LONGEST_LESSON, LONGEST_FUNCTION, LONGEST_PRACTICE = 450, 300, 40, 300
WINGS, GROUND = ("io", "fast"), ("genres", "style", "checks", "marks")  # GROUND: what the practice songs may know of the corridor


@lru_cache
def exporting(root=ROOT):
    "Module -> name of the notebook that exports it."
    found = {}
    for path in sorted((root / "nbs").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if match := re.match(r"#\|\s*default_exp (\S+)", "".join(cell["source"])):
                found[match[1]] = path.stem
    return found


def lesson_number(module, root=ROOT):
    "0 to 16 for a lesson's module; None for all others."
    match = re.match(r"(\d\d)_", exporting(root).get(module, ""))
    return int(match[1]) if match else None


def modules(package=PACKAGE):
    "Dotted name within the package -> file."
    files = {".".join(path.relative_to(package).with_suffix("").parts): path for path in sorted(package.rglob("*.py"))}
    return {name.removesuffix(".__init__"): path for name, path in files.items() if name not in ("__init__", "_modidx")}


def imports_of(name, path, known):
    "(imported module of ours, line number, text) of each import in a file, wherever it stands."
    source = path.read_text(encoding="utf-8")
    lines, package = source.splitlines(), ["genre_nbs", *name.split(".")]
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(source)):
        targets = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            targets = [f"{module}.{alias.name}" for alias in node.names] + [module]
        for target in targets:
            inside = target.removeprefix("genre_nbs.")
            if inside != target and inside in known:
                yield inside, node.lineno, lines[node.lineno - 1].strip()
                if isinstance(node, ast.ImportFrom) and target != targets[-1]:
                    break


@lru_cache
def graph(package=PACKAGE):
    "Module -> [(imported module, line, text)]."
    known = modules(package)
    return {name: list(imports_of(name, path, known)) for name, path in known.items()}


def reached(edges, start):
    "All modules that a module imports, directly or not."
    seen, todo = set(), [start]
    while todo:
        for target, *_ in edges[todo.pop()]:
            if target not in seen:
                seen.add(target)
                todo.append(target)
    return seen


def room(module):
    "The folder that a module stands in; '' for the corridor."
    return module.split(".")[0] if module.split(".")[0] in (*WINGS, "practice", "app") else ""


def level(edges, module, root=ROOT):
    "Where a module of the corridor stands: a lesson's own number; an appendix no lower than the last lesson that it uses."
    own = lesson_number(module, root)
    below = [n for n in (lesson_number(other, root) for other in reached(edges, module)) if n is not None]
    return own if own is not None else max(below, default=-1)


def forbidden(edges, source, target, root=ROOT):
    "Why one module must not import the other; None where it may."
    here, there = room(source), room(target)
    if here == "app":
        return None
    if there == "app":
        return "only programs import app/"
    if here in WINGS and there not in WINGS:
        return f"{here}/ knows no lesson"
    if here == "practice" and there in ("",) and target not in GROUND:
        return "the practice songs know no lesson but the genres"
    if here == "" and there == "" and lesson_number(source, root) is not None and level(edges, target, root) > lesson_number(source, root):
        return "a lesson imports earlier lessons only"
    return None


def complaints(edges, package=PACKAGE, root=ROOT):
    "One line for each import that goes up, and for each circle, with both ends."
    files = modules(package)
    for source, targets in edges.items():
        for target, line, text in targets:
            if why := forbidden(edges, source, target, root):
                yield f"{files[source].name}:{line}: {text!r} -> {target}: {why}"
            if source in reached(edges, target) and source != target:
                back = next((n, t) for other, n, t in edges[target] if other == source or source in reached(edges, other) | {other})
                yield f"{files[source].name}:{line}: {text!r} and {files[target].name}:{back[0]}: {back[1]!r} make a circle"


def test_imports_go_down_only():
    assert list(complaints(graph())) == []


@pytest.mark.parametrize(
    "module, line, why",
    [
        ("io.files", "from genre_nbs.genres import GTZAN_GENRES", "knows no lesson"),
        ("fast.memory", "import genre_nbs.audio", "knows no lesson"),
        ("evaluation", "from .app.report import html_report", "only programs"),
        ("datasets", "from .training import fit", "earlier lessons only"),
        ("splitting", "from .comparison import Plan", "earlier lessons only"),
        ("practice.theory", "from genre_nbs.features import mfcc", "no lesson but the genres"),
        ("genres", "def late():\n    from .audio import play", "earlier lessons only"),
        ("io.files", "from genre_nbs.io import decode", "circle"),
    ],
)
def test_a_planted_import_is_found(module, line, why, tmp_path):
    package = tmp_path / "genre_nbs"
    for name, path in modules().items():
        copy = package / path.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8") + (f"\n{line}\n" if name == module else ""), encoding="utf-8")
    found = [text for text in complaints(graph(package), package) if why in text]
    assert found and all(f"{module.split('.')[-1]}.py:" in text for text in found), found


def code_lines(path):
    return path.read_text(encoding="utf-8").count("\n")


def functions_of(path):
    "(name, lines) of every function and method, decorators and docstring included."
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.end_lineno - min([node.lineno, *(d.lineno for d in node.decorator_list)]) + 1


def test_no_room_is_too_long():
    for name, path in modules().items():
        limit = LONGEST_LESSON if lesson_number(name) is not None else LONGEST_PRACTICE if room(name) == "practice" else LONGEST_FILE
        assert code_lines(path) <= limit, f"{name} has {code_lines(path)} lines, {limit} are allowed"


def test_no_function_is_too_long():
    long = [(name, function, n) for name, path in modules().items() for function, n in functions_of(path) if n > LONGEST_FUNCTION]
    assert long == []


def test_every_lesson_has_its_number():
    names = sorted(path.stem for path in (ROOT / "nbs").glob("[0-9]*.ipynb"))
    assert sorted({int(name[:2]) for name in names}) == list(range(17))
    assert [name for name in names if name.startswith("12")] == ["12_convolution", "12_picture_cnn"] and len(names) == 18

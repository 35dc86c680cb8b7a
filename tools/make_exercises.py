"""Make the exercise notebooks in nbs/exercises/ from the solutions in nbs/solutions/. With --check: say whether they are current.

In a solution notebook
- a code cell may hold `# BEGIN SOLUTION`, then lines `# STUB: ...` (what stands in their place, `...` when there is none),
  the solution, and `# END SOLUTION`;
- a markdown cell that begins with `**Solution.**` is the model answer of an open question;
- a raw cell holds typical wrong answers, apart by lines of `---`, which the check of the exercise must refuse.
"""

import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
SOLUTIONS, EXERCISES = ROOT / "nbs" / "solutions", ROOT / "nbs" / "exercises"
SOLUTION = re.compile(r"^([ \t]*)# BEGIN SOLUTION\n(.*?)^[ \t]*# END SOLUTION$", re.MULTILINE | re.DOTALL)
STUB = re.compile(r"^([ \t]*)# STUB: ?(.*)$", re.MULTILINE)
OPEN_ANSWER = "**Solution.**"


def without_solution(source):
    "The source of a cell with each solution replaced by its stub."
    def stub(match):
        lines = [f"{indent}{text}" for indent, text in STUB.findall(match[2])] or [f"{match[1]}..."]
        return "\n".join([f"{match[1]}# your code here", *lines])
    return SOLUTION.sub(stub, source)


def exercise_cells(notebook):
    "The cells of the exercise notebook."
    for cell in notebook.cells:
        if cell.cell_type == "code":
            yield nbformat.v4.new_code_cell(without_solution(cell.source), id=cell.id)
        elif cell.cell_type == "markdown" and cell.source.startswith(OPEN_ANSWER):
            yield nbformat.v4.new_markdown_cell("*Your answer:*", id=cell.id)
        elif cell.cell_type == "markdown":
            yield nbformat.v4.new_markdown_cell(cell.source.replace("exercises and their solutions", "exercises"), id=cell.id)


def exercise_text(path):
    "The exercise notebook made from a solution notebook, as text in nbdev's format."
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = list(exercise_cells(notebook))
    return nbformat.writes(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def stale():
    "Exercise notebooks that are not what their solutions say, by name; `write` makes them so."
    made = {path.name: exercise_text(path) for path in sorted(SOLUTIONS.glob("*.ipynb"))}
    there = {path.name: path.read_text(encoding="utf-8") for path in EXERCISES.glob("*.ipynb")}
    return {name: made.get(name) for name in sorted({*made, *there}) if made.get(name) != there.get(name)}


def main():
    changed = stale()
    if "--check" in sys.argv[1:]:
        sys.exit("\n".join(f"exercises/{name}: not current, run python tools/make_exercises.py" for name in changed) or None)
    EXERCISES.mkdir(exist_ok=True)
    for name, text in changed.items():
        (EXERCISES / name).unlink(missing_ok=True)
        if text is not None:
            (EXERCISES / name).write_text(text, encoding="utf-8")
    print(f"{len(changed)} exercise notebooks written or removed")


if __name__ == "__main__":
    main()

"Make README.md from nbs/index.ipynb with nbconvert. With --check: say whether it is current, and change nothing."

import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[1]
NOTE = "<!-- Made from nbs/index.ipynb by tools/make_readme.py: edit there. -->\n\n"


def readme():
    "The text of the index notebook, its code cells as fenced blocks and without outputs."
    notebook = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4)
    notebook.metadata["language_info"] = {"name": "python"}  # cleaned away; it names the language of the fenced blocks
    text, _ = MarkdownExporter(exclude_output=True, exclude_input_prompt=True).from_notebook_node(notebook)
    return NOTE + text.strip() + "\n"


def main():
    target, text = ROOT / "README.md", readme()
    if "--check" in sys.argv[1:]:
        sys.exit(None if target.read_text(encoding="utf-8") == text else "README.md is not current: run python tools/make_readme.py")
    target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

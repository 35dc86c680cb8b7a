"Where the scripts beside this file put what they measured: between two markers of README.md."

from pathlib import Path

from genre_nbs.io.files import atomic_path

README = Path(__file__).with_name("README.md")


def write_section(name, title, text, path=README):
    "Replaces what stands between the markers of `name`; adds a section at the end where there is none."
    start, end = f"<!-- {name}: start -->", f"<!-- {name}: end -->"
    old = path.read_text(encoding="utf-8") if path.exists() else "# Benchmarks\n"
    if start not in old:
        old = f"{old.rstrip()}\n\n## {title}\n\n{start}\n{end}\n"
    before, rest = old.split(start, 1)
    with atomic_path(path) as part:
        part.write_text(f"{before}{start}\n{text}\n{end}{rest.split(end, 1)[1]}", encoding="utf-8")

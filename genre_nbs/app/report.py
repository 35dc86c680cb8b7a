"Results for others: a page of HTML that needs nothing else, and a row in a table of results."

import csv
import io
import json
import os
import platform
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup

from genre_nbs.evaluation import Evaluation, plot_confusion
from genre_nbs.genres import genre_title
from genre_nbs.io.files import atomic_path
from genre_nbs.io.html import environment, figure_uri

RESULT_COLUMNS = (
    "name", "accuracy", "accuracy_low", "accuracy_high", "f1_macro", "n", "by", "n_tracks", "genres",
    "split", "split_checksum", "data_checksum", "seeds", "recipe",
    "python", "numpy", "torch", "librosa", "genre_nbs", "platform",
)  # fmt: skip


def _block(item, caption=""):
    "One item of a section as (kind, content, caption) for the template; raises `ValueError` for what a report cannot show."
    if isinstance(item, tuple):
        return _block(item[0], item[1])
    if isinstance(item, list):
        return "row", [_block(part) for part in item], caption
    if isinstance(item, Markup):
        return "html", item, caption
    if isinstance(item, str):
        return "text", [part.strip() for part in item.split("\n\n") if part.strip()], caption
    if isinstance(item, Mapping):
        return "tiles", item, caption
    if isinstance(item, pd.DataFrame):
        return "table", _table(item), caption
    if isinstance(item, np.ndarray) and item.dtype == object and item.size:
        item = item.flat[0]  # the Axes of one figure
    if hasattr(getattr(item, "figure", item), "savefig"):
        width, height = getattr(item, "figure", item).get_size_inches()
        return "figure wide" if width > 1.6 * height else "figure", figure_uri(item), caption
    if hasattr(item, "_repr_html_"):
        return "html", Markup(item._repr_html_()), caption
    raise ValueError(f"a report shows text, tables, figures and HTML, not {type(item).__name__}")


def _table(frame):
    "A data frame as head and rows; an index with a name becomes the first column."
    if frame.index.name:
        frame = frame.reset_index(allow_duplicates=True)
    numeric = [pd.api.types.is_numeric_dtype(dtype) for dtype in frame.dtypes]
    rows = list(frame.astype(object).itertuples(index=False, name=None))
    return dict(head=[str(name).replace("_", " ") for name in frame.columns], numeric=numeric, rows=rows)


def html_report(path, title, sections, summary=None, lead=""):
    """Write a self-contained HTML page: title, summary figures, then sections of text, tables, figures and HTML.

    `sections` maps a heading to an item or a list of items, or is a list of such pairs. An item is text (escaped; a blank
    line starts a paragraph), a data frame, a mapping (figures with labels), a matplotlib figure or Axes, anything with
    `_repr_html_`, a list of such (side by side), or (item, caption). `summary` is a mapping shown on top, `lead` a
    sentence under the title. Written whole or not at all; the same input gives the same bytes. Raises `ValueError`
    for an item that a report cannot show.
    """
    pairs = sections.items() if isinstance(sections, Mapping) else sections
    blocks = [(str(name), [_block(item) for item in (items if isinstance(items, list) else [items])]) for name, items in pairs]
    page = environment().get_template("report.html").render(title=str(title), lead=lead, summary=summary or {}, sections=blocks)
    with atomic_path(path) as part:
        part.write_text(page, encoding="utf-8")
    return Path(path)


def split_checksum(*subsets) -> str:
    "Checksum of a split: SHA-256 of the sorted track names of each subset, so it does not depend on their order or number of segments."
    lists = [sorted({str(track) for track in subset}) for subset in subsets]
    return sha256(json.dumps(lists, ensure_ascii=False).encode("utf-8")).hexdigest()


def data_checksum(*arrays) -> str:
    "Checksum of arrays: SHA-256 over their types, shapes and bytes (names as text)."
    digest = sha256()
    for array in map(np.asarray, arrays):
        text = array.dtype.kind in "OUS"
        digest.update(f"{'text' if text else array.dtype.str}{array.shape}".encode())
        digest.update(json.dumps([str(value) for value in array.flat]).encode() if text else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _plain(value):
    "What JSON cannot hold, as its name or text."
    if is_dataclass(value) and not isinstance(value, type):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    if hasattr(value, "tolist"):
        return value.tolist()
    return getattr(value, "__qualname__", None) or str(value)


def _text(value):
    "A cell on one line that no spreadsheet takes for a formula (OWASP: a leading = + - @ gets an apostrophe)."
    if isinstance(value, int | float | np.number):
        return value.item() if isinstance(value, np.number) else value
    text = " ".join(str(value).replace("\0", "").splitlines())
    return "'" + text if text.lstrip().startswith(("=", "+", "-", "@")) else text


@contextmanager
def _locked(path):
    "The file opened for appending, to this process alone."
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        except ImportError:  # Windows: a byte far beyond the end stands for the file
            import msvcrt

            file.seek(2**30)
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        yield file
        file.flush()


def _append_row(path, row, columns):
    "Append one row, whole or not at all; the first one brings the header."
    line = io.StringIO(newline="")
    head = ",".join(columns).encode() + b"\n"
    csv.writer(line, lineterminator="\n").writerow([_text(row[name]) for name in columns])
    with _locked(Path(path)) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size and file.readline().rstrip(b"\r\n") != head.rstrip():
            raise ValueError(f"{path} has other columns than this version writes: move it away or choose another file")
        file.seek(max(size - 1, 0))
        torn = size and file.read(1) != b"\n"
        try:
            file.write((head if not size else b"\n" if torn else b"") + line.getvalue().encode("utf-8"))
            file.flush()
        except OSError:
            file.truncate(size)
            raise


def record_result(path, evaluation, name, split="", subsets=(), data_checksum="", seeds=(), recipe=None) -> dict:
    """Append one row to a table of results (CSV), with everything needed to repeat it; returns the row.

    `subsets` are the track names of each subset of the split (training, validation, ...), of which the row keeps a checksum.
    `recipe` is a mapping or dataclass of settings, kept as JSON. Two processes may append at once. Raises `ValueError`
    when the file has other columns.
    """
    scores, packages = evaluation.to_dict(), ("numpy", "torch", "librosa", "genre_nbs")
    row = {
        **{key: scores[key] for key in ("accuracy", "f1_macro", "n", "by")},
        **dict(zip(("accuracy_low", "accuracy_high"), scores["accuracy_interval"], strict=True)),
        **{package: _version(package) for package in packages},
        "name": name, "n_tracks": "" if scores["n_tracks"] is None else scores["n_tracks"], "genres": " ".join(scores["genres"]),
        "split": split, "split_checksum": split_checksum(*subsets) if subsets else "", "data_checksum": data_checksum,
        "seeds": " ".join(map(str, seeds)), "recipe": json.dumps(recipe or {}, default=_plain, sort_keys=True),
        "python": platform.python_version(), "platform": platform.platform(),
    }  # fmt: skip
    _append_row(path, row, RESULT_COLUMNS)
    return {column: row[column] for column in RESULT_COLUMNS}


def report_items(
    evaluation: Evaluation, # what `evaluate` returned
) -> list: # items for a section of `html_report`
    "What a report shows of an evaluation: summary figures, both confusion matrices, scores by genre."
    low, high = evaluation.accuracy_interval
    summary = {'accuracy': f'{evaluation.accuracy:.1%}', '95 % interval': f'{low:.1%} to {high:.1%}', 'macro F1': evaluation.f1_macro,
        f'{evaluation.by}s': evaluation.n}
    pictures = [(plot_confusion(evaluation), 'Counts: true genres in rows, predictions in columns.'),
        (plot_confusion(evaluation, normalize=True), 'The same as a fraction of each true genre.')]
    return [summary, pictures, (evaluation.per_genre.rename(index=genre_title), 'Scores by genre; 0 where nothing was predicted.')]

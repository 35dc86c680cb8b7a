"""Collect our figures for lesson 16 from what made them: outputs of lessons, tables of runs, files of scripts.

    python tools/collect_results.py            # writes nbs/results/ours.csv
    python tools/collect_results.py --check    # says what has changed since, and writes nothing

Run it after a lesson has been run anew. A figure that is no longer where it should be ends it with the name of the place;
`tests/test_results.py` makes the same comparison.
"""

import json
import re
import sys
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd

from genre_nbs.io.files import atomic_path
from genre_nbs.statistics import cluster_interval, wilson_interval

ROOT = Path(__file__).parents[1]
OURS = ROOT / "nbs/results/ours.csv"
COLUMNS = ["experiment", "setting", "metric", "value", "low", "high", "interval", "n", "seeds", "made_by"]
SONGS, SEEDS = "95 %, songs", "lowest and highest seed"  # what low and high are
GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
ONE_GENRE = 0.1477  # macro F1 of predicting rock for every mel window of the validation songs


class NotFound(LookupError):
    "A figure that is not where it should be."


class Rows(HTMLParser):
    "The cells of all tables of a page, each row a list of texts; a cell that spans several rows or columns is repeated."

    def __init__(self, html):
        super().__init__()
        self.rows, self.held, self.text, self.span = [], {}, None, (1, 1)
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            given = dict(attrs)
            self.text, self.span = "", (int(given.get("rowspan") or 1), int(given.get("colspan") or 1))
            self.fill()

    def fill(self):
        "Cells of rows above that reach down to where the next cell would stand."
        while (text := self.held.pop((len(self.rows) - 1, len(self.rows[-1])), None)) is not None:
            self.rows[-1].append(text)

    def handle_data(self, data):
        if self.text is not None:
            self.text += data

    def handle_endtag(self, tag):
        if tag in ("td", "th") and self.text is not None:
            down, across = self.span
            for _ in range(across):
                for below in range(1, down):
                    self.held[len(self.rows) - 1 + below, len(self.rows[-1])] = self.text.strip()
                self.rows[-1].append(self.text.strip())
            self.text = None


@lru_cache
def outputs(notebook):
    "(id of a cell, its tables as rows of texts, its text) of a notebook's cells; a Markdown cell's text is its source."
    found = []
    for cell in json.loads((ROOT / "nbs" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]:
        html, text = "", "".join(cell["source"]) if cell["cell_type"] == "markdown" else ""
        for output in cell.get("outputs", []):
            html += "".join(output.get("data", {}).get("text/html", ""))
            text += "".join(output.get("text", "")) + "".join(output.get("data", {}).get("text/plain", ""))
        found.append((cell["id"], Rows(html).rows, text))
    return found


def in_table(notebook, row, **columns):
    "Texts in the row that begins with `row` (one label or several), under the headings `columns`; the last such table counts."
    row = (row,) if isinstance(row, str) else row
    for cell, rows, _ in reversed(outputs(notebook)):
        heads = [i for i, line in enumerate(rows) if set(columns.values()) <= set(line)]
        for line in rows[heads[-1] + 1 :] if heads else []:
            if tuple(line[: len(row)]) == row:
                found = {name: line[rows[heads[-1]].index(heading)] for name, heading in columns.items()}
                return found | {"made_by": f"nbs/{notebook}.ipynb#{cell}"}
    raise NotFound(f"{notebook}: no table with a row {row} and columns {list(columns.values())}")


def in_text(notebook, pattern):
    "The named groups of the last match of `pattern` in what a notebook's cells print, or in its Markdown."
    for cell, _, text in reversed(outputs(notebook)):
        if matches := list(re.finditer(pattern, text)):
            return matches[-1].groupdict() | {"made_by": f"nbs/{notebook}.ipynb#{cell}"}
    raise NotFound(f"{notebook}: nothing matches {pattern}")


def in_results(name, where, **columns):
    "The same from the one row of nbs/results/`name`.csv that has all values of `where`; nothing where there is no such file."
    path = ROOT / "nbs/results" / f"{name}.csv"
    if not path.exists():
        return None
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows = table[(table[list(where)] == list(where.values())).all(axis=1)]
    if len(rows) != 1:
        raise NotFound(f"{name}.csv: {len(rows)} rows with {where}")
    return {name: rows.iloc[0][column] for name, column in columns.items()} | {"made_by": f"nbs/results/{path.name}"}


def figure(experiment, setting, metric, found, **more):
    "A row of the table; an interval over songs is added where the source gives none but counts songs."
    row = dict.fromkeys(COLUMNS, "") | {"experiment": experiment, "setting": setting, "metric": metric} | found | more
    if row["interval"] == SONGS and row["low"] == "":
        row["low"], row["high"] = (f"{bound:.3f}" for bound in wilson_interval(float(row["value"]) * int(row["n"]), int(row["n"])))
    return row


def picture_figures():
    "Lesson 12."
    book = "12_picture_cnn"
    for name in ("first", "final", "best"):
        for split, how in (("random split", "random"), ("artists apart", "gtzan_lists")):
            row = {"recipe": f"picture-{name}", "split": how}
            whole = {"value": "accuracy", "low": "low", "high": "high", "seeds": "seeds", "n": "songs"}
            for metric, columns in (("validation", whole), ("training", {"value": "train_accuracy", "seeds": "seeds"})):
                found = in_results("picture_recipes", row, **columns) or in_table(book, tuple(row.values()), **columns)
                yield figure("picture", f"{name}, {split}", f"{metric} accuracy", found, interval=SONGS if "low" in found else "")
            found = in_table(book, (f"picture-{name}", how), value="last epoch")
            yield figure("picture", f"{name}, {split}", "validation accuracy, last epoch", found, seeds=3)
        for metric in ("minutes", "megabytes"):
            yield figure("picture", name, metric, in_table(book, f"picture-{name}", value=metric, **{"": "minutes"}))
    for genre in GENRES:
        title = {"hiphop": "Hip hop"}.get(genre, genre.capitalize())
        found = in_table(book, title, value="picture-best", setting="most predicted instead")
        setting = f"{genre}, predicted {found['setting'].lower() or 'right'}"
        yield figure("error rate by genre", genre, "error rate", found | {"setting": setting}, seeds=3)


def sgd_figures():
    "Lesson 12: her final network by SGD, as it is and with both cures."
    runs = pd.read_csv(ROOT / "nbs/results/picture_sgd.csv")
    for (network, lr), part in runs.groupby(["network", "learning rate"], sort=False):
        experiment = "picture, SGD" + (f", {network}" if network != "as it is" else "")
        found = {"value": f"{part.accuracy.mean():.3f}", "n": part.songs.iloc[0], "seeds": len(part), "made_by": "nbs/results/picture_sgd.csv"}
        yield figure(experiment, f"learning rate {lr:g}", "validation accuracy", found, interval=SONGS)


def song_figures():
    "Lesson 12: songs drawn in several ways, and whole practice songs compressed or cut; from the prediction of each seed for each song."
    by_drawing = pd.read_csv(ROOT / "nbs/results/picture_drawings.csv")
    by_length = pd.read_csv(ROOT / "nbs/results/picture_whole_songs.csv")
    by_length["drawing"] = "trained on " + by_length.training + ", tested " + by_length.testing
    tables = [("drawings", by_drawing[by_drawing.data == "GTZAN"])]
    for name, experiment in (("best", "whole songs"), ("first", "whole songs, first"), ("final", "whole songs, final")):
        tables.append((experiment, by_length[by_length.recipe == f"picture-{name}"]))
    for experiment, table in tables:
        seeds = [column for column in table if column.startswith("seed ")]
        for setting, part in table.groupby("drawing", sort=False):
            right = part[seeds].eq(part.true, axis=0)
            found = {"value": f"{right.to_numpy().mean():.3f}", "n": part.song.nunique(), "seeds": len(seeds)}
            made_by = {"made_by": f"nbs/results/picture_{experiment.split(',')[0].replace(' ', '_')}.csv"}
            yield figure(experiment, setting, "accuracy", found | made_by, interval=SONGS)


def mel_figures():
    "Lesson 13."
    for name in ("mel", "mel-best"):
        for by, n in (("window", 1890), ("song", 105)):
            found = in_table("13_mel_cnn", name, value=by, low=f"{by} low", high=f"{by} high")
            yield figure("mel CNN", f"{name}, {by}s", "validation accuracy", found, n=n, seeds=3, interval=SONGS)


def perceptron_figures():
    "Lesson 11."
    book = "11_mlp"
    found = in_text(book, r"after epoch 30: mean (?P<value>0\.62\d), lowest (?P<low>[\d.]+), highest (?P<high>[\d.]+)")
    yield figure("perceptron", "mlp-athens, last epoch", "validation accuracy", found, n=800, seeds=10, interval=SEEDS)
    found = in_text(book, r"means: [\d. ]+ (?P<value>[\d.]+)\s")
    yield figure("perceptron", "mlp, best epoch", "validation accuracy", found, n=800, seeds=10)
    for setting, row in (("mlp", "mlp, last epoch"), ("support vector machine", "support vector machine")):
        found = in_table(book, row, value="in blocks")
        yield figure("perceptron", f"{setting}, in blocks", "cross-validated accuracy", found, n=3200, seeds=1)
    for setting, row in (("her loop", "the project's loop"), ("fit", "fit"), ("ten networks together", "ten networks, fit_many")):
        for device, column in (("CPU", "CPU, 16 threads"), ("GPU", "NVIDIA H100 80GB HBM3")):
            yield figure("perceptron", f"{setting}, {device}", "seconds an epoch", in_table(book, row, value=column))


def cross_validation_figures():
    "Accuracy of three classifiers by cross-validation with artists apart, and recall by genre: tables of benchmarks/song_folds.py."
    folds, songs = (pd.read_csv(ROOT / "nbs/results" / f"{name}.csv") for name in ("song_folds", "song_predictions"))
    recalls = []
    for name in ("picture-best", "song-best", "best"):
        clean = folds[(folds.recipe == name) & (folds.change == "none")]
        own = songs[songs.recipe == name]
        right = own[list(GENRES)].idxmax(axis=1) == own.genre
        low, high = cluster_interval(right.to_numpy(), own.group.to_numpy().astype(str))
        found = {"value": f"{clean.right.sum() / clean.songs.sum():.3f}", "low": f"{low:.3f}", "high": f"{high:.3f}"}
        made_by = {"made_by": "nbs/results/song_folds.csv", "seeds": clean.fold_seed.nunique()}
        yield figure("cross-validation", name, "accuracy", found | made_by, n=len(own), interval="95 %, artists")
        by_genre = {"made_by": "nbs/results/song_predictions.csv"}
        recalls += [(f"{name}, {genre}", by_genre | {"value": f"{value:.2f}"}) for genre, value in right.groupby(own.genre).mean().items()]
    for setting, found in recalls:
        yield figure("recall by genre", setting, "recall", found, n=639)


def optimizer_figures():
    "Lesson 14: each optimizer on the mel CNN, from the tables of its runs."
    tables = (("untuned", "one learning rate", "optimizers-mel.csv"), ("final", "own learning rate", "optimizers-mel-full.csv"))
    for stage, setting, name in tables:
        runs = pd.read_csv(ROOT / "benchmarks/runs" / name)
        runs = runs[runs.stage == stage]
        runs["score"] = runs.valid_f1_macro.where(runs.diverged_at.isna() & runs.reason.isna(), 0.0)
        for optimizer, part in runs.groupby("candidate"):
            last = np.array([curve.split()[-3:] for curve in part.valid_curve], dtype=float)
            found = {"made_by": f"benchmarks/runs/{name}", "seeds": len(part)}
            score = {"value": f"{part.score.mean():.3f}", "low": f"{part.score.min():.3f}", "high": f"{part.score.max():.3f}"}
            yield figure(f"optimizers, {setting}", optimizer, "macro F1", found | score, n=1890, interval=SEEDS)
            ten = np.mean([np.array(curve.split()[-10:], dtype=float).mean() for curve in part.valid_curve])
            yield figure(f"optimizers, {setting}", optimizer, "macro F1, last ten epochs", found | {"value": f"{ten:.3f}"})
            constant = int(np.isclose(last, ONE_GENRE, atol=1e-4).all(axis=1).sum())
            yield figure(f"optimizers, {setting}", optimizer, "runs with one genre at the end", found | {"value": str(constant)})


def eight_genre_figures():
    "benchmarks/eight_genres.py."
    runs = pd.read_csv(ROOT / "nbs/results/eight_genres.csv")
    found = {"made_by": "nbs/results/eight_genres.csv", "n": int(runs.n.iloc[0]), "seeds": len(runs)}
    for metric, column in (("validation accuracy", "accuracy"), ("validation accuracy, last epoch", "last_epoch")):
        yield figure("eight genres", "best, artists apart", metric, found | {"value": f"{runs[column].mean():.3f}"}, interval=SONGS)


def collect():
    "All figures, as texts."
    makers = (picture_figures, sgd_figures, song_figures, mel_figures, perceptron_figures)
    makers += (cross_validation_figures, optimizer_figures, eight_genre_figures)
    return pd.DataFrame([row for make in makers for row in make()], columns=COLUMNS).astype(str)


def main(words):
    new = collect()
    if "--check" in words:
        old = pd.read_csv(OURS, dtype=str, keep_default_na=False)
        changed = pd.concat([old, new]).drop_duplicates(keep=False)
        print(changed.to_string() if len(changed) else f"{len(new)} figures, all as their sources have them")
        return int(len(changed) > 0)
    with atomic_path(OURS) as part:
        new.to_csv(part, index=False)
    print(f"{OURS.name}: {len(new)} figures")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

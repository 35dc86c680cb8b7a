"""Lesson 16: every figure of ours stands where it was made, every figure of theirs in their own words, and the page types none.

Ours are collected anew by `tools/collect_results.py` and compared with `nbs/results/ours.csv`. Of the Athens project each accuracy and
macro F1 follows from the confusion matrix that its notebook or log prints; of Dagny Brand's each value stands in the sentence quoted.
"""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from genre_nbs.app import course
from genre_nbs.genres import GTZAN_GENRES
from genre_nbs.statistics import cluster_interval, wilson_interval

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "nbs/results"
FOUR = ["blues", "classical", "hiphop", "rock"]
FIGURE = re.compile(r"(?<![\w.,])\d+\.\d{2,}(?![\w.]|\s*/)")  # 62.67 or 0.834, not 1 / 3 or v2.10.1


def read(name, **options):
    return pd.read_csv(RESULTS / f"{name}.csv", **options)


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("collect_results", ROOT / "tools/collect_results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lesson():
    return json.loads((ROOT / "nbs/16_results.ipynb").read_text(encoding="utf-8"))["cells"]


def test_our_figures_are_those_of_the_cells_and_files_that_made_them(tool):
    old, new = read("ours", dtype=str, keep_default_na=False), tool.collect()
    changed = pd.concat([old, new]).drop_duplicates(keep=False)
    assert changed.empty, f"run tools/collect_results.py, and read lesson 16 again:\n{changed.to_string()}"
    assert len(old) > 130 and not old.duplicated(["experiment", "setting", "metric"]).any()


def test_a_figure_that_has_gone_is_named(tool):
    with pytest.raises(tool.NotFound, match="12_picture_cnn: no table with a row .'picture-none'.*'accuracy'"):
        tool.in_table("12_picture_cnn", "picture-none", value="accuracy")
    with pytest.raises(tool.NotFound, match="11_mlp: nothing matches of no seed"):
        tool.in_text("11_mlp", "of no seed")


def test_cells_that_span_rows_and_columns_are_read(tool):
    table = pd.DataFrame([[1, 2], [3, 4], [5, 6]], pd.MultiIndex.from_tuples([("a", "x"), ("a", "y"), ("b", "x")]), ["p", "q"])
    assert tool.Rows(table.to_html()).rows[1:] == [["a", "x", "1", "2"], ["a", "y", "3", "4"], ["b", "x", "5", "6"]]
    head, first, second = "<th colspan=2>ab</th><th>c</th>", "<td rowspan=2>1</td><td>2</td><td>3</td>", "<td>4</td><td>5</td>"
    wide = tool.Rows(f"<table><tr>{head}</tr><tr>{first}</tr><tr>{second}</tr></table>")
    assert wide.rows == [["ab", "ab", "c"], ["1", "2", "3"], ["1", "4", "5"]]


def test_our_intervals_hold_their_values():
    rows = read("ours").dropna(subset=["low"])
    assert len(rows) > 40 and (rows.low <= rows.value).all() and (rows.value <= rows.high).all()
    songs = rows[(rows.interval == "95 %, songs") & (rows.experiment == "picture")]
    for row in songs.itertuples():  # the lesson's interval is Wilson's, of its mean over seeds
        assert np.allclose(wilson_interval(row.value * row.n, row.n), (row.low, row.high), atol=2e-3)


def test_figures_of_the_athens_project_follow_from_its_confusion_matrices():
    project, matrices = read("athens_project"), read("athens_confusion")
    assert len(project) == 27 and len(matrices) == 4 * 27
    for row in project.itertuples():
        part = matrices[(matrices.experiment == row.experiment) & (matrices.optimizer == row.optimizer)]
        counts = part[FOUR].to_numpy()
        assert part.true.tolist() == FOUR and counts.sum(axis=1).tolist() == [324, 297, 356, 399]
        true, predicted = np.indices((4, 4)).reshape(2, -1).repeat(counts.ravel(), axis=1)
        digits = 5e-5 if row.epoch == 26 and row.experiment.startswith("perceptron") else 6e-7  # that cell prints four digits
        assert abs(np.trace(counts) / row.n - row.accuracy) < digits, row
        assert abs(f1_score(true, predicted, average="macro", zero_division=0) - row.f1) < digits, row


def test_the_table_of_eleven_optimizers_is_whole():
    table = read("athens_project")
    for source in ("README.md", "Steiropoulou_1115201800186_results.ipynb"):
        assert table[table.source == source].optimizer.tolist() == [
            "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD"]  # fmt: skip
    constant = table[np.isclose(table.accuracy, 324 / 1376, atol=1e-6)]
    assert set(zip(constant.experiment, constant.optimizer)) == {
        ("unpadded network", "SGD"), ("mel network", "NAdam"), ("mel network, other run", "AdamW")}  # fmt: skip
    sgd = table[(table.optimizer == "SGD") & ~table.experiment.str.contains("perceptron|unpadded")]
    assert sgd.accuracy.round(4).tolist() == [0.6679, 0.6788, 0.7260]


def test_epochs_and_collapses_of_the_second_run_are_those_of_its_curves():
    table = read("athens_project").set_index(["experiment", "optimizer"]).loc["mel network, other run"]
    for row in read("athens_curves").itertuples():
        curve = np.array(row.valid_f1.split(), dtype=float)
        one_genre = np.isclose(curve, 0.1, atol=1e-4)[::-1]
        assert curve.argmax() + 1 == table.epoch[row.optimizer] and len(curve) == table.epochs[row.optimizer]
        assert (len(curve) if one_genre.all() else one_genre.argmin()) == table.constant_at_end[row.optimizer]


def test_lesson_11_quotes_the_same_table():
    text = "".join("".join(cell["source"]) for cell in json.loads((ROOT / "nbs/11_mlp.ipynb").read_text(encoding="utf-8"))["cells"])
    for row in read("athens_project").dropna(subset="seconds").itertuples():
        assert f"| {row.experiment[-3:]} | {row.accuracy:.2%}".replace("%", " %") + f" | {row.f1:.3f} | {row.seconds:.2f} s |" in text


def test_figures_of_dagny_brand_stand_in_her_words():
    for row in read("brand_project").itertuples():
        said = row.quote.replace(",", "")
        spellings = {f"{row.value:.0f}", f"{row.value:.1f}", f"{row.value:.2f}", f"{row.value:.3f}"}
        if row.metric == "genres without a mistake":
            assert sum(genre in said for genre in ("Hip Hop", "Blues", "Classical")) == row.value
        else:
            assert any(re.search(rf"(?<![\d.]){re.escape(value)}(?![\d])", said) for value in spellings if float(value) == row.value), row


def test_her_twenty_songs_make_her_thirty_per_cent():
    songs = read("brand_songs")
    assert (songs.groupby("genre").size() == 2).all() and set(songs.genre) == set(GTZAN_GENRES)
    assert set(songs.genre[songs.right == 1]) == {"blues", "classical", "hiphop"}
    assert 100 * songs.right.mean() == read("brand_project").set_index("metric").value["test accuracy"]


def test_published_figures_have_a_source_and_are_compared_like_with_like():
    published = read("published")
    assert published.notna().all(axis=None) and published.url.str.startswith("https://").all() and published.year.between(2018, 2026).all()
    assert set(published.training) == {"from scratch", "pretrained"} and set(published.read) == {"yes", "no"}
    sizes = {(10, "test"): 290, (8, "test"): 227, (8, "validation"): 150}  # songs of the fault-filtered lists
    assert all(sizes[row.genres, row.split] == row.n for row in published.itertuples())
    listed = {"MFCC and SVM": 0.534, "musicnn features and SVM": 0.772, "CNN of the ISMIR tutorial": 0.541, "M2D-AS, probed": 0.876,
              "AST, probed": 0.851, "CLAP, probed": 0.843, "VGGish, probed": 0.753, "Jukebox, probed": 0.797, "CLMR, probed": 0.686}  # fmt: skip
    ten = published[published.genres == 10].set_index("system").accuracy
    assert {name: round(ten[name], 3) for name in listed} == listed


def test_eight_genres_were_measured_on_the_lists():
    runs = read("eight_genres")
    assert runs.seed.tolist() == [0, 1, 2] and set(runs.n) == {150} and set(runs.n_train) == {352}  # one of 353 songs is missing
    assert runs.accuracy.between(0.6, 0.95).all() and (runs.accuracy >= runs.last_epoch).all()


def test_a_classifier_of_the_package_stands_in_the_panel_when_its_five_folds_are_there():
    source = next("".join(cell["source"]) for cell in lesson() if cell["id"] == "r5pub001")
    folds, songs = read("song_folds"), read("song_predictions")
    known, first = folds[folds.recipe == "song-best"], folds.recipe.eq("song-best") & folds.fold_seed.eq(0)
    new = pd.concat([known, folds[first].assign(recipe="new"), folds[first & (folds.fold < 4)].assign(recipe="unfinished")])
    own = songs[songs.recipe == "song-best"]
    names = {"folds": new, "predictions": pd.concat([own, own.assign(recipe="new"), own.assign(recipe="unfinished")])}
    names |= {"cluster_interval": cluster_interval, "GREEN": "green"}
    exec(source[source.index("def package_rows") :].split("\n\n\n")[0], names)  # the page's own function
    ((label, value, low, high, _),) = names["package_rows"]("song-best")
    clean = known[known.change == "none"]
    assert "song-best" in label and value == clean.right.sum() / clean.songs.sum()
    right = (own[list(songs.columns[6:])].to_numpy().argmax(1) == own.genre.map(list(songs.columns[6:]).index)).to_numpy()
    assert (low, high) == cluster_interval(right, own.group.to_numpy().astype(str)) and low < value < high
    assert names["package_rows"]("new")[0][1] == pytest.approx(right.mean())
    assert names["package_rows"]("unfinished") == [] == names["package_rows"]("none")


def typed(source):
    "Figures of two decimals or more in code: results that somebody typed. Colours, limits and learning rates have fewer."
    code = "\n".join(line.split("#")[0] for line in source.splitlines())
    return FIGURE.findall(re.sub(r"(xlim|ylim|figsize|width_ratios|alpha|linewidth|height|at|unit)=[^)\]]*[)\]]?", "", code))


def test_typed_figures_are_found():
    assert typed("x = 62.67") == ["62.67"] and typed("y = 0.834 + 1") == ["0.834"]
    assert typed("ax.set(xlim=(0.25, 0.95))  # 0.123") == [] and typed("f'{x:.2f} {1 / 3}'") == []


def test_the_page_types_no_result():
    allowed = {"0.002", "0.012", "0.005", "0.008", "0.015", "0.96", "0.48", "0.001", "0.01", "0.36", "0.02"}  # learning rates, gaps
    for cell in lesson():
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and "#| hide" not in source:
            assert set(typed(source)) <= allowed, cell["id"]


def test_figures_in_the_text_stand_in_the_files():
    "Figures of two decimals or more in the prose are rows of the files, rounded, or differences that a cell shows."
    files = [read(path.stem) for path in RESULTS.glob("*.csv")]
    values = np.concatenate([table.select_dtypes("number").to_numpy(dtype=float).ravel() for table in files])
    known = {f"{value * scale:.{digits}f}" for value in values[np.isfinite(values)] for scale in (1, 100) for digits in (2, 3)}
    other = {"0.67", "0.69", "0.02", "0.68", "0.32", "0.01", "1.386", "0.002"}  # an exercise in standard errors; ln 4; a learning rate
    for cell in lesson():
        if cell["cell_type"] == "markdown":
            text = re.sub(r"arXiv \d+\.\d+", "", "".join(cell["source"]).replace("{,}", ""))
            assert set(FIGURE.findall(text)) - other <= known, cell["id"]


def test_the_files_travel_with_the_course(tmp_path, monkeypatch):
    assert '"results/*' in (ROOT / "setup.py").read_text(encoding="utf-8")
    source = tmp_path / "course"
    (source / "results").mkdir(parents=True)
    shutil.copy(ROOT / "nbs/16_results.ipynb", source)
    shutil.copy(RESULTS / "ours.csv", source / "results")
    monkeypatch.setattr(course, "course_folder", lambda: source)
    copied, _ = course.copy_course(tmp_path / "mine")
    assert copied == ["16_results.ipynb", "results/ours.csv"] and (tmp_path / "mine/results/ours.csv").is_file()
    (tmp_path / "mine/results/ours.csv").write_text("changed", encoding="utf-8")
    assert course.copy_course(tmp_path / "mine") == ([], ["results/ours.csv"])

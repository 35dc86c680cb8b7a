"The report holds everything, runs nothing, and escapes all; the table of results survives rivals and crashes."

import base64
import csv
import io
import json
import multiprocessing
import re
from dataclasses import dataclass
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from genre_nbs.app import demo, report
from genre_nbs.app.report import RESULT_COLUMNS, data_checksum, html_report, record_result, report_items, split_checksum
from genre_nbs.evaluation import evaluate, plot_confusion, plot_confusion_pair, worst_mistakes
from genre_nbs.genres import GTZAN_GENRES, genre_title
from genre_nbs.io.html import mistakes_html, picture_uri

matplotlib.use("Agg")
EVIL = '<script>alert("1")</script>'
VOID = {"meta", "img", "br", "link", "input", "hr"}


@pytest.fixture
def scores():
    return evaluate([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], [0, 0, 1], ("jazz", "hiphop"))


@pytest.fixture
def mistakes():
    proba = [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]
    return worst_mistakes(proba, [1, 0, 0], ("jazz", "hiphop"), [EVIL + ".ogg", "b'\" onerror='x'.ogg", "c&d.ogg"])


class Page(HTMLParser):
    "Tags, attributes and text of a page; notes tags that are not closed."

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words, self.broken = [], [], [], []
        self.feed(text)
        self.broken += self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.broken.append(tag)

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


class Player:
    def _repr_html_(self):
        return '<audio controls src="data:audio/mpeg;base64,AA=="></audio>'


def picture(name):
    return np.arange(128 * 60, dtype=np.uint8).reshape(128, 60)


def write(tmp_path, sections, **kwargs):
    return html_report(tmp_path / "r.html", "T", sections, **kwargs).read_text(encoding="utf-8")


def test_report_holds_all_kinds_of_items_and_is_well_formed(tmp_path, scores, mistakes):
    frame = pd.DataFrame({"f1_macro": [0.12345, np.nan], "n": [3, 4]}, index=pd.Index(["a", "b"], name="genre"))
    sections = {"One": ["First.\n\nSecond.", (frame, "A table."), {"n": 3}], "Two": report_items(scores)}
    sections["Three"] = mistakes_html(mistakes, picture=picture)
    text = write(tmp_path, sections, summary={"accuracy": 0.66666, "songs": 3}, lead="Lead.")
    page = Page(text)
    assert not page.broken
    words = [word.strip() for word in page.words]
    for expected in ("T", "Lead.", "One", "First.", "Second.", "A table.", "f1 macro", "0.123", "–", "0.667", "3", "Hip hop", "Two"):
        assert expected in words, expected
    assert len(page.all("img")) == 2 + 3 and len(page.all("h2")) == 3


def test_report_needs_nothing_else_and_runs_nothing(tmp_path, scores, mistakes):
    items = [plot_confusion_pair(scores), mistakes_html(mistakes, lambda name: Player(), picture)]
    page = Page(write(tmp_path, {"A": items}))
    addresses = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href", "srcset", "poster", "data")]
    assert addresses and all(value.startswith(("data:", "#")) for value in addresses)
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    policy = [attrs["content"] for attrs in page.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy and "default-src 'none'" in policy[0] and "script" not in policy[0]


def test_everything_that_comes_from_outside_is_escaped(tmp_path, scores):
    frame = pd.DataFrame({EVIL: [EVIL]}, index=pd.Index([EVIL], name=EVIL))
    ax = plot_confusion(evaluate([[0.9, 0.1]], [0], (EVIL, "b")))
    sections = {EVIL: [EVIL, (frame, EVIL), {EVIL: EVIL}, (ax, EVIL), [EVIL]]}
    page = Page(html_report(tmp_path / "r.html", EVIL, sections, summary={EVIL: EVIL}, lead=EVIL).read_text(encoding="utf-8"))
    assert not page.all("script") and not page.broken
    assert sum(EVIL in word for word in page.words) >= 11


def test_names_in_the_mistakes_are_escaped(mistakes):
    html = mistakes_html(mistakes, lambda name: Player(), picture)
    page = Page(html)
    assert not page.broken and not page.all("script")
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert "c&d.ogg" in page.words and EVIL + ".ogg" in page.words
    assert len(page.all("audio")) == 3 and all(img["src"].startswith("data:image/png;base64,") for img in page.all("img"))
    assert html._repr_html_() == str(html)


def test_a_song_that_cannot_be_read_gets_a_dash_with_the_reason(mistakes):
    def broken(name):
        raise ValueError(f"cannot read {name}")

    page = Page(mistakes_html(mistakes, broken, broken))
    assert not page.all("script") and not page.all("img")
    reasons = [attrs["title"] for attrs in page.all("span")]
    assert len(reasons) == 6 and f"cannot read {EVIL}.ogg" in reasons

    def bug(name):
        raise TypeError("a mistake in the program")

    with pytest.raises(TypeError):
        mistakes_html(mistakes, bug)


def test_no_mistakes(mistakes):
    page = Page(mistakes_html(mistakes[:0], broken_if_called, broken_if_called))
    assert "No mistakes." in page.words and not page.broken


def broken_if_called(name):
    raise AssertionError


def test_same_input_same_bytes(tmp_path, scores, mistakes):
    def once(name):
        items = [plot_confusion(scores), mistakes_html(mistakes, picture=picture)]
        return html_report(tmp_path / name, "T", {"A": items}).read_bytes()

    assert once("a.html") == once("b.html")


def test_what_cannot_be_shown_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(ValueError, match="not int"):
        html_report(tmp_path / "r.html", "T", {"A": 3})
    assert not list(tmp_path.iterdir())
    html_report(tmp_path / "r.html", "T", {})
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_pictures_become_small(tmp_path):
    for pixels, mode in ((np.zeros((288, 432, 3), np.uint8), "RGB"), (np.zeros((128, 600), np.uint8), "L")):
        image = Image.open(io.BytesIO(base64.b64decode(picture_uri(pixels).split(",")[1])))
        assert image.height == 72 and image.mode == mode and abs(image.width / 72 - pixels.shape[1] / pixels.shape[0]) < 0.02


def test_record_result(tmp_path, scores):
    @dataclass
    class Settings:
        lr: float = 0.1
        network: object = print
        size: object = np.int64(3)

    path = tmp_path / "deep" / "results.csv"
    row = record_result(path, scores, "mlp", split="track", subsets=(["a", "b"], ["c"]), data_checksum="00", seeds=[1, 2], recipe=Settings())
    record_result(path, scores, "cnn")
    table = pd.read_csv(path, keep_default_na=False)
    assert tuple(table.columns) == RESULT_COLUMNS and tuple(row) == RESULT_COLUMNS and len(table) == 2
    first = table.iloc[0]
    written = pd.read_csv(path, dtype=str).iloc[0]  # by Python's own `float`: older pandas reads some numbers one bit off
    assert [float(written[name]) for name in ("accuracy", "accuracy_low", "accuracy_high")] == [scores.accuracy, *scores.accuracy_interval]
    assert first["split_checksum"] == split_checksum({"b", "a"}, ["c", "c"]) and first["seeds"] == "1 2"
    assert json.loads(first["recipe"]) == {"lr": 0.1, "network": "print", "size": 3}
    assert first["numpy"] == np.__version__ and first["genre_nbs"] and first["python"]
    assert table.iloc[1]["split_checksum"] == "" and table.iloc[1]["recipe"] == "{}"


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\r\n=1"])
def test_no_spreadsheet_takes_a_name_for_a_formula(tmp_path, scores, name):
    record_result(tmp_path / "r.csv", scores, name)
    with open(tmp_path / "r.csv", newline="", encoding="utf-8") as file:
        cell = list(csv.reader(file))[1][0]
    assert cell.startswith("'") and cell.lstrip("'").strip() == name.strip()


def test_awkward_names_stay_one_row(tmp_path, scores):
    names = ['a,b"c', "two\nlines\r\nthree", "Größe – ジャズ", "nul\0"]
    for name in names:
        record_result(tmp_path / "r.csv", scores, name)
    assert (tmp_path / "r.csv").read_bytes().count(b"\n") == 5
    assert pd.read_csv(tmp_path / "r.csv")["name"].tolist() == ['a,b"c', "two lines three", "Größe – ジャズ", "nul"]


def test_other_columns_are_refused_and_the_file_is_left_alone(tmp_path, scores):
    path = tmp_path / "r.csv"
    path.write_text("name,accuracy\nx,0.5\n")
    with pytest.raises(ValueError, match="other columns"):
        record_result(path, scores, "new")
    assert path.read_text() == "name,accuracy\nx,0.5\n"


def test_a_row_torn_by_a_crash_spoils_no_other(tmp_path, scores):
    path = tmp_path / "r.csv"
    record_result(path, scores, "first")
    with open(path, "ab") as file:
        file.write(b"torn,0.")
    record_result(path, scores, "third")
    names = [line.split(",")[0] for line in path.read_text().splitlines()]
    assert names == ["name", "first", "torn", "third"]


def append_many(path, scores, who):
    for i in range(40):
        record_result(path, scores, f"{who}-{i}" + "x" * 3000)


def test_processes_may_append_at_once(tmp_path, scores, monkeypatch):
    monkeypatch.setattr(report, "_version", lambda package: "1")
    path, context = tmp_path / "r.csv", multiprocessing.get_context("fork")
    workers = [context.Process(target=append_many, args=(path, scores, who)) for who in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    table = pd.read_csv(path)
    assert len(table) == 160 and table["name"].is_unique and (table["accuracy"] == scores.accuracy).all()


def record_when_told(go, path, scores):
    go.wait()
    record_result(path, scores, "late")


def test_a_process_waits_until_the_other_is_done(tmp_path, scores, monkeypatch):
    monkeypatch.setattr(report, "_version", lambda package: "1")
    path = tmp_path / "r.csv"
    context = multiprocessing.get_context("fork")
    go = context.Event()
    worker = context.Process(target=record_when_told, args=(go, path, scores), daemon=True)
    worker.start()
    with report._locked(path):
        go.set()
        worker.join(0.7)
        assert worker.is_alive() and path.read_bytes() == b""
    worker.join(20)
    assert worker.exitcode == 0 and len(pd.read_csv(path)) == 1


def test_a_full_disk_leaves_the_table_as_it_was(tmp_path, scores, monkeypatch):
    path = tmp_path / "r.csv"
    record_result(path, scores, "first")
    before = path.read_bytes()

    class Full:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            self.file.write(data[:20])
            raise OSError(28, "No space left on device")

    locked = report._locked

    from contextlib import contextmanager

    @contextmanager
    def full(path):
        with locked(path) as file:
            yield Full(file)

    monkeypatch.setattr(report, "_locked", full)
    with pytest.raises(OSError, match="No space"):
        record_result(path, scores, "second")
    assert path.read_bytes() == before


def test_checksums():
    assert split_checksum(["b", "a", "a"], ["c"]) == split_checksum(["a", "b"], ["c"])
    assert split_checksum(["a"], ["b"]) != split_checksum(["b"], ["a"]) != split_checksum(["a", "b"], [])
    assert split_checksum(["a,b"]) != split_checksum(["a", "b"])
    x = np.arange(6, dtype=np.float32)
    assert data_checksum(x) == data_checksum(x.copy()) != data_checksum(x.reshape(2, 3))
    assert data_checksum(x) != data_checksum(x.astype(np.float64)) and data_checksum(x) != data_checksum(x[::-1])
    assert data_checksum(np.zeros(2, np.int32)) != data_checksum(np.zeros(2, np.float32))
    assert data_checksum(np.array(["a", "b"])) == data_checksum(np.array(["a", "b"], dtype=object)) != data_checksum(np.array(["ab", ""]))
    assert data_checksum(x[::2]) == data_checksum(x[::2].copy())
    assert re.fullmatch("[0-9a-f]{64}", data_checksum(x))


def test_the_demo_shows_three_networks_large_spectrograms_and_a_whole_song(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "TRAINING", dict(songs_per_genre=3, artists_per_genre=3, seconds=4.0))
    monkeypatch.setattr(demo, "UNKNOWN_ARTISTS", demo.UNKNOWN_ARTISTS[:1])
    monkeypatch.setattr(demo, "RECIPES_SHOWN", {name: (title, {"epochs": 1}) for name, (title, _) in demo.RECIPES_SHOWN.items()})
    monkeypatch.setattr(demo, "SAMPLE", tmp_path / "not installed.ogg")
    lines = []
    done = demo.run_demo(tmp_path, say=lines.append)
    assert set(done["models"]) == set(done["test"]) == {"mlp", "picture-best", "mel-best"}
    assert all(test["n"] == 10 for test in done["test"].values())
    assert done["song"]["path"] == str(tmp_path / "unknown" / "blues" / "blues-unknown-0.flac") and done["song"]["genre"] in GTZAN_GENRES
    assert any(genre_title(done["song"]["genre"]).lower() in line.lower() for line in lines if "the model that comes with the package" in line)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    large = [attrs["src"] for attrs in page.all("img") if attrs.get("class") == "spectrogram"]
    mistakes = [min(demo.LARGE_MISTAKES, round(10 * (1 - test["accuracy"]))) for test in done["test"].values()]
    assert len(large) == 10 + sum(mistakes) and not page.broken
    for picture in large:
        image = Image.open(io.BytesIO(base64.b64decode(picture.removeprefix("data:image/jpeg;base64,"))))
        assert image.width > 1000 and image.height > 300
    words = [word.strip() for word in page.words]
    assert {"Multilayer perceptron", "Picture CNN", "Mel CNN", "A whole song"} <= set(words)
    assert "Recipe mel-best, trained for 1 epochs." in words

"The own-song page in a real browser: songs go up, answers come back, nothing in a file's name or content is obeyed."

import json
import os
import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest
import soundfile as sf
from browser import Browser, missing
from scipy.special import softmax
from test_decode import by_ffmpeg

from genre_nbs.app import neighbours, page
from genre_nbs.app.page import SongPage
from genre_nbs.audio import load_audio
from genre_nbs.genres import GTZAN_GENRES
from genre_nbs.io.decode import AudioError, save_audio
from genre_nbs.songs import SongPrediction, listen, shipped_path

LACKING = missing("voila", "ipywidgets") or ("signals and file names of POSIX are needed" if os.name == "nt" else "")
IN_BROWSER = pytest.mark.skipif(bool(LACKING), reason=f"the page is tested in Chromium: {LACKING}")
SCRIPT = "<img src=x onerror=document.title='obeyed';alert(1)>.wav"
CHOSEN = ["a song.mp3", "a song.m4a", "large.wav", "broken.mp3", SCRIPT]
SAMPLE = Path(__file__).parents[1] / "test_samples" / "blues1.ogg"
PICTURES = os.environ.get("GENRE_NBS_SCREENSHOTS")  # a folder for screenshots


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    "Name -> file: what people drop, 12 seconds of a practice song each, and what they should not."
    folder = tmp_path_factory.mktemp("songs")
    y, sr = load_audio(SAMPLE, duration=12)
    loud = np.tile(np.interp(np.arange(0, len(y), sr / 96000), np.arange(len(y)), y).astype(np.float32), 7)[: 78 * 96000]
    sf.write(folder / "large.wav", np.stack([loud, loud], 1), 96000, subtype="FLOAT")
    by_ffmpeg(folder / "a song.m4a", y, sr, "aac", bit_rate=128000)
    save_audio(folder / "a song.mp3", y, sr)
    save_audio(folder / SCRIPT, y[: 2 * sr], sr)
    (folder / "broken.mp3").write_bytes(b"no song at all" * 100)
    with open(folder / "too large.wav", "wb") as file:
        file.truncate(page.MOST_BYTES + 1)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    "Where the page is; at the end Ctrl-C stops it."
    errors = tmp_path_factory.mktemp("page") / "errors.txt"
    command = [sys.executable, "-c", "from genre_nbs.app.start import main; main()", "app", "--no-open", "--json"]
    with open(errors, "w") as file, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True, cwd=errors.parent) as process:
        line = process.stdout.readline()
        assert line, errors.read_text()
        yield json.loads(line)["page"]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    said = errors.read_text()
    assert said.endswith("stopped\n") and "Traceback" not in said and "timeout" not in said


@pytest.fixture(scope="module")
def browser(address, songs):
    "A window that shows the page, on which five files were chosen at once."
    with Browser(seconds=120) as window:
        window.open(address)
        window.wait("document.querySelector('.songs-upload[data-ready]')?.offsetWidth > 0")
        window.choose(".songs-upload", *(songs[name] for name in CHOSEN))
        window.wait("document.querySelector('.songs-now').innerText.startsWith('Listening to')")
        window.wait(f"document.querySelectorAll('.song').length == {len(CHOSEN)}")
        window.wait("document.querySelector('.songs-now').innerText == ''")
        yield window


def cards(browser):
    "Name, answer or reason, and whether it is bad, of each card, the newest first."
    script = "[...document.querySelectorAll('.song')].map(s => [s.querySelector('h2').innerText, s.querySelector('p').innerText, s.matches('.song-bad')])"
    return browser.run(script)


def picture(browser, name):
    "Keep a screenshot, where somebody wants to look at it."
    if PICTURES:
        browser.screenshot(Path(PICTURES) / f"{name}.png")


@IN_BROWSER
def test_songs_go_up_and_answers_come_back(browser, songs):
    assert songs["large.wav"].stat().st_size > 59e6
    found = {name: (said, bad) for name, said, bad in cards(browser)[-len(CHOSEN) :]}
    assert list(found) == CHOSEN[::-1]
    for name in ("a song.mp3", "a song.m4a"):
        said = listen(songs[name]).text
        assert found[name] == (f"{said[0].upper()}{said[1:]} 0:12", False)
    assert found["large.wav"][0].endswith(" 1:18")
    assert browser.count(".song-closest") == browser.count(".song:not(.song-bad)")
    assert browser.count(".song-closest span") == browser.count(".song-closest") * page.CLOSEST
    assert found["broken.mp3"] == ("This file cannot be decoded as audio (Format not recognised).", True)
    picture(browser, "songs-1280")


@IN_BROWSER
def test_the_name_of_a_file_is_text(browser):
    assert browser.count(".song h2 img") == 0 and browser.dialogs == []
    assert browser.run("document.title") != "obeyed"
    assert SCRIPT in browser.run("[...document.querySelectorAll('.song h2')].map(h => h.innerText)")


@IN_BROWSER
def test_the_picture_follows_the_player(browser):
    song = "[...document.querySelectorAll('.song')].find(s => s.querySelector('h2').innerText == 'a song.mp3')"
    browser.run(f"({song}).id = 'played'")
    browser.wait("document.querySelector('#played audio').readyState > 0")
    assert browser.run("document.querySelector('#played audio').duration") == pytest.approx(12, abs=0.2)
    browser.click("#played .song-timeline")  # in the middle
    browser.wait("document.querySelector('#played audio').currentTime > 6.3")
    cursor = "parseFloat(document.querySelector('#played .song-cursor').style.left) / 100 * 12"
    assert browser.run(f"Math.abs({cursor} - document.querySelector('#played audio').currentTime)") < 0.5
    assert browser.text("#played .song-here").startswith("0:0")
    picture(browser, "playing-1280")
    browser.run("document.querySelector('#played audio').pause()")


@IN_BROWSER
def test_a_dropped_song_is_taken_and_one_too_large_is_not_sent(browser, songs):
    before = browser.count(".song")
    browser.choose(".songs-upload", songs["too large.wav"])
    browser.wait("document.querySelector('.songs-refused').innerText != ''")
    assert browser.text(".songs-refused").startswith("too large.wav: has 201 MB; the page takes songs of up to 200 MB.")
    assert browser.count(".song") == before
    picture(browser, "refused-1280")
    browser.run("""(async () => {
        const sound = await (await fetch(document.querySelector('.song audio').src)).blob(), dropped = new DataTransfer();
        dropped.items.add(new File([sound], 'dropped.mp3'));
        document.querySelector('.songs-drop').dispatchEvent(new DragEvent('drop', {dataTransfer: dropped, bubbles: true, cancelable: true}));
    })()""")
    browser.wait(f"document.querySelectorAll('.song').length == {before + 1}")
    assert cards(browser)[0][0] == "dropped.mp3" and not cards(browser)[0][2]
    assert browser.text(".songs-refused") == ""


@IN_BROWSER
def test_it_fits_a_phone(browser):
    browser.resize(400, 800)
    wide = "[...document.querySelectorAll('.songs-page, .songs-page *')].filter(e => e.getBoundingClientRect().right > 400.5).map(e => e.className)"
    assert browser.run(wide) == [] and browser.run("document.documentElement.scrollWidth") <= 400
    assert browser.run("parseFloat(getComputedStyle(document.querySelector('.song-top')).fontSize)") >= 16
    browser.resize(400, 3000)
    picture(browser, "songs-400")
    browser.resize(1280)


@IN_BROWSER
def test_nothing_comes_from_elsewhere_and_nobody_else_gets_in(browser, address):
    host, port = address.removeprefix("http://").rstrip("/").split(":")
    assert host == "127.0.0.1"
    answers = {}
    kernel = "/api/kernels/" + browser.run("JSON.parse(document.querySelector('#jupyter-config-data').text).kernelId")
    for path, name in ((kernel, f"127.0.0.1:{port}"), (kernel, "songs.example"), ("/", "songs.example")):
        connection = HTTPConnection(host, int(port), timeout=60)
        connection.request("GET", path, headers={"Host": name})
        answers[path, name] = connection.getresponse().status
    assert list(answers.values()) == [200, 403, 403]
    elsewhere = browser.run(
        "performance.getEntriesByType('resource').map(e => e.name).filter(n => !/^(data|blob):/.test(n) && !n.startsWith(location.origin))"
    )
    assert elsewhere == [name for name in elsewhere if "fontawesome" in name]  # asked for by Voila's template, and stopped by the policy
    assert [error for error in browser.errors if "fontawesome" not in error] == []


@IN_BROWSER
def test_python_ends_with_its_page(browser, address):
    kernel = address + "api/kernels/" + browser.run("JSON.parse(document.querySelector('#jupyter-config-data').text).kernelId")

    def status():
        try:
            return urlopen(kernel, timeout=60).status
        except HTTPError as error:
            return error.code

    assert status() == 200
    browser.open("about:blank")
    browser.until(lambda: status() == 404, "Python to end")


# --- without a browser


def test_what_the_page_cannot_do_is_said_in_one_line(genre_nbs_cli, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "voila.app", None)
        patch.setitem(sys.modules, "voila", None)
        done = genre_nbs_cli("app", "--no-open")
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "pip install 'genre_nbs[app]'" in done.stderr
    if LACKING:
        return
    (tmp_path / "no.safetensors").write_bytes(b"no model")
    done = genre_nbs_cli("app", "--no-open", "--model", tmp_path / "no.safetensors")
    assert done.returncode == 2 and "no.safetensors" in done.stderr and done.stderr.count("\n") == 1


def test_a_port_in_use_is_named():
    with page.socket.socket() as taken:
        taken.bind((page.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port {port} is in use"):
            page.free_port(port)
    assert page.free_port(port) == port


@pytest.fixture
def prediction():
    "Rock for the first half, metal for the second."
    proba = np.array([[0.8, 0.15, 0.05], [0.2, 0.75, 0.05]])
    total = {"rock": 0.5, "metal": 0.45, "jazz": 0.05}
    return SongPrediction(
        "a.wav", "rock", False, total, ("rock", "metal", "jazz"), np.array([5.0, 15.0]), proba, 20.0, np.array([[-0.5, 0.5], [0, 0.25]]), ""
    )


def test_not_sure_is_shown_as_such(prediction):
    y = np.sin(np.arange(20 * 8000) / 10).astype(np.float32)
    html = page.song_html("a & b.wav", prediction, y, 8000)
    assert "song-unsure" in html and "Not sure (rock or metal?)" in html and "a &amp; b.wav" in html
    assert html.count("<polygon") == 4 and ">0:20<" in html
    prediction.sure = True
    html = page.song_html("a.wav", prediction, y[: 8000 * 5], 8000)
    assert "song-unsure" not in html and "Rock" in html and "holds the first 0:05" in html


def test_the_closest_songs_are_those_with_the_most_similar_logits(prediction, tmp_path):
    logits = np.array([[2.0, 1.0, -3.0], [5.0, 3.0, -8.0], [-1.0, 0.0, 1.0]])
    proba = softmax(logits + [[7.0], [0.0], [-2.0]], axis=1)  # a constant changes nothing, nor does a temperature
    vectors = neighbours.logit_vectors(proba)
    assert np.allclose(vectors, logits / np.linalg.norm(logits, axis=1, keepdims=True), atol=1e-4)
    assert np.allclose(neighbours.song_vector(softmax(logits[:1] / 4, axis=1)), vectors[0], atol=1e-4)
    model = tmp_path / "m.safetensors"
    model.write_bytes(b"a model")
    assert neighbours.read_neighbours(model) is None
    file = neighbours.neighbours_file(model)
    neighbours.write_neighbours(file, model, ["alike <b>", "other"], ["rock", "jazz"], vectors[1:])
    closest = page.closest_songs(neighbours.read_neighbours(model), proba[:1])
    assert closest == [("alike <b>", "Rock"), ("other", "Jazz")]
    y = np.sin(np.arange(8000) / 10).astype(np.float32)
    assert "alike &lt;b&gt; (Rock)" in page.song_html("a.wav", prediction, y, 8000, closest)
    model.write_bytes(b"another model")
    assert neighbours.read_neighbours(model) is None
    neighbours.write_neighbours(file, model, ["one"], ["rock", "jazz"], vectors[1:])
    with pytest.raises(ValueError, match="holds no neighbours"):
        neighbours.read_neighbours(model)


def test_the_shipped_model_has_its_neighbours():
    known = neighbours.read_neighbours(shipped_path())
    assert known is not None, "they are of another model: run tools/make_neighbours.py"
    assert len(known.names) == len(set(known.names)) == 639 and set(known.genres) == set(GTZAN_GENRES)
    assert [genre for _, genre in known.closest(known.vectors[0], 1)] == [known.genres[0]]


def test_areas_are_stacked_up_to_both_ends(prediction):
    first, *_, last = page.area_points(prediction.times, prediction.timeline, prediction.seconds)
    assert first == "0.0,100.0 250.0,100.0 750.0,100.0 1000.0,100.0 1000.0,80.0 750.0,80.0 250.0,20.0 0.0,20.0"
    assert last.endswith("1000.0,0.0 750.0,0.0 250.0,0.0 0.0,0.0")
    assert page.wave_points(prediction.envelope) == "0.0,2.0 1000.0,26.0 1000.0,50.0 0.0,98.0"


@pytest.mark.parametrize("seconds", [0.4, 1, 12, 61, 183, 3600, 7200, 6 * 3600])
def test_ticks_are_few_and_apart(seconds):
    ticks = list(page.tick_times(seconds))
    assert 1 <= len(ticks) <= 6 and ticks[0] == 0 and ticks[-1] <= seconds
    assert len(ticks) >= 3 or seconds < 3


@pytest.mark.parametrize("seconds, text", [(0, "0:00"), (75.9, "1:15"), (3599, "59:59"), (3661, "1:01:01")])
def test_clock(seconds, text):
    assert page.clock(seconds) == text


@pytest.mark.parametrize(
    "name, suffix", [("a.MP3", ".mp3"), ("no ending", ""), ("a./../../x", ""), ("a.wav\n", ""), ("a.<b>", ""), ("å.m4a", ".m4a")]
)
def test_only_plain_endings_are_kept(name, suffix):
    assert page.safe_suffix(name) == suffix


def test_a_missing_model_is_no_fault_of_the_file(tmp_path):
    with pytest.raises(ValueError) as missing_model:
        SongPage.load(SimpleNamespace(model=tmp_path / "none.safetensors"))
    assert page.said_of(missing_model.value, "song.wav").startswith(str(tmp_path))
    assert page.said_of(AudioError("song.wav", "is silent"), "song.wav") == "This file is silent"
    assert page.said_of(ValueError("song.wav: is silent"), "song.wav") == "This file is silent"
    assert page.sentence(page.said_of(MemoryError(), "song.wav")) == "There is not enough memory for this song."


def test_a_file_that_nobody_foresaw_gives_one_sentence(monkeypatch):
    monkeypatch.setattr(page, "load_beginning", lambda path: 1 / 0)
    monkeypatch.setattr("genre_nbs.songs.listen", lambda path, classifier: None)
    shown = SimpleNamespace(loading=SimpleNamespace(result=lambda: (None, None)))
    shown.song = lambda name, path: SongPage.song(shown, name, path)
    html = SongPage.card(shown, "a<b>.wav", b"")
    assert "song-bad" in html and "a&lt;b&gt;.wav" in html and "ZeroDivisionError: division by zero (this is a fault of genre-nbs)" in html

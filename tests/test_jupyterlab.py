"""The course taken in JupyterLab, in headless Chromium: the start page, a lesson run to its end, a player, an exercise done wrong and right.

Skipped where Chromium is not installed. Screenshots stay in the test's folder (`pytest --basetemp=DIR` keeps them there).
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import browser
import nbformat
import pytest

from genre_nbs.app.course import copy_course

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or "nothing is missing")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "The address of JupyterLab on a copy of the course, and the copy's folder."
    folder = tmp_path_factory.mktemp("lab") / "course"
    copy_course(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"MPLBACKEND": "", "JUPYTER_CONFIG_DIR": str(folder.parent / "config"), "JUPYTER_RUNTIME_DIR": str(folder.parent / "runtime")}
    env = {key: value for key, value in {**os.environ, **settings}.items() if value}
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1"]
    command += ["--IdentityProvider.token=", "--ServerApp.port_retries=0", f"--notebook-dir={folder}", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    with open(folder.parent / "jupyter.log", "w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(f"http://127.0.0.1:{port}/api", folder.parent / "jupyter.log")
        yield f"http://127.0.0.1:{port}", folder
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait_for(address, log, seconds=120):
    "Wait until a server answers. Raises `TimeoutError` with the end of its log."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            return urlopen(address, timeout=5)
        except URLError:
            time.sleep(0.3)
    raise TimeoutError(log.read_text()[-2000:])


@pytest.fixture(scope="module")
def page():
    with browser.Browser(seconds=180) as page:
        yield page


def open_notebook(page, lab, name, text):
    "Open a notebook in a window of its own, and wait until it shows a text and its kernel is ready."
    page.open(f"{lab[0]}/doc/tree/{name}?reset")
    page.wait(f"document.querySelector('.jp-Notebook')?.innerText.includes({json.dumps(text)})")
    page.wait("!!document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=\"idle\"]')")


def status(page):
    "What the kernel of the open notebook does: idle or busy."
    return page.run("document.querySelector('.jp-Notebook-ExecutionIndicator').dataset.status")


def run_all(page):
    "Run > Run All Cells; whether the kernel begins within 20 seconds (what is sent while it still connects can be lost)."
    page.run("[...document.querySelectorAll('.lm-MenuBar-item')].find(item => item.innerText == 'Run').setAttribute('data-test', 'run')")
    page.click("[data-test=run]")
    page.click("[data-command='runmenu:run-all']")
    with contextlib.suppress(TimeoutError):
        return page.until(lambda: status(page) == "busy", "the kernel to begin", 20)


def cells_of(path):
    "The cells of a notebook; None while it is being written."
    with contextlib.suppress(nbformat.reader.NotJSONError):
        return nbformat.read(path, as_version=4).cells


def saved(page, path, done, what, seconds=60):
    "Save the notebook until the file holds what is waited for (JupyterLab 4.0 is idle for a moment between two cells); returns its cells."

    def once():
        page.click(".jp-NotebookPanel-toolbar [data-command='docmanager:save'], .jp-NotebookPanel-toolbar [data-jp-item-name=save] *")
        with contextlib.suppress(TimeoutError):
            return page.until(lambda: (cells := cells_of(path)) and done(cells) and cells, what, 5)

    return page.until(once, what, seconds)


def run_to_the_end(page, path):
    "Run all cells; the cells of the saved notebook, or None where the last one was not run (cells sent while the kernel still connects can be lost)."
    page.until(lambda: run_all(page), "the kernel to begin")
    page.until(lambda: status(page) == "idle", "the lesson to end")
    with contextlib.suppress(TimeoutError):
        return saved(page, path, lambda cells: code_of(cells)[-1].execution_count, "the last cell to be run")


def code_of(cells):
    "Code cells that JupyterLab runs and that are no marks for the builders."
    return [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]


def into_cell(page, text):
    "Click into the code cell that holds a text."
    cell = f"[...document.querySelectorAll('.jp-CodeCell')].find(c => c.innerText.includes({json.dumps(text)}))"
    page.wait(f"!!{cell}")
    page.run(f"{cell}.setAttribute('data-test', 'here')")
    page.click("[data-test=here] .cm-content")
    page.run("document.querySelector('[data-test=here]').removeAttribute('data-test')")


def run_cell(page, text):
    "Click into the code cell that holds a text, and run it."
    into_cell(page, text)
    page.press("Enter", shift=True)


def answer(page, old, new):
    "Put a text in the place of the code cell that holds another, as a student does."
    into_cell(page, old)
    page.press("a", ctrl=True)
    page.write(new)
    page.wait(f"document.querySelector('.jp-Notebook').innerText.includes({json.dumps(new.splitlines()[-1])})")


def check_says(page, cells, said):
    "Run cells from the set-up to the check; whether the check says so within 20 seconds (what is sent while the kernel still connects can be lost)."
    for text in cells:
        run_cell(page, text)
    outputs = "[...document.querySelectorAll('.jp-OutputArea-output')]"
    with contextlib.suppress(TimeoutError):
        return page.wait(f"{outputs}.some(o => o.innerText.startsWith({json.dumps(said)}))", 20)


def test_the_start_page_leads_to_a_lesson(page, lab, tmp_path):
    open_notebook(page, lab, "start.ipynb", "What else is here")
    assert "Start here" in page.text(".jp-Notebook")
    page.screenshot(tmp_path / "start.png")
    links = page.run("[...document.querySelectorAll('.jp-Notebook a')].map(a => a.innerText)")
    assert any(text.startswith("00 ") for text in links) and links.count("exercises") >= 16


def test_a_lesson_runs_to_its_end_and_its_player_plays(page, lab, tmp_path):
    open_notebook(page, lab, "00_genres.ipynb", "import matplotlib")
    cells = page.until(lambda: run_to_the_end(page, lab[1] / "00_genres.ipynb"), "lesson 00 to be run to its end")
    online = lambda cell: re.search(r"^#\|\s*online", cell.source, re.MULTILINE)  # noqa: E731
    failed = [cell.source[:60] for cell in code_of(cells) if not online(cell) and any(o.output_type == "error" for o in cell.outputs)]
    assert failed == [] and all(cell.execution_count for cell in code_of(cells))
    page.run("document.querySelector('.jp-Notebook').scrollTo(0, 0)")
    page.wait("!!document.querySelector('.jp-Notebook audio')")
    page.run("document.querySelector('.jp-Notebook audio').play()")
    page.wait("document.querySelector('.jp-Notebook audio').currentTime > 0.2")
    page.screenshot(tmp_path / "lesson.png", whole=False)


def test_an_exercise_done_wrong_and_then_right(page, lab, tmp_path):
    open_notebook(page, lab, "exercises/01_audio.ipynb", "octave_below = ...")
    cells = ["import numpy", "sr = 22050", "octave_below =", '@check("Exercise 1")']
    answer(page, "octave_below = ...", "frequency = 4\noctave_below = 2")
    page.until(lambda: check_says(page, cells, "Exercise 1: not right."), "the check to refuse")
    page.screenshot(tmp_path / "wrong.png", whole=False)
    answer(page, "octave_below = 2", "frequency = 1000 / 4\noctave_below = frequency / 2")
    page.until(lambda: check_says(page, cells, "Exercise 1: right."), "the check to accept")
    page.screenshot(tmp_path / "right.png", whole=False)

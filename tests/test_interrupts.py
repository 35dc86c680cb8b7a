"Ctrl-C: one line and exit code 130, from the first moment on, also while workers start and work."

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genre_nbs.practice import write_corpus

COMMAND = Path(sys.executable).with_name("genre-nbs")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupts") / "songs"
    write_corpus(folder, songs_per_genre=2, seconds=20.0, genres=("blues", "rock"))
    return folder


def listening():
    "A test run in the background may have been told to ignore Ctrl-C; what it starts is not."
    signal.signal(signal.SIGINT, signal.default_int_handler)


def interrupted(words, seconds):
    "What a command ends with, prints and says, when Ctrl-C comes after so many seconds."
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "preexec_fn": listening}
    process = subprocess.Popen([COMMAND, *map(str, words)], start_new_session=True, **pipes)
    time.sleep(seconds)
    try:
        os.killpg(process.pid, signal.SIGINT)
    except ProcessLookupError:  # it was quicker
        pass
    out, err = process.communicate(timeout=60)
    return process.returncode, err, out


@pytest.mark.parametrize("seconds", [0.2, 0.6, 3.0, 4.0])
@pytest.mark.parametrize("command", ["prepare", "corpus"])
def test_ctrl_c_is_one_line(songs, tmp_path, command, seconds):
    words = {"prepare": [songs, tmp_path / "out", "--as", "summary,mel,picture", "--jobs", 2], "corpus": [tmp_path / "out", "--jobs", 2]}
    code, err, out = interrupted([command, *words[command]], seconds)
    while err.startswith("Fatal Python error: init"):  # Python itself was not up yet, on a busy machine
        seconds += 0.2
        code, err, out = interrupted([command, *words[command]], seconds)
    if code == 0:
        pytest.skip("was done before it could be stopped")
    assert (code, err.splitlines(), out) == (130, ["stopped"], "")


def test_ctrl_c_while_python_ends_changes_nothing(tmp_path):
    late = "import atexit, os, signal\natexit.register(os.kill, os.getpid(), signal.SIGINT)\nimport sys\nsys.argv[1:] = ['--version']\nfrom genre_nbs.app.start import main\nmain()"
    ended = subprocess.run([sys.executable, "-c", late], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("genre-nbs")

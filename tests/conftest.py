"What the tests share: a small corpus of real files, the command line in a process of its own, and the real data."

import contextlib
import gc
import io
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from genre_nbs.app.cli import main
from genre_nbs.fast import conv
from genre_nbs.io.decode import save_audio
from genre_nbs.training import fit

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; its children would never hear a Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" in os.environ:
    # Two processes that fill numba's cache of librosa's functions at once can spoil it, and whoever loads it crashes.
    os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp()


@pytest.fixture(scope="session")
def tones(tmp_path_factory):
    "Three genres of four short songs each, told apart by how bright they are; one artist to two songs."
    folder = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    rows = ["path,genre,track,artist"]
    for genre, pitch in (("blues", 220), ("jazz", 880), ("metal", 3520)):
        for song in range(4):
            time = np.arange(3 * 22050) / 22050
            y = 0.3 * np.sin(2 * np.pi * pitch * (1 + 0.02 * song) * time) + 0.05 * rng.standard_normal(len(time))
            save_audio(folder / genre / f"{genre}{song}.wav", y.astype(np.float32), 22050)
            rows.append(f"{genre}/{genre}{song}.wav,{genre},{genre}{song},{genre} artist {song // 2}")
    (folder / "manifest.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="session")
def genre_nbs_cli():
    """Runs `genre-nbs` with the given words; returns .returncode, .stdout and .stderr.

    In this process, since importing torch anew for each call would take most of the time; `process=True` starts a new one.
    """

    def inside(*words):
        out, err, code, argv = io.StringIO(), io.StringIO(), None, sys.argv
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                sys.argv = ["genre-nbs", *map(str, words)]
                main()
            except SystemExit as stop:
                code = stop.code or 0
            finally:
                sys.argv = argv
                gc.unfreeze()  # the process goes on
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())

    def run(*words, process=False):
        if not process:
            return inside(*words)
        command = Path(sys.executable).with_name("genre-nbs")
        return subprocess.run([command, *map(str, words)], capture_output=True, text=True, timeout=300)

    return run


@pytest.fixture(scope="session")
def real_data():
    "The folder of real songs, or a skip that says so."
    folder = os.environ.get("GENRE_NBS_DATA")
    if not folder:
        pytest.skip("GENRE_NBS_DATA is not set")
    return Path(folder)


@pytest.fixture
def fit_textbook(monkeypatch):
    "`fit` without acceleration: the layers of the network itself, in PyTorch's usual memory format."

    def train(network, *arguments, **settings):
        with monkeypatch.context() as patch:
            patch.setattr("genre_nbs.training.accelerated", lambda network: network)
            for layer in (conv.PatchProduct, conv.SkipZeros):
                patch.setattr(layer, "apply", lambda *x: pytest.fail("a fast layer was used"))
            return fit(network, *arguments, **settings)

    return train

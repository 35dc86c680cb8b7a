"Small promises of the command line: what it says of itself, names that are shown and not obeyed, faults of ours, a cluster that cannot be had."

import json
import os

import pytest
import torch

from genre_nbs import __version__
from genre_nbs.app import console
from genre_nbs.app.prepare import prepare
from genre_nbs.classifier import GenreClassifier
from genre_nbs.genres import canonical_genre, genre_title
from genre_nbs.io.cluster import check_scheduler, lost_scheduler


def test_version(genre_nbs_cli):
    assert genre_nbs_cli("--version").stdout == f"genre-nbs {__version__}\n"


def test_standard_input_is_no_song(genre_nbs_cli):
    done = genre_nbs_cli("predict", "-")
    assert done.returncode == 2 and "not from standard input" in done.stderr and done.stdout == ""


@pytest.mark.parametrize("sign", ["\x9b", "\u202e", "\u2066", "\x1b", "\x7f"])
def test_json_shows_signs_that_steer_a_terminal_as_escapes(sign, capsys):
    console.emit({"path": f"a{sign}b é"}, True, "")
    shown = capsys.readouterr().out
    assert sign not in shown and "é" in shown and json.loads(shown) == {"path": f"a{sign}b é"}


def test_a_title_keeps_its_sign():
    assert genre_title(canonical_genre("R&B")) == "R&B"


@pytest.mark.parametrize("debug", [False, True])
def test_what_nobody_foresaw_is_one_line(debug, monkeypatch, genre_nbs_cli):
    "A fault of ours ends with 1 and a hint; who asks for it sees where."
    monkeypatch.setattr("genre_nbs.app.predict.predict_songs", lambda *args: 1 / 0)
    if debug:
        monkeypatch.setenv("GENRE_NBS_DEBUG", "1")
        with pytest.raises(ZeroDivisionError): genre_nbs_cli("predict", "song.wav")
        return
    monkeypatch.delenv("GENRE_NBS_DEBUG", raising=False)
    done = genre_nbs_cli("predict", "song.wav")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "ZeroDivisionError" in done.stderr and "GENRE_NBS_DEBUG=1" in done.stderr


def test_a_model_says_how_many_threads_trained_it_and_the_table_shows_tested_genres_only(tones, tmp_path, genre_nbs_cli):
    model = tmp_path / "m.safetensors"
    assert genre_nbs_cli("train", tones, "--recipe", "mlp", "--epochs", 2, "--out", model).returncode == 0
    assert GenreClassifier.load(model).settings["threads"] == torch.get_num_threads()
    assert "OMP_NUM_THREADS" in genre_nbs_cli("train", "--help").stdout
    (tmp_path / "some" / "blues").mkdir(parents=True)
    for song in (tones / "blues").iterdir(): os.link(song, tmp_path / "some" / "blues" / song.name)
    done = genre_nbs_cli("evaluate", tmp_path / "some", "--model", model)
    table = done.stdout.split("\n\n")[-1]
    assert "blues" in table and "jazz" not in table and "metal" not in table


def test_a_secured_cluster_that_cannot_be_had_says_what_it_needs(tones, tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(ValueError, match="no Dask scheduler answers at tls://127.0.0.1:1 .*CA_FILE.*CLIENT__CERT"): check_scheduler("tls://127.0.0.1:1")
    with pytest.raises(ValueError, match="tls://127.0.0.1:1"): prepare(tones, tmp_path / "out", scheduler="tls://127.0.0.1:1")
    assert not (tmp_path / "out").exists()


def test_a_lost_scheduler_is_said_in_our_words():
    comm = pytest.importorskip("distributed.comm")
    with pytest.raises(ValueError, match="the Dask scheduler at tcp://x:1 was lost; what is done is kept"), lost_scheduler("tcp://x:1"):
        raise comm.CommClosedError("in <TCP (closed) ...>")

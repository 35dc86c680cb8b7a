"Small promises of the command line: what it says of itself, names that are shown and not obeyed, faults of ours, a cluster that cannot be had."

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from genre_nbs import __version__
from genre_nbs.app import console
from genre_nbs.app.prepare import prepare
from genre_nbs.classifier import GenreClassifier
from genre_nbs.collections import read_collection
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


@contextmanager
def not_as_root():
    "Nobody, whom the rights of files stop."
    user = os.geteuid()
    if user == 0: os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.skipif(os.name == "nt", reason="rights of POSIX")
def test_a_genre_folder_that_nobody_may_open_is_named_and_stops_nothing(tones):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        songs, locked = Path(folder) / "songs", Path(folder) / "songs" / "rock"
        for genre in ("blues", "jazz"): shutil.copytree(tones / genre, songs / genre)
        locked.mkdir(mode=0)
        with not_as_root(): tracks = read_collection(songs)
    assert len(tracks) == 8 and [(path, "Permission denied" in reason) for path, reason in tracks.attrs["skipped"]] == [(str(locked), True)]


def test_a_song_that_the_system_calls_unreadable_stops_no_other(tones, monkeypatch, genre_nbs_cli):
    "Whether a song can be read is asked when it is its turn, and not of all before the first."
    songs = sorted((tones / "blues").iterdir())[:2]
    monkeypatch.setattr(os, "access", lambda path, *how, **more: str(path) != str(songs[0]))
    done = genre_nbs_cli("predict", *songs, "--json")
    assert "is not readable" not in done.stderr and [row["path"] for row in json.loads(done.stdout)["songs"]] == list(map(str, songs))


@pytest.mark.parametrize("words", [["prepare"], ["optimizers", "--quick", "--out"]])
def test_nothing_is_written_among_the_genres(tones, tmp_path, genre_nbs_cli, words):
    for genre in ("blues", "jazz"): shutil.copytree(tones / genre, tmp_path / genre)
    for out in (tmp_path, tmp_path / "features", tmp_path / "blues"):
        done = genre_nbs_cli(words[0], tmp_path, *words[1:], out)
        assert done.returncode == 2 and "whose folders are genres; choose a folder elsewhere" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blues", "jazz"]
    shutil.copytree(tones, tmp_path / "listed")  # its songs stand in a manifest, so what lies beside them is no genre
    assert genre_nbs_cli("prepare", tmp_path / "listed", tmp_path / "listed" / "features").returncode == 0


def test_an_empty_word_is_not_the_folder_one_is_in(genre_nbs_cli):
    done = genre_nbs_cli("train", "", "--recipe", "mlp", "--out", "m.safetensors")
    assert done.returncode == 2 and "is a variable of the shell not set?" in done.stderr


def test_a_device_on_which_nothing_is_computed_is_refused(tones, tmp_path, genre_nbs_cli):
    done = genre_nbs_cli("optimizers", tones, "--quick", "--device", "meta", "--out", tmp_path / "out")
    assert done.returncode == 2 and "device 'meta' cannot be used here: choose one of cpu, cuda" in done.stderr
    assert not (tmp_path / "out").exists()

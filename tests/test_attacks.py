"Bad input of every kind that was tried: one clear line, exit code 2, nothing destroyed, nothing waited for."

import errno
import json
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from genre_nbs.app.course import copy_course
from genre_nbs.app.prepare import prepare
from genre_nbs.audio import load_audio
from genre_nbs.classifier import GenreClassifier
from genre_nbs.datasets import Representation
from genre_nbs.io import files
from genre_nbs.io import model_files as room
from genre_nbs.io.decode import AudioError, save_audio
from genre_nbs.io.model_files import ModelError

COMMAND = Path(sys.executable).with_name("genre-nbs")
POSIX = pytest.mark.skipif(os.name == "nt", reason="needs pipes and free file names")


@pytest.fixture(scope="module")
def model(tones, genre_nbs_cli, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    assert genre_nbs_cli("train", tones, "--recipe", "mlp", "--out", path, "--epochs", 1).returncode == 0
    return path


def refused(done, *words):
    "Check that a run ended with exit code 2 and one clear line that holds all `words`."
    assert done.returncode == 2, (done.returncode, done.stderr)
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("Error: ") and done.stdout == "", done
    assert all(word in lines[0] for word in words), (words, lines[0])


def why(path, **kwargs):
    "The reason why a song cannot be used. A thread, since a pipe would be waited for without end."
    found = []

    def attempt():
        try:
            load_audio(path, **kwargs)
        except AudioError as error:
            found.append(error.reason)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(20)
    assert found, f"{path} was taken for a song, or was waited for"
    return found[0]


def patched(path, place, data):
    "A file with some of its bytes replaced."
    whole = bytearray(path.read_bytes())
    whole[place : place + len(data)] = data
    path.write_bytes(whole)
    return path


@POSIX
def test_pipes_and_devices_are_no_songs(tmp_path):
    for name in ("a.wav", "a.mp3"):
        os.mkfifo(tmp_path / name)
        assert "pipe" in why(tmp_path / name)
    (tmp_path / "zero.wav").symlink_to("/dev/zero")
    assert "device" in why(tmp_path / "zero.wav")


def test_waveforms_that_are_no_sound(tones, tmp_path):
    song = tmp_path / "song.wav"
    song.write_bytes((tones / "jazz" / "jazz0.wav").read_bytes())
    assert "1 Hz" in why(patched(song, 24, struct.pack("<I", 1)))  # would be resampled to 22,050 times its size
    y = np.full(30000, 0.5, np.float32)
    sf.write(tmp_path / "constant.wav", y, 22050)
    assert why(tmp_path / "constant.wav") == "is silent"
    y[0] = 1e30
    sf.write(tmp_path / "loud.wav", y, 22050, subtype="FLOAT")
    assert "1e+30" in why(tmp_path / "loud.wav")
    sf.write(tmp_path / "lie.flac", np.sin(np.arange(44100)), 22050)
    assert "too long" in why(patched(tmp_path / "lie.flac", 22, b"\xff\xff\xff\xff"))  # 4 billion samples, says its header


def test_ogg_without_the_end_of_its_last_page(tones, tmp_path):
    y, sr = load_audio(tones / "jazz" / "jazz0.wav")
    data = save_audio(tmp_path / "whole.ogg", y, sr).read_bytes()
    (tmp_path / "cut.ogg").write_bytes(data[:-20])
    assert "cut off" in why(tmp_path / "cut.ogg")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_utf8(model, tones, genre_nbs_cli, tmp_path):
    good, bad = (os.fsdecode(os.fsencode(tmp_path) + name) for name in (b"/good\xff.wav", b"/bad\xff.wav"))
    Path(good).write_bytes((tones / "jazz" / "jazz0.wav").read_bytes())
    Path(bad).write_text("no song")
    assert "Format not recognised" in why(bad)
    done = subprocess.run([COMMAND, "predict", "--model", model, good, bad, "--json"], capture_output=True, timeout=120)
    result = json.loads(done.stdout)
    assert done.returncode == 2 and result["songs"][0]["path"] == good and "Format" in result["errors"][0]
    (tmp_path / "songs" / "jazz").mkdir(parents=True)
    os.link(good, os.fsdecode(os.fsencode(tmp_path) + b"/songs/jazz/\xff.wav"))
    assert prepare(tmp_path / "songs", tmp_path / "features", ("summary", "picture"))["n"] == 1


@POSIX
def test_control_characters_in_names_are_shown_not_obeyed(model, genre_nbs_cli, tmp_path):
    name = "two\nlines \x1b[31mred.wav"
    (tmp_path / name).write_text("no song")
    refused(genre_nbs_cli("predict", "--model", model, tmp_path / name), "two\\nlines \\x1b[31mred.wav")


@POSIX
def test_nothing_but_plain_files_is_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match=path.name), files.atomic_path(path) as part:
            part.write_text("x")
    assert (tmp_path / "pipe").is_fifo() and [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_full_disk_is_said_with_the_file(tmp_path):
    def full():
        with files.atomic_path(tmp_path / "x") as part:
            part.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space.*'" + "[^']*x'"):
        full()
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written_are_refused_before_the_work(tones, model, genre_nbs_cli, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path, tmp_path / "file" / "m"):
        refused(genre_nbs_cli("train", "no-such-data", "--recipe", "mlp", "--out", out), str(out))
        refused(genre_nbs_cli("evaluate", "--model", model, "no-such-data", "--plot", out), str(out))
    refused(genre_nbs_cli("prepare", tones, tmp_path / "file"), "file")
    refused(genre_nbs_cli("evaluate", "--model", model, tones, "--plot", tmp_path / "plot"), "plot", ".png")
    refused(genre_nbs_cli("evaluate", "--model", model, tones, "--plot", tmp_path / "plot.foo"), "foo", "png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "words",
    [
        ["--epochs", 10**30],
        ["--lr", "nan"],
        ["--lr", "inf"],
        ["--lr", "0"],
        ["--lr", "-1"],
        ["--seed", 2**32],
        ["--batch-size", 0],
        ["--optimizer", "LBFGS"],
    ],
)
def test_numbers_out_of_range(words, tones, genre_nbs_cli, tmp_path):
    refused(genre_nbs_cli("train", tones, "--recipe", "mlp", "--out", tmp_path / "m", *words))
    assert not list(tmp_path.iterdir())


def test_training_that_diverges_at_once_gives_no_model(tones, genre_nbs_cli, tmp_path):
    refused(genre_nbs_cli("train", tones, "--recipe", "mlp", "--out", tmp_path / "m", "--lr", "1e300"), "diverged", "learning rate")
    assert not list(tmp_path.iterdir())


def test_no_validation_on_what_was_learned(tones, genre_nbs_cli, tmp_path):
    refused(genre_nbs_cli("train", tones, "--recipe", "mlp", "--out", tmp_path / "m", "--valid", tones), "cannot validate")


HUGE = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 26), }".ljust(117) + b"\n"


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("tracks", lambda a: a[:30], "tracks.npy (30,)"),
        ("tracks", lambda a: np.append(a, a), "tracks.npy (120,)"),
        ("tracks", lambda a: a[0], "tracks.npy ()"),
        ("artists", lambda a: a[:5], "artists.npy (5,)"),
        ("labels", lambda a: np.full(60, np.nan), "float64"),
        ("X", lambda a: a + 1j, "complex"),
        ("X", lambda a: a * 1e300, "no row"),
        ("X", lambda a: a.astype(object), "plain array"),
        ("X", lambda a: b"PK\3\4 an archive", "plain array"),
        ("X", lambda a: b"hello", "plain array"),
        ("X", lambda a: b"\x93NUMPY\x01\x00" + len(HUGE).to_bytes(2, "little") + HUGE, "plain array"),
        ("X", lambda a: b"\x93NUMPY\x01\x00" + len(HUGE).to_bytes(2, "little") + HUGE.replace(b")", b" "), "plain array"),
    ],
)
def test_arrays_that_do_not_fit(name, change, reason, genre_nbs_cli, tmp_path):
    names = np.array([f"song {i // 2}" for i in range(60)])
    arrays = {"X": np.random.default_rng(0).standard_normal((60, 26)), "labels": np.repeat(["jazz", "rock", "pop"], 20)}
    arrays |= {"tracks": names, "artists": names}
    arrays[name] = change(arrays[name])
    for key, array in arrays.items():
        if isinstance(array, bytes):
            (tmp_path / f"{key}.npy").write_bytes(array)
        else:
            np.save(tmp_path / f"{key}.npy", array)
    done = genre_nbs_cli("train", tmp_path, "--recipe", "mlp", "--out", tmp_path / "m", "--epochs", 1)
    refused(done, str(tmp_path), reason)
    assert "unsafe" not in done.stderr  # as numpy would advise of a pickle


def forge(model, path, change):
    "A copy of a model with another header or other weights."
    with safe_open(model, "pt") as file:
        header, tensors = json.loads(file.metadata()[room.HEADER]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    changed = change(header, tensors)
    save_file(tensors, path, metadata={room.HEADER: changed if isinstance(changed, str) else json.dumps(header)})
    return path


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda header, tensors: header["representation"].update(sr=float("nan")), "sample rate"),
        (lambda header, tensors: header["representation"].update(sr="a"), "sample rate"),
        (lambda header, tensors: header["representation"].update(sr=10**9), "sample rate"),
        (lambda header, tensors: header["representation"].update(seconds=1e-9), "out of range"),
        (lambda header, tensors: header["representation"].update(size=[10**9, 10**9]), "out of range"),
        (lambda header, tensors: header.update(genres="abc"), "genres"),
        (lambda header, tensors: header.update(genres=["a", "a", "a"]), "genres"),
        (lambda header, tensors: next(iter(tensors.values())).fill_(float("nan")), "not finite"),
        (lambda header, tensors: "[" * 100000, "description"),
    ],
)
def test_forged_models(change, reason, model, tmp_path):
    with pytest.raises(ModelError, match=reason):
        GenreClassifier.load(forge(model, tmp_path / "forged", change))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_are_read(dtype, model, tmp_path):
    def change(header, tensors):
        for name, tensor in tensors.items():
            tensors[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor

    loaded = GenreClassifier.load(forge(model, tmp_path / "other", change))
    assert {tensor.dtype for tensor in loaded.network.parameters()} == {torch.float32}
    x = np.random.default_rng(0).standard_normal((5, *loaded.representation.shape)).astype(np.float32)
    np.testing.assert_allclose(loaded.predict_proba_examples(x), GenreClassifier.load(model).predict_proba_examples(x), atol=0.05)


@pytest.mark.parametrize("argument", [{"device": "cpu"}, {"device": "meta"}, {"dtype": "float64"}])
def test_layers_are_built_without_memory(argument, model, tmp_path):
    "`device` would have the layer made where it takes memory, before its size is judged."

    def change(header, tensors):
        next(arguments for name, arguments in header["network"] if name == "Linear").update(argument)

    with pytest.raises(ModelError, match="a Linear with arguments that it does not take"):
        GenreClassifier.load(forge(model, tmp_path / "forged", change))


def test_a_picture_model_without_standardize(tmp_path):
    "Pictures are bytes, which a convolution does not take: 'RuntimeError ... a fault of genre-nbs'."
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    GenreClassifier(network, Representation("picture", size=(20, 20)), ("jazz", "rock")).save(tmp_path / "m")
    song = save_audio(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 66150), 22050)
    assert GenreClassifier.load(tmp_path / "m").predict_proba(song).sum() == pytest.approx(1)


def test_models_of_one_training_are_the_same_bytes(model, tmp_path):
    loaded = GenreClassifier.load(model)
    assert len({loaded.save(tmp_path / str(i)).read_bytes() for i in range(12)}) == 1


def test_a_damaged_cache_is_made_anew(tones, tmp_path):
    prepare(tones, tmp_path, ("summary",))
    before, (first, second, *_) = (tmp_path / "summary" / "X.npy").read_bytes(), sorted((tmp_path / "cache").rglob("*.npy"))
    first.write_bytes(first.read_bytes()[:100])
    second.write_bytes(b"")
    assert prepare(tones, tmp_path, ("summary",))["computed"] == {"summary": 2}
    assert (tmp_path / "summary" / "X.npy").read_bytes() == before


@POSIX
def test_lab_keeps_whatever_stands_in_its_way(tmp_path):
    copy_course(tmp_path)
    first, second, third, *_ = sorted(tmp_path.glob("*.ipynb"))
    for path in (first, second, third):
        path.unlink()
    first.mkdir()
    second.symlink_to("nowhere")
    os.mkfifo(third)
    (tmp_path / ".genre_nbs").write_bytes(b"\xff\xfe\x00")
    assert copy_course(tmp_path) == ([], [first.name, second.name, third.name])
    assert first.is_dir() and second.is_symlink() and third.is_fifo()


@POSIX
def test_output_that_nobody_takes(model, tones):
    song = tones / "jazz" / "jazz0.wav"
    with open("/dev/full", "w") as full:
        done = subprocess.run([COMMAND, "predict", "--model", model, song], stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.splitlines() == ["Error: standard output: No space left on device"]


def test_a_corpus_with_damaged_settings(genre_nbs_cli, tmp_path):
    (tmp_path / "settings.json").write_bytes(b"\xff{")
    refused(genre_nbs_cli("corpus", tmp_path, "--songs-per-genre", 1, "--seconds", 1), str(tmp_path))

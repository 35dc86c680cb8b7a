"A thousand files of which sixty are bad, in twenty ways that no decoder has heard of: 940 are used, 60 are named."

import gzip
import io
import json
import os
import pickle
import stat
import zipfile

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from PIL import Image

from genre_nbs.app.prepare import prepare
from genre_nbs.collections import load_collection
from genre_nbs.datasets import Representation

SR = 8000
rng = np.random.default_rng(3)
NOTE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(SR) / SR) + 0.01 * rng.standard_normal(SR)).astype(np.float32)


def encoded(y, kind, **kwargs):
    target = io.BytesIO()
    sf.write(target, y, SR, format=kind, **kwargs)
    return target.getvalue()


def ways():
    "Twenty ways: name -> (ending, what writes it)."
    wav, flac, ogg = encoded(NOTE, "WAV"), encoded(NOTE, "FLAC"), encoded(NOTE, "OGG")
    packed, picture = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("song.wav", wav)
    Image.fromarray(rng.integers(0, 255, (128, 60), dtype=np.uint8)).save(picture, "PNG")

    def written(data):
        return lambda path: path.write_bytes(data)

    return {
        "folder": (".wav", lambda path: path.mkdir()),
        "pipe": (".flac", os.mkfifo),
        "socket": (".wav", lambda path: os.mknod(path, stat.S_IFSOCK | 0o600)),
        "device": (".mp3", lambda path: path.symlink_to("/dev/zero")),
        "link to nothing": (".wav", lambda path: path.symlink_to(path.with_name("nowhere"))),
        "link to itself": (".ogg", lambda path: path.symlink_to(path)),
        "score": (".mid", written(b"MThd\0\0\0\6\0\1\0\1\1\xe0")),
        "other kind": (".tak", written(b"tBaK" + rng.bytes(500))),
        "zip": (".mp3", written(packed.getvalue())),
        "picture inside": (".wav", written(picture.getvalue())),
        "login page": (".flac", written(b"<!DOCTYPE html><title>Sign in</title>" * 30)),
        "UTF-16": (".ogg", written("keine Musik".encode("utf-16") * 50)),
        "60,000 channels": (".wav", written(wav[:22] + (60000).to_bytes(2, "little") + wav[24:])),
        "one sample a second": (".wav", written(wav[:24] + (1).to_bytes(4, "little") + wav[28:])),
        "constant": (".wav", written(encoded(np.full(SR, 0.4), "WAV"))),
        "far too loud": (".wav", written(encoded(NOTE * 1e30, "WAV", subtype="FLOAT"))),
        "tag without music": (".mp3", written(b"ID3\4\0\0\0\0\0\x7fTIT2\0\0\0\5\0\0\0song" + bytes(120))),
        "first page": (".ogg", written(ogg[:58])),
        "first block": (".flac", written(flac[:42])),
        "gzip or pickle": (".wav", written(gzip.compress(pickle.dumps(NOTE)))),
    }


@pytest.fixture(scope="module")
def thousand(tmp_path_factory):
    folder = tmp_path_factory.mktemp("thousand")
    for genre, scale in (("blues", 1), ("rock", 0.5)):
        (folder / genre).mkdir()
        song = encoded(NOTE * scale, "WAV")
        for i in range(470):
            (folder / genre / f"{genre}.{i:05}.wav").write_bytes(song + b"junk" + i.to_bytes(4, "little"))  # a cache must not take them for one
        for way, (suffix, write) in ways().items():
            for copy in range(2 if genre == "blues" else 1):
                write(folder / genre / f"bad {way} {copy}{suffix}")
    return folder


def check(bad):
    assert len(bad) == 60 and bad.path.is_unique and bad.path.str.contains("bad ").all()
    assert bad.reason.str.len().between(5, 200).all() and not bad.reason.str.contains("Traceback|\n").any()


def test_reading_uses_940_and_names_60(thousand):
    examples = load_collection(thousand, Representation("summary", sr=SR, seconds=0.5))
    assert examples.summary().tracks.tolist() == [470, 470] and np.isfinite(examples.x).all()
    check(examples.bad)


@pytest.mark.slow
def test_preparing_and_training_do_the_same(thousand, tmp_path, genre_nbs_cli):
    done = prepare(thousand, tmp_path / "out", jobs=2)
    assert done["n"] == 940
    check(done["bad"])
    check(pd.read_csv(tmp_path / "out" / "bad.csv"))
    words = ("train", thousand, "--recipe", "mlp", "--epochs", 1, "--out", tmp_path / "m.safetensors", "--no-duplicates", "--json")
    run = genre_nbs_cli(*words)
    assert run.returncode == 0 and len(json.loads(run.stdout)["bad"]) == 60 and run.stderr.count("skipped: ") == 60

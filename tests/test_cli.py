"The command line as people use it."

import gc
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from genre_nbs.app.console import loading


@pytest.fixture(scope="module")
def model(tones, genre_nbs_cli, tmp_path_factory):
    "A model of the three tones, trained by the command line."
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    done = genre_nbs_cli("train", tones, "--recipe", "mlp", "--out", path, "--epochs", 30, "--json", process=True)
    assert done.returncode == 0, done.stderr
    return path, json.loads(done.stdout)


def refused(done, *words):
    "Check that a run ended with exit code 2 and one clear line that holds all `words`."
    assert done.returncode == 2, (done.returncode, done.stderr)
    lines = [line for line in done.stderr.splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith("Error: "), done.stderr
    assert done.stdout == "" and "Traceback" not in done.stderr
    assert all(word in lines[0] for word in words), (words, lines[0])


def test_train_json(model):
    path, result = model
    assert path.is_file()
    assert set(result) >= {"accuracy", "f1_macro", "n", "genres", "confusion", "accuracy_interval"}
    assert result["genres"] == ["blues", "jazz", "metal"] and result["accuracy"] > 0.9
    assert np.sum(result["confusion"]) == result["n"]
    low, high = result["accuracy_interval"]
    assert 0 <= low < result["accuracy"] <= high <= 1
    assert result["scores"]["track"]["n"] < result["scores"]["example"]["n"]


def test_default_split_keeps_artists_apart(model):
    assert model[1]["scores"]["track"]["n"] == 6  # one of two artists of each genre, two songs each


def test_evaluate_and_plot(model, tones, genre_nbs_cli, tmp_path):
    done = genre_nbs_cli("evaluate", "--model", model[0], tones, "--by", "track", "--plot", tmp_path / "c.png", "--json")
    result = json.loads(done.stdout)
    assert result["n"] == 12 and result["accuracy"] == 1 and (tmp_path / "c.png").stat().st_size > 5000
    text = genre_nbs_cli("evaluate", "--model", model[0], tones).stdout
    assert "by example" in text and "by track" in text and "precision" in text


def test_predict_one_and_many(model, tones, genre_nbs_cli):
    song = tones / "metal" / "metal0.wav"
    assert genre_nbs_cli("predict", "--model", model[0], song, process=True).stdout.startswith("The song genre is Metal")
    both = json.loads(genre_nbs_cli("predict", "--model", model[0], song, tones / "blues" / "blues0.wav", "--json").stdout)
    assert [s["genre"] for s in both["songs"]] == ["metal", "blues"]
    assert sum(both["songs"][0]["proba"].values()) == pytest.approx(1, abs=1e-3)


def test_predict_loses_nothing_over_a_bad_song(model, tones, genre_nbs_cli, tmp_path):
    (tmp_path / "bad.wav").write_text("no song")
    done = genre_nbs_cli("predict", "--model", model[0], tones / "jazz" / "jazz1.wav", tmp_path / "bad.wav")
    assert done.returncode == 2 and "Jazz" in done.stdout and "bad.wav" in done.stderr


def test_same_seed_same_model(tones, genre_nbs_cli, tmp_path):
    for name in ("a", "b"):
        assert genre_nbs_cli("train", tones, "--recipe", "mlp", "--out", tmp_path / name, "--epochs", 2, "--seed", 3).returncode == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_split_random_and_lists(tones, genre_nbs_cli, tmp_path):
    for side, songs in (("train", "012"), ("valid", "3")):
        names = [f"{genre}{i}" for genre in ("blues", "jazz", "metal") for i in songs]
        (tmp_path / f"{side}_filtered.txt").write_text("\n".join(f"{name}.wav" for name in names))
    for split, tracks in (("random", 12), (tmp_path, 3)):
        done = genre_nbs_cli("train", tones, "--recipe", "mlp", "--out", tmp_path / "m", "--epochs", 1, "--split", split, "--json")
        assert json.loads(done.stdout)["scores"]["track"]["n"] <= tracks
    assert json.loads(done.stdout)["scores"]["track"]["n"] == 3


def test_bad_songs_are_put_aside_and_counted(tones, genre_nbs_cli, tmp_path):
    import shutil

    shutil.copytree(tones, tmp_path / "songs")
    whole = (tmp_path / "songs" / "jazz" / "jazz0.wav").read_bytes()
    (tmp_path / "songs" / "jazz" / "jazz0.wav").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "songs" / "blues" / "blues1.wav").write_bytes(b"")
    done = genre_nbs_cli("train", tmp_path / "songs", "--recipe", "mlp", "--out", tmp_path / "m", "--epochs", 1, "--json")
    assert done.returncode == 0 and "2 invalid files skipped" in done.stderr
    assert {bad["path"].rsplit("/")[-1] for bad in json.loads(done.stdout)["bad"]} == {"jazz0.wav", "blues1.wav"}


@pytest.mark.parametrize("words", [["nothing-here"], ["empty"], ["one"], ["text"], ["cut"], ["zero"]])
def test_bad_data_is_refused(words, tones, genre_nbs_cli, tmp_path):
    import shutil

    (tmp_path / "empty").mkdir()
    shutil.copytree(tones / "jazz", tmp_path / "one" / "jazz")
    wav = (tones / "jazz" / "jazz0.wav").read_bytes()
    for name, data in (("text", b"this is not music"), ("cut", wav[: len(wav) // 2]), ("zero", b"")):
        for genre in ("jazz", "blues"):
            (tmp_path / name / genre).mkdir(parents=True)
            (tmp_path / name / genre / "song.wav").write_bytes(data)
    out = tmp_path / "out" / "m.safetensors"
    done = genre_nbs_cli("train", tmp_path / words[0], "--recipe", "mlp", "--out", out)
    refused(done, "jazz" if words[0] == "one" else words[0])
    assert not out.exists() and not list((tmp_path / "out").glob("*"))


def test_unknown_recipe_and_words(tones, genre_nbs_cli, tmp_path):
    refused(genre_nbs_cli("train", tones, "--recipe", "magic", "--out", tmp_path / "m"), "magic", "mlp")
    refused(genre_nbs_cli("train", tones, "--recipe", "mlp", "--out", tmp_path / "m", "--optimizer", "Magic"), "Magic")
    refused(genre_nbs_cli("train", tones, "--recipe", "mlp", "--out", tmp_path / "m", "--split", "magic"), "magic")
    refused(genre_nbs_cli("train", tones, "--out", tmp_path / "m"), "--recipe")
    refused(genre_nbs_cli("frobnicate", process=True), "frobnicate")
    refused(genre_nbs_cli("train", tones, "--recipe", "mlp", "--out", tmp_path / "m", "--epochs", 0), "--epochs")
    assert not (tmp_path / "m").exists()


def test_models_that_are_none(model, tones, genre_nbs_cli, tmp_path):
    song, data = tones / "jazz" / "jazz0.wav", model[0].read_bytes()
    (tmp_path / "cut").write_bytes(data[:-50])
    (tmp_path / "head").write_bytes(data[:40])
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").write_bytes(b"")
    save_file(load_file(model[0]), tmp_path / "foreign")
    (tmp_path / "version").write_bytes(data.replace(b'\\"version\\": 2', b'\\"version\\": 9'))
    for name in ("cut", "head", "text", "empty", "foreign", "version", "missing"):
        refused(genre_nbs_cli("predict", "--model", tmp_path / name, song), name)
    assert "9" in genre_nbs_cli("predict", "--model", tmp_path / "version", song).stderr


def test_help_is_fast_and_complete(genre_nbs_cli):
    seconds = []
    for _ in range(3):
        before = os.times()
        shown = genre_nbs_cli("--help", process=True)
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(seconds) < 0.5  # processor time, which other work on the machine does not change much
    for command in ("demo", "corpus", "prepare", "train", "evaluate", "predict", "lab"):
        assert command in shown.stdout
        assert "Example: genre-nbs " + command in " ".join(genre_nbs_cli(command, "--help").stdout.split())


def test_nothing_heavy_before_it_is_needed():
    code = "import sys, genre_nbs, genre_nbs.app.cli; print([m for m in ('torch', 'numpy', 'librosa', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_garbage_is_looked_for_again_after_loading():
    with pytest.raises(ValueError), loading():
        assert not gc.isenabled()
        raise ValueError
    assert gc.isenabled()
    gc.unfreeze()


@pytest.mark.data
def test_real_songs(real_data, genre_nbs_cli, tmp_path):
    songs, model = real_data / "gtzan_audio", tmp_path / "m.safetensors"
    done = genre_nbs_cli("train", songs, "--recipe", "mlp", "--out", model, "--json")
    assert json.loads(done.stdout)["scores"]["track"]["accuracy"] > 0.2
    assert json.loads(genre_nbs_cli("evaluate", "--model", model, songs, "--json").stdout)["accuracy"] > 0.5
    assert "The song genre is" in genre_nbs_cli("predict", "--model", model, songs / "blues" / "blues.00000.wav").stdout


@pytest.mark.data
def test_course_arrays(real_data, genre_nbs_cli, tmp_path):
    course = real_data / "athens_mfcc"
    words = ["--valid", course / "val" / "mfccs", "--out", tmp_path / "m", "--json"]
    done = genre_nbs_cli("train", course / "train" / "mfccs", "--recipe", "mlp", *words)
    assert json.loads(done.stdout)["n"] == 800 and json.loads(done.stdout)["accuracy"] > 0.65
    assert json.loads(genre_nbs_cli("evaluate", "--model", tmp_path / "m", course / "val" / "mfccs", "--json").stdout)["n"] == 800


WRONG_OPTIONS = [
    (("train", "DATA", "--recipe", "mlp", "--out", "m", "--valid", "nowhere"), "nowhere: no such file"),
    (("train", "DATA", "--recipe", "mlp", "--out", "m", "--artists", "nowhere.txt"), "nowhere.txt: no such file"),
    (("train", "DATA", "--recipe", "mlp", "--out", "m", "--artists", "no-index.txt"), "is no index of GTZAN"),
    (("train", "DATA", "--recipe", "mlp", "--out", "m", "--split", "polka"), "unknown way to split 'polka'"),
    (("train", "DATA", "--recipe", "mlp", "--out", "m", "--split", "empty"), "expected one file train*.txt, found 0"),
    (("train", "DATA", "--recipe", "mlp", "--out", "m", "--optimizer", "polka"), "polka"),
    (("train", "DATA", "--recipe", "mlp", "--out", "empty"), "Is a directory"),
    (("evaluate", "DATA", "--model", "MODEL", "--by", "polka"), "--by must be example, track"),
    (("evaluate", "DATA", "--model", "MODEL", "--plot", "c.txt"), ".txt is no format of a picture"),
    (("prepare", "DATA", "out", "--as", "polka"), "cannot prepare 'polka'"),
    (("prepare", "DATA", "no-index.txt"), "is not a folder"),
    (("prepare", "DATA", "out", "--scheduler", "polka://here"), "no Dask scheduler answers at polka://here"),
    (("optimizers", "DATA", "--split", "polka"), "unknown way to split 'polka'"),
    (("optimizers", "DATA", "--test", "nowhere"), "nowhere: no such file"),
    (("optimizers", "DATA", "--scheduler", "polka://here"), "no Dask scheduler answers at polka://here"),
    (("optimizers", "DATA", "--recipe", "polka"), "polka"),
]


@pytest.mark.parametrize("words, complaint", WRONG_OPTIONS)
def test_options_are_checked_before_data_are_read(model, genre_nbs_cli, tmp_path, monkeypatch, words, complaint):
    "DATA is not there: whoever reads it first says so, instead of what is wrong with the option."
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "no-index.txt").write_text("blues.00000.wav, John Lee Hooker\n")
    places = {"DATA": str(tmp_path / "no-such-data"), "MODEL": model[0]}
    refused(genre_nbs_cli(*(places.get(word, word) for word in words)), complaint)


def test_predict_says_which_files_of_a_folder_it_does_not_use(model, tones, genre_nbs_cli, tmp_path):
    (tmp_path / "album" / "disc 1").mkdir(parents=True)
    shutil.copy(tones / "metal" / "metal0.wav", tmp_path / "album" / "disc 1" / "song.wav")
    for name in ("film.avi", "disc 1/tune.mid", "disc 1/Tune.APE", "notes.txt", "cover.jpg", ".hidden.mid"):
        (tmp_path / "album" / name).write_bytes(b"anything")
    done = genre_nbs_cli("predict", "--model", model[0], tmp_path / "album", "--json")
    assert done.returncode == 0 and [song["genre"] for song in json.loads(done.stdout)["songs"]] == ["metal"]
    lines = sorted(done.stderr.splitlines())
    names = ("disc 1/Tune.APE", "disc 1/tune.mid", "film.avi")
    assert [line.split(": ")[1] for line in lines] == [str(tmp_path / "album" / name) for name in names]
    assert all(line.startswith("skipped: ") and "of a kind that is not read" in line for line in lines)


@pytest.mark.skipif(os.name == "nt", reason="rights of POSIX")
def test_a_model_can_be_read_by_whom_the_umask_says(model):
    mask = os.umask(0)
    os.umask(mask)
    assert model[0].stat().st_mode & 0o777 == 0o666 & ~mask


def test_json_says_all_that_the_text_says(model, tones, genre_nbs_cli, tmp_path):
    import shutil

    shutil.copytree(tones, tmp_path / "valid")
    (tmp_path / "valid" / "manifest.csv").unlink()
    (tmp_path / "valid" / "jazz" / "film.avi").write_bytes(b"x")
    words = ("train", tones, "--recipe", "mlp", "--out", tmp_path / "m", "--epochs", 1, "--valid", tmp_path / "valid", "--json")
    result = json.loads(genre_nbs_cli(*words).stdout)
    assert [row["path"].rsplit("/")[-1] for row in result["bad"]] == ["film.avi"]
    assert any("by their sound: 12 tracks" in note for note in result["split"]["notes"])
    shutil.copy(tones / "manifest.csv", tmp_path / "valid" / "manifest.csv")
    rows = (tmp_path / "valid" / "manifest.csv").read_text().replace("jazz artist 0", "")
    (tmp_path / "valid" / "manifest.csv").write_text(rows)
    done = genre_nbs_cli("evaluate", tmp_path / "valid", "--model", model[0], "--json")
    said = "2 of 12 tracks name no artist: each counts as an artist of its own"
    assert json.loads(done.stdout)["notes"] == [said] and f"note: {said}" in done.stderr
    short = ("--quick", "--seeds", 1, "--trials", 1, "--epochs", 1, "--out", tmp_path / "out", "--json")
    assert "film.avi" in json.loads(genre_nbs_cli("optimizers", tmp_path / "valid", *short).stdout)["bad"][0]["path"]


def test_duplicates_of_the_datas_own_split_are_not_called_kept_together(tones, genre_nbs_cli, tmp_path):
    rows = [f"{tones / genre / genre}{i}.wav,{genre},{genre}{i},{'train' if i % 2 else 'valid'}" for genre in ("blues", "jazz") for i in range(4)]
    rows.append(f"{tones}/jazz/jazz0.wav,jazz,copy,train")
    (tmp_path / "m.csv").write_text("path,genre,track,split\n" + "\n".join(rows))
    done = genre_nbs_cli("train", tmp_path / "m.csv", "--recipe", "mlp", "--out", tmp_path / "m", "--epochs", 1)
    assert "duplicates: " in done.stderr and "kept in one subset" not in done.stderr
    assert "in both subsets: " in done.stderr

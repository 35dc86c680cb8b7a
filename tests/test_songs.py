"Song-level features: what a song holds decides, nothing else; models come back to the bit; forged files stay out."

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from genre_nbs import song_features
from genre_nbs.app.recipes import find_recipe
from genre_nbs.classifier import train_classifier
from genre_nbs.datasets import DataError, Examples, load_examples
from genre_nbs.fast.song_statistics import SIZES, caution, distance, song_statistics, typical_range
from genre_nbs.io import model_files
from genre_nbs.io.decode import save_audio
from genre_nbs.io.model_files import ModelError
from genre_nbs.mlp import MLP
from genre_nbs.practice import practice_song
from genre_nbs.song_features import (
    BANDS,
    COLUMNS,
    LEVELS,
    EnsembleRecipe,
    SongClassifier,
    SongPicture,
    SongRecipe,
    altered_copy,
    bandwidth,
    bandwidth_note,
    learn_words,
    level_of,
    limit_bands,
    prepare_picture,
    shrinkage_lda,
    song_picture,
)  # fmt: skip
from genre_nbs.songs import load_model

ROOT = Path(__file__).parents[1]
TINY = EnsembleRecipe("tiny", copies=1, k=12, networks=1, epochs=2)
GENRES = ("classical", "metal")


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    "Two genres of four practice songs of 6 s each."
    folder = tmp_path_factory.mktemp("songs")
    for genre in GENRES:
        for i in range(4):
            save_audio(folder / genre / f"{genre}{i}.wav", practice_song(genre, i, seconds=6.0, seed=i, sr=22050)[0], 22050)
    return folder


@pytest.fixture(scope="module")
def examples(songs):
    return load_examples(songs, SongPicture())


@pytest.fixture(scope="module")
def trained(examples):
    return TINY.train(examples)[0]


@pytest.fixture(scope="module")
def song():
    "A picture of 30 s, highest band on top, with something in every band and at the full 80 dB."
    y = practice_song("rock", 3, seconds=30.0, seed=1, sr=22050)[0]
    return y + np.float32(0.002) * np.random.default_rng(0).standard_normal(len(y)).astype(np.float32)


# --- pictures


def test_a_second_is_thirteen_columns_whatever_the_length(song):
    whole, part = song_picture(song, 22050), song_picture(song[: 10 * 22050], 22050)
    assert whole.shape == part.shape == (BANDS, COLUMNS) and whole.dtype == np.uint8
    np.testing.assert_array_equal(part[:, :129], part[:, 129:258])  # repeated, not stretched
    near = np.abs(whole[:, :120].astype(int) - part[:, :120]).mean()
    assert near < 12, near  # the maximum of a part may lie lower


def test_pictures_of_audio_are_those_that_we_learn_from(real_data):
    from PIL import Image

    song = SongPicture().of_file(real_data / "gtzan_audio/blues/blues.00000.wav")[0, 0]
    stored = np.asarray(Image.open(real_data / "gtzan_mel/blues/blues.00000.png"))
    assert np.abs(song.astype(int) - stored).mean() < 0.5


def test_silence_takes_no_part(trained, song, tmp_path):
    rest = song[: 20 * 22050]
    silent = np.concatenate([np.zeros(2 * 22050, np.float32), rest, np.zeros(22050, np.float32)])
    a, b = (save_audio(tmp_path / f"{name}.wav", y, 22050) for name, y in (("a", rest), ("b", silent)))
    bold = replace(trained, linear={level: (*parts[:3], 0 * parts[3]) for level, parts in trained.linear.items()})  # knows no distance: rock is far from both
    assert np.abs(bold.predict_proba(a) - bold.predict_proba(b)).max() < 0.05
    picture = song_picture(rest, 22050)
    picture[:, 100:150] = 0
    gone = np.delete(picture, np.s_[100:150], axis=1)
    np.testing.assert_array_equal(prepare_picture(picture)[:, :200], prepare_picture(gone)[:, :200])


def test_silent_segments_and_silent_songs(trained, song, tmp_path):
    both = np.concatenate([song[: 30 * 22050], np.zeros(30 * 22050, np.float32)])
    a, b = (save_audio(tmp_path / f"{name}.wav", y, 22050) for name, y in (("a", both), ("b", both[: 30 * 22050])))
    np.testing.assert_allclose(trained.predict_proba(a), trained.predict_proba(b), atol=1e-6)
    np.testing.assert_array_equal(trained.predict_proba_examples(np.zeros((1, 1, BANDS, COLUMNS), np.uint8)), 0.5)
    with pytest.raises(ValueError):
        prepare_picture(np.zeros((BANDS, COLUMNS), np.uint8))


def test_level_changes_nothing(trained, song, tmp_path):
    picture = np.where(song_picture(song, 22050) > 60, song_picture(song, 22050), 0)
    np.testing.assert_array_equal(prepare_picture(picture), prepare_picture(np.where(picture > 0, picture - 40, 0).astype(np.uint8)))
    a, b = (save_audio(tmp_path / f"{name}.wav", y, 22050) for name, y in (("a", song), ("b", song / 4)))
    np.testing.assert_allclose(trained.predict_proba(a), trained.predict_proba(b), atol=0.02)  # 16 bits


@pytest.mark.parametrize(("sr", "level"), [(22050, 128), (16000, 112), (8000, 86)])
def test_bandwidth_decides_the_level(sr, level, song, trained, tmp_path):
    import soxr

    path = save_audio(tmp_path / "song.wav", soxr.resample(song, 22050, sr), sr)
    bands = bandwidth(prepare_picture(SongPicture().of_file(path)[0, 0]))
    assert level_of(bands) == level
    proba, note = trained.predict_with_note(path)
    assert proba.sum() == pytest.approx(1) and (note == "") == (level == 128)
    assert not note or "\n" not in note and 0.85 * sr / 2000 < float(note.split()[3]) < 1.03 * sr / 2000  # kHz
    assert bandwidth_note(bands) == note


def test_a_level_never_looks_above_itself(trained, song):
    picture = prepare_picture(song_picture(song, 22050))
    for level in LEVELS[1:]:
        limited = limit_bands(picture, level)
        assert level_of(bandwidth(limited)) == level and limited[:level].any() and not limited[level:].any()
        bare = replace(trained, networks=[])
        np.testing.assert_array_equal(bare.picture_proba(picture, level), bare.picture_proba(limited))


# --- parts


def test_statistics_have_the_sizes_that_they_say(song):
    vectors = song_statistics(prepare_picture(song_picture(song, 22050)))
    assert tuple(map(len, vectors)) == SIZES and all(np.isfinite(vector).all() for vector in vectors)
    for picture in (np.full((BANDS, COLUMNS), 255, np.uint8), np.eye(BANDS, COLUMNS, dtype=np.uint8)):
        assert all(np.isfinite(vector).all() for vector in song_statistics(picture))


def test_lda_is_scikit_learns():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 300)
    x = (rng.normal(size=(300, 40)) + y[:, None] * rng.normal(size=40)).astype(np.float32)
    weight, bias = shrinkage_lda(x, y, 4, 0.4)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.4).fit(x, y)
    np.testing.assert_allclose(x @ weight + bias, theirs.decision_function(x) - np.log(theirs.priors_), atol=1e-3)
    more, least = shrinkage_lda(x, y, 5, 0.4)
    assert ((x @ more + least)[:, 4] < (x @ weight + bias).min() - 500).all()  # a genre without songs


def test_a_genre_without_songs_is_never_predicted(examples):
    more = replace(examples, genres=("blues", *examples.genres), y=examples.y + 1)
    classifier, _ = SongRecipe("tiny", copies=0, k=5).train(more)
    proba = classifier.predict_proba_examples(more.x)
    assert np.isfinite(proba).all() and (proba[:, 0] < 1e-6).all() and (proba.argmax(1) == more.y).mean() > 0.9


def test_words_are_directions_and_copies_differ(examples):
    pictures = np.stack([prepare_picture(x[0]) for x in examples.x])
    words = learn_words(pictures, 4, 20, k=16, patches=800)
    np.testing.assert_allclose(np.linalg.norm(words.words, axis=0), 1, rtol=1e-4)
    assert words.transform(pictures[0]).shape == (32,)
    copies = [altered_copy(pictures, seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(copies[0], copies[1])
    assert copies[0].shape == (8, BANDS, 320) and (copies[0] != copies[2]).mean() > 0.5


def test_one_genre_and_single_songs_are_refused(examples):
    with pytest.raises(DataError, match="two different songs"):
        SongRecipe("tiny", copies=0, k=5).train(examples.take(np.array([0, 4])))
    with pytest.raises(DataError, match="two genres"):
        TINY.train(examples.take(np.flatnonzero(examples.y == 0)))


def test_far_from_the_training_songs_means_less_sure():
    rows = np.random.default_rng(0).normal(size=(400, 50)).astype(np.float32)
    rows[:, 7] = 3  # the same for all: says nothing
    mean, scale = typical_range(rows)
    assert np.mean([distance(row, mean, scale) < 1 for row in rows]) == pytest.approx(0.99, abs=0.003)
    away = mean + 2 * np.where(scale > 0, 1 / np.maximum(scale, 1e-9), 0)
    assert distance(away, mean, scale) == pytest.approx(2 * np.sqrt(49 / 50), rel=1e-4)
    assert caution(mean, mean, scale) == 1 and caution(0.39 * away + 0.61 * mean, mean, scale) == 1
    assert caution(away, mean, scale) == pytest.approx((2 * np.sqrt(49 / 50) / 0.8) ** 4, rel=1e-3)


# --- files


def test_round_trip_to_the_bit(trained, examples, songs, tmp_path):
    after = SongClassifier.load(trained.save(tmp_path / "m"))
    np.testing.assert_array_equal(after.predict_proba_examples(examples.x), trained.predict_proba_examples(examples.x))
    song = songs / "metal" / "metal0.wav"
    assert after.predict(song) == trained.predict(song)
    assert (after.genres, after.settings, after.representation) == (trained.genres, json.loads(json.dumps(trained.settings)), trained.representation)
    after.save(tmp_path / "again")
    assert (tmp_path / "m").read_bytes() == (tmp_path / "again").read_bytes()
    assert type(load_model(tmp_path / "m")) is SongClassifier


def test_temperature_and_threshold_travel_with_the_model(trained, examples, tmp_path):
    assert (trained.temperature, trained.threshold) == (1.0, None)
    calm = load_model(replace(trained, temperature=3.0, threshold=0.4).save(tmp_path / "m"))
    assert (calm.temperature, calm.threshold) == (3.0, 0.4)
    before, after = trained.predict_proba_examples(examples.x), calm.predict_proba_examples(examples.x)
    odds = np.log(before[:, 0] / before[:, 1])
    np.testing.assert_allclose(np.log(after[:, 0] / after[:, 1]), odds / 3, rtol=1e-6)
    np.testing.assert_allclose(after.sum(1), 1)


def test_numbers_of_a_file_lie_where_products_add_up_alike(trained, tmp_path):
    _, tensors = model_files.read_model(trained.save(tmp_path / "m"))
    assert {tensor.data_ptr() % 64 for tensor in tensors.values()} == {0}


def test_each_kind_of_file_finds_its_class(trained, songs, tmp_path):
    mlp, _ = train_classifier(MLP, load_examples(songs, MLP.representation), epochs=1)
    assert type(load_model(mlp.save(tmp_path / "n"))).__name__ == "GenreClassifier"
    with pytest.raises(ModelError, match="another kind"):
        SongClassifier.load(tmp_path / "n")


def forged(path, change):
    "The model with `change(header, tensors)` done to it."
    with safe_open(path, "pt") as file:
        header, tensors = json.loads(file.metadata()["genre_nbs"]), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    change(header, tensors)
    save_file(tensors, path, metadata={model_files.HEADER: json.dumps(header)})
    return path


FORGERIES = {
    "huge words": lambda h, t: h["words"][0].__setitem__(3, 10**9),
    "more words": lambda h, t: h["words"][0].__setitem__(3, 13),
    "many words": lambda h, t: h.__setitem__("words", h["words"] * 9),
    "no words": lambda h, t: h.__setitem__("words", 7),
    "words as text": lambda h, t: h["words"][0].__setitem__(0, "4"),
    "negative": lambda h, t: h["words"][0].__setitem__(1, -1),
    "mean missing": lambda h, t: t.pop("level.86.mean"),
    "scale bent": lambda h, t: t.__setitem__("level.86.scale", t["level.86.scale"][:-1].clone()),
    "level missing": lambda h, t: t.pop("level.86.bias"),
    "level bent": lambda h, t: t.__setitem__("level.86.weight", t["level.86.weight"][:-1].clone()),
    "not finite": lambda h, t: t["level.128.bias"].__setitem__(0, float("nan")),
    "whole numbers": lambda h, t: t.__setitem__("level.128.bias", t["level.128.bias"].long()),
    "something more": lambda h, t: t.__setitem__("more", torch.zeros(3)),
    "temperature": lambda h, t: h.__setitem__("temperature", 0),
    "temperature of the linear classifier": lambda h, t: h.__setitem__("linear_temperature", -4.0),
    "no temperature": lambda h, t: h.pop("temperature"),
    "threshold": lambda h, t: h.__setitem__("threshold", 1.5),
    "threshold as text": lambda h, t: h.__setitem__("threshold", "0.5"),
    "weight": lambda h, t: h.__setitem__("weight", "all"),
    "infinite": lambda h, t: h.__setitem__("weight", float("inf")),
    "networks": lambda h, t: h.__setitem__("networks", 3),
    "network missing": lambda h, t: h.__setitem__("networks", []),
    "a program": lambda h, t: h["networks"][0].__setitem__(0, ["eval", {}]),
    "network of one width": lambda h, t: h["networks"][0].__setitem__(-4, ["AvgPool2d", {"kernel_size": [8, 24]}]),  # fits on 387 columns, not on 351
    "bands above the picture": lambda h, t: (h["words"][0].__setitem__(1, 129), t.__setitem__("words.0.whiten", torch.zeros(4 * 129, h["words"][0][2]))),
    "genres": lambda h, t: h.__setitem__("genres", ["metal"]),
    "other genres": lambda h, t: h.__setitem__("genres", ["metal", "jazz", "pop"]),
    "kind of song": lambda h, t: h["representation"].__setitem__("kind", "mel"),
    "size": lambda h, t: h["representation"].__setitem__("size", [128, 388]),
    "settings": lambda h, t: h.__setitem__("settings", 3),
    "no kind": lambda h, t: h.pop("kind"),
    "version": lambda h, t: h.__setitem__("version", 1),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_files_are_refused_in_one_line(trained, name, tmp_path, genre_nbs_cli):
    path = forged(trained.save(tmp_path / "m"), FORGERIES[name])
    with pytest.raises(ModelError) as caught:
        SongClassifier.load(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    with pytest.raises(ModelError):
        load_model(path)


def test_a_file_cut_short_is_refused(trained, tmp_path):
    path = trained.save(tmp_path / "m")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cut short"):
        load_model(path)


# --- command line


def test_train_evaluate_predict(songs, genre_nbs_cli, tmp_path):
    model = tmp_path / "m.safetensors"
    words = ("train", songs, "--recipe", "best", "--out", model, "--epochs", 1, "--batch-size", 4, "--json")
    done = genre_nbs_cli(*words)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert set(result) >= {"accuracy", "f1_macro", "n", "genres", "confusion", "accuracy_interval"} and result["settings"]["epochs"] == 1
    assert model.stat().st_size < 3e6
    scores = json.loads(genre_nbs_cli("evaluate", songs, "--model", model, "--json").stdout)
    assert scores["n"] == 8 and scores["accuracy"] > 0.8
    low = tmp_path / "low.wav"
    save_audio(low, practice_song("metal", 9, seconds=6.0, seed=5, sr=8000)[0], 8000)
    said = json.loads(genre_nbs_cli("predict", low, songs / "metal" / "metal0.wav", "--model", model, "--json").stdout)["songs"]
    assert "holds nothing above" in said[0]["note"] and "note" not in said[1] and said[1]["genre"] == "metal"
    assert "holds nothing above" in genre_nbs_cli("predict", low, "--model", model).stdout


def test_all_songs_without_scores(songs, genre_nbs_cli, tmp_path):
    done = genre_nbs_cli("train", songs, "--recipe", "song-best", "--split", "all", "--out", tmp_path / "m", "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 0 and "accuracy" not in result and "no scores" in result["note"] and result["settings"]["n_train"] == 8
    text = genre_nbs_cli("train", songs, "--recipe", "mlp", "--split", "all", "--epochs", 1, "--out", tmp_path / "m").stdout
    assert "no scores" in text and "accuracy" not in text


@pytest.mark.parametrize("option", ["--epochs", "--batch-size", "--lr"])
def test_options_that_mean_nothing_are_refused(option, songs, genre_nbs_cli, tmp_path):
    done = genre_nbs_cli("train", songs, "--recipe", "song-best", "--out", tmp_path / "m", option, 2)
    assert done.returncode == 2 and option in done.stderr and len(done.stderr.strip().splitlines()) == 1 and not (tmp_path / "m").exists()


def test_network_models_load_without_heavy_packages(songs, tmp_path):
    mlp, _ = train_classifier(MLP, load_examples(songs, MLP.representation), epochs=1)
    path = mlp.save(tmp_path / "n")
    code = f"import sys; from genre_nbs.songs import load_model; load_model({str(path)!r}); print({{'sklearn', 'matplotlib', 'genre_nbs.song_features'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "set()", done.stdout + done.stderr


@pytest.mark.slow
def test_same_seed_same_bytes_in_two_processes(songs, genre_nbs_cli, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        words = ("train", songs, "--recipe", "best", "--out", tmp_path / name, "--epochs", 1, "--seed", seed, "--split", "all")
        assert genre_nbs_cli(*words, process=name != "c").returncode == 0
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_recipes_have_names_and_examples_may_be_arrays(examples):
    assert find_recipe("song-best") is song_features.SONG_BEST and find_recipe("best").networks == 2
    assert isinstance(examples, Examples) and examples.x.shape == (8, 1, BANDS, COLUMNS)


# --- the model that comes with the package


@pytest.fixture(scope="module")
def tool():
    "tools/train_model.py as a module."
    spec = importlib.util.spec_from_file_location("train_model", ROOT / "tools/train_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_threshold_keeps_its_promise(tool):
    proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.75, 0.25], [0.7, 0.3], [0.6, 0.4], [0.55, 0.45]])
    y = np.array([0, 0, 0, 1, 0, 1])  # errors by falling confidence: none, none, none, 1 of 4, 1 of 5, 2 of 6
    assert [tool.threshold_for(proba, y, errors) for errors in (0.1, 0.2, 0.34)] == [0.75, 0.6, 0.55]
    assert tool.threshold_for(proba, 1 - y, 0.1) == 1.0  # nothing can be promised


def test_calibration_is_measured_on_folds_that_took_no_part(tool):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 3000)
    logits = rng.normal(size=(3000, 4)) + 1.5 * np.eye(4)[y]
    proba = np.exp(3 * logits)
    proba /= proba.sum(1, keepdims=True)  # twice as confident as is right (1.5 would be)
    temperature, threshold, record = tool.calibration(proba, y, np.arange(3000) % 5, errors=0.1)
    assert temperature == pytest.approx(2, rel=0.1)
    assert record["calibration_error_after"] < 0.03 < 0.1 < record["calibration_error_before"]
    assert record["errors_among_answered"] == pytest.approx(0.1, abs=0.02) and 0.2 < record["answered"] < 0.9


def test_the_model_of_the_package(tool):
    path = ROOT / "genre_nbs/models/gtzan.safetensors"
    model, settings = load_model(path), load_model(path).settings
    assert path.stat().st_size < 3e6 and len(model.genres) == 10 and settings["n_train"] == 639 and len(settings["training_tracks"]) > 630
    recipe, predictions = settings["recipe"], ROOT / "nbs/results/song_predictions.csv"
    temperature, threshold, record = tool.calibration(*tool.fold_predictions(predictions, recipe))
    assert (model.temperature, model.threshold) == pytest.approx((temperature, threshold)) and settings["calibration"] == pytest.approx(record)
    proba = model.predict_proba_examples(np.zeros((1, 1, BANDS, COLUMNS), np.uint8))
    np.testing.assert_allclose(proba, 0.1)


def test_the_model_of_the_package_is_not_sure_of_what_is_no_music():
    model, rng = load_model(ROOT / "genre_nbs/models/gtzan.safetensors"), np.random.default_rng(0)
    t = np.arange(30 * 22050) / 22050
    for y in (rng.standard_normal(len(t)), np.sin(2 * np.pi * 440 * t), (t % 0.5 < 0.002) * rng.standard_normal(len(t))):
        assert model.predict_proba_examples(model.representation.of_waveform(np.float32(y / 5), 22050)).max() < model.threshold


def test_other_sounds_are_halved_by_language_and_mostly_abstained_from():
    table = pd.read_csv(ROOT / "nbs/results/other_sounds.csv")
    read_aloud = table[table.kind.isin(["spoken words", "spoken letters", "telephone messages"])]
    halves = {half: set(part.sound.str.split("_").str[0]) for half, part in read_aloud.groupby("half")}
    assert halves["choose"] and halves["test"] and not halves["choose"] & halves["test"]
    abstained = 1 - table[table.half == "test"].groupby("kind").sure.mean()
    assert (abstained.drop("game music") > 0.7).all() and len(table) > 150


def test_the_model_of_the_package_knows_what_it_learned(real_data):
    model, paths = load_model(ROOT / "genre_nbs/models/gtzan.safetensors"), sorted((real_data / "gtzan_mel").glob("*/*0.png"))[::4]
    right = [model.predict(path) == path.parent.name for path in paths]
    assert len(right) > 10 and np.mean(right) > 0.9

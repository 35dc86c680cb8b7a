"How a collection is divided for training, and that it is said: subsets of its own, gaps, and songs that a model has learned."

import json
import shutil

import numpy as np
import pytest

from genre_nbs.app import pipeline
from genre_nbs.app.console import shown_settings
from genre_nbs.app.pipeline import learned_tracks, read_subsets, train_on
from genre_nbs.app.recipes import find_recipe
from genre_nbs.classifier import GenreClassifier
from genre_nbs.collections import load_collection
from genre_nbs.datasets import DataError, Representation
from genre_nbs.io.decode import save_audio

SUMMARY = Representation("summary")
rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    "Three genres of six songs."
    folder = tmp_path_factory.mktemp("songs")
    for genre, scale in (("blues", 0.1), ("jazz", 0.2), ("rock", 0.3)):
        for i in range(6):
            save_audio(folder / genre / f"{i}.wav", (scale * rng.standard_normal(2 * 22050)).clip(-1, 1).astype(np.float32), 22050)
    return folder


def manifest(songs, path, **columns):
    "A manifest of the songs; each column takes the number of a song in its genre."
    rows = [",".join(["path", "genre", *columns])]
    for genre in ("blues", "jazz", "rock"):
        rows += [",".join([str(songs / genre / f"{i}.wav"), genre, *(f(genre, i) for f in columns.values())]) for i in range(6)]
    path.write_text("\n".join(rows))
    return path


def tracks(examples):
    return {int(name.rsplit("/", 1)[1]) for name in examples.track}


@pytest.mark.parametrize(
    "train, valid, test",
    [("train", "val", "test"), ("training", "validation", "testing"), ("Train", "Valid", "Test"), ("TRAIN", "dev", "TEST"), ("train", "val_set", "eval")],
)
def test_every_spelling_of_a_split_is_kept(songs, tmp_path, train, valid, test):
    data = manifest(songs, tmp_path / "m.csv", split=lambda genre, i: (train, train, train, valid, valid, test)[i])
    learn, held_out, how = read_subsets(data, SUMMARY)
    assert how.how == "own" and tracks(learn) == {0, 1, 2} and tracks(held_out) == {3, 4}
    assert how.notes == ["3 tracks are neither in the training nor in the validation set of the data's own split"]


@pytest.mark.parametrize("split", [None, "own", "track", "random"])
@pytest.mark.parametrize("train, test", [("train", "test"), ("Training", "Test"), ("", "test")])
def test_with_train_and_test_only_the_test_set_stays_shut(songs, tmp_path, split, train, test):
    data = manifest(songs, tmp_path / "m.csv", split=lambda genre, i: test if i > 3 else train)
    if split == "own" and not train:
        with pytest.raises(ValueError, match="names no training songs"):
            read_subsets(data, SUMMARY, split=split)
        return
    learn, held_out, how = read_subsets(data, SUMMARY, split=split)
    assert tracks(learn) | tracks(held_out) == {0, 1, 2, 3} and len(np.unique(held_out.y)) == 3
    assert how.how == ("track" if split in (None, "own") else split) and how.notes


def test_a_test_set_is_not_learned_beside_a_validation_set(songs, tmp_path):
    data = manifest(songs, tmp_path / "m.csv", split=lambda genre, i: "test" if i > 3 else "train")
    learn, held_out, how = read_subsets(data, SUMMARY, valid=songs)
    assert tracks(learn) == {0, 1, 2, 3} and len(held_out) == 36 and "validation set of its own" in how.how
    everything = manifest(songs, tmp_path / "t.csv", split=lambda genre, i: "test")
    with pytest.raises(DataError, match="belong to its test set"):
        read_subsets(everything, SUMMARY)


def test_words_that_are_no_subsets_are_said(songs, tmp_path):
    data = manifest(songs, tmp_path / "m.csv", split=lambda genre, i: f"fold{i % 3}")
    *_, how = read_subsets(data, SUMMARY)
    assert how.how == "track" and "the column split names no subset (fold0, fold1, fold2)" in how.notes[0]


@pytest.mark.parametrize("gap", ["", "None", "NA", "n/a", "nan", "  "])
def test_a_missing_artist_is_an_artist_of_its_own(songs, tmp_path, gap):
    data = manifest(songs, tmp_path / "m.csv", artist=lambda genre, i: gap if (genre, i) == ("jazz", 2) else f"{genre} band {i // 2}")
    learn, held_out, how = read_subsets(data, SUMMARY)
    assert how.how == "artist" and not set(learn.artist) & set(held_out.artist)
    assert how.notes == ["1 of 18 tracks name no artist: each counts as an artist of its own"]
    assert how.train["artists"] + how.valid["artists"] == 10


def test_a_genre_of_one_artist_is_said(songs, tmp_path):
    data = manifest(songs, tmp_path / "m.csv", artist=lambda genre, i: "one" if genre == "jazz" else f"{genre}{i}")
    *_, how = read_subsets(data, SUMMARY)
    assert how.how == "track" and "split by track, since by artist: genre jazz has a single artist" in how.notes[0]


def test_sizes_and_the_way_are_in_words_and_json(songs, tmp_path):
    data = manifest(songs, tmp_path / "m.csv", artist=lambda genre, i: f"{genre}{i // 2}")
    *_, how = read_subsets(data, SUMMARY)
    assert how.train == {"artists": 6, "tracks": 12, "genres": 3, "examples": 24}
    assert how.valid == {"artists": 3, "tracks": 6, "genres": 3, "examples": 12}
    assert str(how) == (
        "split: artist; training set 6 artists, 12 tracks, 3 genres, 24 examples; validation set 3 artists, 6 tracks, 3 genres, 12 examples"
    )
    assert json.loads(json.dumps(how.to_dict())) == {"how": "artist", "train": how.train, "valid": how.valid, "notes": []}
    assert "unknown artists" in str(read_subsets(songs, SUMMARY)[2])


def test_a_genre_that_no_validation_track_has_is_said(songs, tmp_path):
    data = manifest(songs, tmp_path / "m.csv", split=lambda genre, i: "valid" if i > 3 and genre != "rock" else "train")
    *_, how = read_subsets(data, SUMMARY)
    assert how.notes == ["the validation set has no track of rock"]


def test_more_tracks_than_are_compared_are_not_marked(songs, tmp_path, monkeypatch):
    shutil.copytree(songs, tmp_path / "songs")
    shutil.copy(songs / "jazz" / "0.wav", tmp_path / "songs" / "jazz" / "copy.wav")  # the same recording twice
    assert read_subsets(tmp_path / "songs", SUMMARY, duplicates=True)[2].duplicates.tracks.tolist() == [["jazz/0", "jazz/copy"]]
    monkeypatch.setattr(pipeline, "MOST_COMPARED", 18)
    assert read_subsets(tmp_path / "songs", SUMMARY, duplicates=True)[2].duplicates.empty


@pytest.mark.parametrize("split", [None, "track", "all", "random"])
def test_one_genre_is_refused_before_it_is_split(songs, tmp_path, split):
    (tmp_path / "songs").mkdir()
    shutil.copytree(songs / "jazz", tmp_path / "songs" / "jazz")
    with pytest.raises(DataError, match="at least two genres are needed to train, found only jazz"):
        read_subsets(tmp_path / "songs", SUMMARY, split=split)


def test_a_model_knows_which_tracks_it_learned(songs, tmp_path):
    done = train_on(songs, find_recipe("mlp"), epochs=1)
    model = GenreClassifier.load(done.classifier.save(tmp_path / "m.safetensors"))
    everything = load_collection(songs, model.representation, model.genres)
    assert set(learned_tracks(model, everything)) == set(done.train.track)
    assert learned_tracks(model, done.valid) == []
    assert "training_tracks" not in shown_settings(model) and len(model.settings["training_tracks"]) == 12
    (tmp_path / "other" / "jazz").mkdir(parents=True)
    for i, track in enumerate(("jazz/0", "jazz/1", "jazz/2", "jazz/3", "jazz/4", "jazz/5")):  # under other names
        (tmp_path / "other" / "jazz" / f"renamed {i}.wav").write_bytes((songs / f"{track}.wav").read_bytes())
    renamed = learned_tracks(model, load_collection(tmp_path / "other", model.representation, model.genres))
    assert len(renamed) == sum(track.startswith("jazz") for track in set(done.train.track))
    del model.settings["training_tracks"]
    assert learned_tracks(model, everything) is None


def test_words_beside_the_three_subsets_are_counted(songs, tmp_path):
    data = manifest(songs, tmp_path / "m.csv", split=lambda genre, i: ("train", "train", "train", "extra", "", "test")[i])
    *_, how = read_subsets(data, SUMMARY)
    assert how.notes[1] == "9 tracks (nothing: 3, extra: 3, test: 3) are not in its training set, so they are not used"
    data = manifest(songs, tmp_path / "m.csv", split=lambda genre, i: ("train", "train", "valid", "valid", "extra", "test")[i])
    *_, how = read_subsets(data, SUMMARY)
    assert how.notes == ["6 tracks (extra: 3, test: 3) are neither in the training nor in the validation set of the data's own split"]
    data = manifest(songs, tmp_path / "m.csv", split=lambda genre, i: "valid" if i < 4 else "test")
    *_, how = read_subsets(data, SUMMARY)
    assert "the data's own split names no training set, only 18 tracks (test: 6, valid: 12)" in how.notes[0]


@pytest.mark.parametrize("split, shared", [("own", "6 artists"), ("track", "artists"), ("random", "tracks")])
def test_what_both_subsets_share_is_said(songs, tmp_path, split, shared):
    columns = {"split": lambda genre, i: "train" if i % 2 else "valid", "artist": lambda genre, i: f"{genre}{i // 3}"}
    *_, how = read_subsets(manifest(songs, tmp_path / "m.csv", **columns), SUMMARY, split=split)
    assert any(note.startswith("in both subsets: ") and shared in note for note in how.notes)
    unknown = {"split": columns["split"], "artist": lambda genre, i: "" if genre == "rock" else f"{genre}{i}"}
    *_, how = read_subsets(manifest(songs, tmp_path / "m.csv", **unknown), SUMMARY)
    assert not [note for note in how.notes if "in both" in note]


def test_a_validation_set_that_was_learned_is_said(songs, tmp_path):
    (tmp_path / "valid").mkdir()
    for genre in ("blues", "jazz", "rock"):
        (tmp_path / "valid" / genre).mkdir()
        shutil.copy(songs / genre / "3.wav", tmp_path / "valid" / genre / "another name.wav")
    (tmp_path / "valid" / "jazz" / "new.wav").write_bytes(b"no song")
    learn, held_out, how = read_subsets(songs, SUMMARY, valid=tmp_path / "valid")
    assert how.notes == ["in both subsets, by their sound: 3 tracks, such as blues/another name; the scores are too good"]
    assert read_subsets(songs, SUMMARY)[2].notes == []


def test_what_lists_leave_out_is_said(songs, tmp_path):
    data = tmp_path / "songs"
    for genre in ("blues", "jazz"):
        (data / genre).mkdir(parents=True)
        for i in range(4):
            shutil.copy(songs / genre / f"{i}.wav", data / genre / f"{genre}{i}.wav")
    (tmp_path / "train.txt").write_text("blues0\njazz0\nnowhere\n")
    (tmp_path / "val.txt").write_text("blues/blues1.wav\njazz1\n")
    *_, how = read_subsets(data, SUMMARY, split=tmp_path)
    assert how.notes == ["in neither list, so not used: 4 tracks", "in the lists, but not in this data: 1 track, such as nowhere"]


def test_too_many_tracks_for_duplicates_are_said(songs, monkeypatch):
    monkeypatch.setattr(pipeline, "MOST_COMPARED", 17)
    assert read_subsets(songs, SUMMARY, duplicates=True)[2].notes == ["more than 17 tracks: duplicates were not looked for"]
    assert read_subsets(songs, SUMMARY, split="random", duplicates=True)[2].notes[0].startswith("in both subsets: ")

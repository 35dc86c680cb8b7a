"From a collection on disk to a trained and evaluated classifier: what the command line and the demo do."

from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from genre_nbs.classifier import GenreClassifier, train_classifier
from genre_nbs.collections import adapt_representation, load_collection, read_artists
from genre_nbs.datasets import DataError, Examples
from genre_nbs.duplicates import duplicate_table, with_duplicates
from genre_nbs.evaluation import evaluate_by, Evaluation
from genre_nbs.io.checkpoints import CheckpointError
from genre_nbs.io.tables import check_two_genres, subset_name
from genre_nbs.splitting import list_key, read_list, split_examples, SplitError, SPLITS
from genre_nbs.training import History, make_optimizer


MOST_COMPARED = 5000  # tracks; beyond, looking for duplicates would take minutes, and has to be asked for by with_duplicates
MOST_REMEMBERED = 5000  # tracks whose checksums go into a model file, 11 bytes each


@dataclass
class Split:
    "How songs were divided, so that every output can say it."

    how: str = ""  # 'artist', 'track', 'own', ..., 'list files', or 'a validation set of its own'; no path, since it goes into model files
    train: dict = field(default_factory=dict)  # artists (None where unknown), tracks, genres and examples of the training set
    valid: dict = field(default_factory=dict)  # the same of the validation set
    notes: list = field(default_factory=list)  # what was decided for the user, one sentence each
    duplicates: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["group", "tracks"]))  # recordings that are there more than once

    def to_dict(self):
        "As JSON-able values."
        return {"how": self.how, "train": self.train, "valid": self.valid, "notes": self.notes}

    def __str__(self):
        return f"split: {self.how}; training set {in_words(self.train)}; {'validation set ' + in_words(self.valid) if self.valid else 'no validation set'}"


@dataclass
class Trained:
    "What came of a training: the classifier, and everything needed to report on it."

    classifier: GenreClassifier
    history: History
    train: Examples
    valid: Examples | None  # None where all songs were learned from
    evaluations: dict  # 'example' and 'track' -> Evaluation on the validation set
    duplicates: pd.DataFrame  # recordings that the collection holds more than once; they were kept in one subset
    split: Split = field(default_factory=Split)


def sizes(examples) -> dict:
    "How many artists, tracks, genres and examples there are; artists is None where nobody knows them, tracks where rows have no song."
    return {
        "artists": None if examples.artist is None else len(np.unique(examples.artist)),
        "tracks": len(np.unique(examples.track)) if examples.songs_known else None,
        "genres": len(np.unique(examples.y)),
        "examples": len(examples),
    }


def in_words(counts) -> str:
    "Sizes in a few words."
    return ", ".join(f"{'unknown' if n is None else n} {name if n != 1 else name[:-1]}" for name, n in counts.items())


def train_on(data, recipe, valid=None, split=None, valid_size=0.3, seed=0, jobs=1, progress=False, artists=None, duplicates=False, checkpoint=None, **changes):
    """Read `data`, train `recipe` on it and evaluate the result on the validation set.

    `valid` is a collection of its own; without it a part of `data` is kept apart by `split`, which is by artist where
    the artists are known and by track otherwise. `artists` is a file that names them. With `duplicates`, copies of a
    recording are looked for, and kept in one subset of a split by track, artist or hash. The split `all` learns from all songs, for all
    epochs: there is no validation set then, and there are no evaluations. How the songs were split is in
    `.split`, and checksums of the training tracks are in the settings of the classifier, for `learned_tracks`.
    `checkpoint` is a file that a killed run goes on from. Raises `DataError`, `SplitError` or `LeakError` for data that does not serve.
    """
    recipe = changed_recipe(recipe, **changes)
    recipe = replace(recipe, representation=adapt_representation(recipe.representation, data))
    train, valid, how = read_subsets(data, recipe.representation, valid, split, valid_size, seed, jobs, progress, artists, duplicates)
    anew = []  # a note that is no part of the model: its file is the same
    classifier, history = train_resumed(recipe, train, valid, seed, progress, checkpoint, anew)
    if history.diverged_at and not history.best_epoch:
        if checkpoint is not None:
            Path(checkpoint).unlink(missing_ok=True)
        raise ValueError(f"the training diverged in its first epoch; try a learning rate below {recipe.lr or 'the default'}")
    marks = track_checksums(train)
    classifier.settings["split"] = how.to_dict()
    how.notes = how.notes + anew
    classifier.settings["training_tracks"] = sorted(set(marks.values())) if len(marks) <= MOST_REMEMBERED else None
    return Trained(classifier, history, train, valid, {} if valid is None else evaluate_classifier(classifier, valid), how.duplicates, how)


def changed_recipe(recipe, **changes):
    "A recipe with some of its fields changed. Raises `ValueError` for a field that it does not have, and for an optimizer that cannot be made."
    for name in changes:
        if not hasattr(recipe, name):
            raise ValueError(f"recipe {recipe.name} trains without {name.replace('_', ' ')}: leave out --{name.replace('_', '-')}")
    recipe = replace(recipe, **changes)
    if hasattr(recipe, "optimizer"):
        make_optimizer(nn.Linear(1, 1), recipe.optimizer, recipe.lr, recipe.optimizer_options)  # before songs are read
    return recipe


def train_resumed(recipe, train, valid, seed, progress, checkpoint, notes):
    "Train; a run that was killed goes on from its checkpoint. One of another run, or a damaged one, is thrown away, and `notes` say so."
    if hasattr(recipe, "train"):  # a recipe of several parts trains itself, and keeps no checkpoint
        return recipe.train(train, valid, seed=seed, progress=progress)
    settings = {"seed": seed, "progress": progress, "checkpoint": checkpoint}
    try:
        return train_classifier(recipe, train, valid, **settings)
    except CheckpointError as error:
        notes.append(f"the training began anew, since {error.reason}")
        Path(checkpoint).unlink()
        return train_classifier(recipe, train, valid, **settings)


def check_subsets(valid=None, split=None, artists=None, test=None):
    "Raises `DataError` or `SplitError`, before any data are read, where the options that name the subsets cannot be right."
    for path in (valid, artists, test):
        if isinstance(path, (str, Path)) and not Path(path).exists():
            raise DataError(f"{path}: no such file or folder")
    if artists is not None:
        read_artists(artists)
    if split in (None, "all", *SPLITS):
        return
    if not Path(split).is_dir():
        raise SplitError(f"unknown way to split {split!r}: use {', '.join(SPLITS)}, all, or a folder of list files")
    for name in ("train", "val"):
        if len(files := list(Path(split).glob(f"{name}*.txt"))) != 1:
            raise SplitError(f"{split}: expected one file {name}*.txt, found {len(files)}")


def read_subsets(data, representation, valid=None, split=None, valid_size=0.3, seed=0, jobs=1, progress=False, artists=None, duplicates=False):
    """Training set, validation set, and a `Split` that says how they came about, as in `train_on`.

    Songs that the data themselves name as a test set are never learned from, and never validate.
    Raises `DataError`, `SplitError` or `LeakError` for data that does not serve.
    """
    check_subsets(valid, split, artists)
    if valid is not None and isinstance(data, (str, Path)) and Path(data).resolve() == Path(valid).resolve():
        raise DataError(f"{valid}: is the training set, so it cannot validate the model; give other data, or a split")
    grouped = valid is None and split in (None, "track", "artist", "hash")
    mark = partial(with_duplicates, jobs=jobs, progress=progress, most=MOST_COMPARED) if duplicates and grouped else None
    examples = check_two_genres(load_collection(data, representation, None, jobs, progress, artists, mark))
    held_out = None if valid is None else load_collection(valid, representation, examples.genres, jobs, progress)
    how = Split(notes=list(examples.notes), duplicates=duplicate_table(examples))
    if valid is not None or split == "all":
        train, how.how = without_test(examples, how.notes), "all" if valid is None else "a validation set of its own"
    else:
        train, held_out, how.how = divide(examples, split, valid_size, seed, how.notes)
    subsets = {"training": train} | ({} if held_out is None else {"validation": held_out})
    how.train, how.valid = sizes(train), {} if held_out is None else sizes(held_out)
    if grouped and duplicates and len(np.unique(examples.track)) > MOST_COMPARED:
        how.notes.append(f"more than {MOST_COMPARED} tracks: duplicates were not looked for")
    for name, subset in subsets.items():
        if absent := [genre for label, genre in enumerate(examples.genres) if label not in subset.y]:
            how.notes.append(f"the {name} set has no track of {', '.join(absent)}")
    if held_out is not None:
        how.notes += [*(held_out.notes if valid is not None else []), *leak_notes(train, held_out, valid is None)]
    return check_two_genres(train), held_out, how


def leak_notes(train, held_out, one_collection) -> list:
    "What training and validation set share, a sentence each. In two collections one name may stand for two songs, so there it is the sound that is compared."
    notes, kinds = [], {"artist": (train.artist, held_out.artist)}
    if one_collection:
        kinds |= {"track": (train.track, held_out.track), "recording": (train.group, held_out.group)}
    for what, names in kinds.items():
        shared = [] if any(one is None for one in names) else np.intersect1d(*names)
        shared = [name for name in shared if not name.startswith("unknown (")]
        if shared:
            notes.append(f"in both subsets: {in_words({f'{what}s': len(shared)})}, such as {shared[0]}; the scores are too good for songs of other {what}s")
    marks = set(track_checksums(train).values()) if train.songs_known and held_out.songs_known else set()
    if alike := [track for track, mark in track_checksums(held_out).items() if mark in marks]:
        notes.append(f"in both subsets, by their sound: {in_words({'tracks': len(alike)})}, such as {alike[0]}; the scores are too good")
    return notes


def list_notes(folder, tracks) -> list:
    "What list files and the tracks of a collection do not share, a sentence each."
    known = {list_key(track) for track in np.unique(tracks)}
    listed = {name for pattern in ("train*.txt", "val*.txt") for path in Path(folder).glob(pattern) for name in read_list(path)}
    rest, absent = len(known - listed), sorted(listed - known)
    notes = [f"in neither list, so not used: {in_words({'tracks': rest})}"] if rest else []
    return notes + ([f"in the lists, but not in this data: {in_words({'tracks': len(absent)})}, such as {absent[0]}"] if absent else [])


def divide(examples, split, valid_size, seed, notes):
    "Training examples, validation examples, and the way they were split; what was decided on the way is added to `notes`."
    examples, way = way_to_split(examples, split, notes)
    if way not in (None, *SPLITS):
        notes += list_notes(way, examples.track)
    if way is not None:
        return *split_examples(examples, way, valid_size, seed), way if way in SPLITS else "list files"
    if examples.artist is not None:
        try:
            return *split_examples(examples, "artist", valid_size, seed), "artist"
        except SplitError as error:
            notes.append(f"split by track, since by artist: {error}")
    return *split_examples(examples, "track", valid_size, seed), "track"


def way_to_split(examples, split, notes):
    "The examples to divide, and how: as asked, by the data's own split where it names both subsets, or None: by artist where that can be, else by track."
    subsets = named_subsets(examples)
    if split in (None, "own") and {"train", "valid"} <= set(subsets):
        if rest := tracks_of(examples, subsets, ~np.isin(subsets, ["train", "valid"])):
            notes.append(f"{rest} are neither in the training nor in the validation set of the data's own split")
        return examples, "own"
    if split == "own" and "train" not in subsets:
        return examples, "own"  # `split_examples` says what is missing
    if split is None and examples.split is not None and not len(subsets):
        notes.append(f"the column split names no subset ({', '.join(np.unique(examples.split)[:5])}), so it is not used")
    if split in (None, "own") and "train" in subsets:
        notes.append("the data's own split names no validation set, so a part of its training set is held out")
        if rest := tracks_of(examples, subsets, subsets != "train"):
            notes.append(f"{rest} are not in its training set, so they are not used")
        return examples.take(np.flatnonzero(subsets == "train")), None
    if split is None and len(subsets):
        notes.append(f"the data's own split names no training set, only {tracks_of(examples, subsets, subsets != 'train')}: a test set is kept apart, the rest is divided")
    return without_test(examples, notes), split


def tracks_of(examples, subsets, rows) -> str:
    "How many tracks some rows hold, by the word in their column split unless all say test; '' for no row."
    words = {word or "nothing": len(np.unique(examples.track[rows & (subsets == word)])) for word in np.unique(subsets[rows])}
    said = "" if set(words) == {"test"} else f" ({', '.join(f'{word}: {n}' for word, n in words.items())})"
    return f"{sum(words.values())} tracks{said}" if words else ""


def named_subsets(examples) -> np.ndarray:
    "(n,) train, valid, test or another word for each example; empty where the data bring no split that names one of the three."
    names = np.array([] if examples.split is None else [subset_name(name) for name in examples.split])
    return names if np.isin(names, ["train", "valid", "test"]).any() else np.array([])


def without_test(examples, notes):
    "The examples that the data do not name as their test set."
    subsets = named_subsets(examples)
    if "test" not in subsets:
        return examples
    notes.append(f"{len(np.unique(examples.track[subsets == 'test']))} tracks are the data's own test set: they are not learned from")
    if (subsets == "test").all():
        raise DataError("all songs of this data belong to its test set, by its column split; there is nothing to learn from")
    return examples.take(np.flatnonzero(subsets != "test"))


def track_checksums(examples) -> dict:
    "Track -> 8 hexadecimal digits of the SHA-256 of its examples: the same song read the same way has the same, whatever it is called."
    order = np.argsort(examples.track, kind="stable")
    names, starts = np.unique(examples.track[order], return_index=True)
    parts = np.split(order, starts[1:])
    return {str(name): sha256(np.ascontiguousarray(examples.x[rows]).tobytes()).hexdigest()[:8] for name, rows in zip(names, parts, strict=True)}


def learned_tracks(classifier, examples) -> list | None:
    "Tracks among the examples that the classifier was trained on; None where its file does not say what it learned."
    known = classifier.settings.get("training_tracks")
    if not isinstance(known, list):
        return None
    marks = set(map(str, known))
    return [track for track, mark in track_checksums(examples).items() if mark in marks]


def evaluate_classifier(classifier, examples, by=("example", "track")) -> dict[str, Evaluation]:
    "Scores of a classifier on examples, by example and by track."
    proba = classifier.predict_proba_examples(examples.x)
    return evaluate_by(proba, examples.y, examples.genres, examples.track, by)

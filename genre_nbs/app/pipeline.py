"From a collection on disk to a trained and evaluated classifier: what the command line and the demo do."

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
from torch import nn

from genre_nbs.classifier import GenreClassifier, train_classifier
from genre_nbs.collections import adapt_representation, load_collection
from genre_nbs.datasets import DataError, Examples
from genre_nbs.duplicates import duplicate_table, with_duplicates
from genre_nbs.evaluation import evaluate, Evaluation
from genre_nbs.splitting import split_examples
from genre_nbs.training import History, make_optimizer


MOST_COMPARED = 5000  # tracks; beyond, looking for duplicates would take minutes, and has to be asked for by with_duplicates


@dataclass
class Trained:
    "What came of a training: the classifier, and everything needed to report on it."

    classifier: GenreClassifier
    history: History
    train: Examples
    valid: Examples | None  # None where all songs were learned from
    evaluations: dict  # 'example' and 'track' -> Evaluation on the validation set
    duplicates: pd.DataFrame  # recordings that the collection holds more than once; they were kept in one subset


def check_two_genres(examples):
    "The examples, if they hold two genres at least. Raises `DataError` otherwise."
    present = {examples.genres[label] for label in set(examples.y.tolist())}
    if len(present) < 2:
        raise DataError(f"at least two genres are needed to train, found only {', '.join(present)}")
    return examples


def mark_duplicates(tracks, jobs=1, progress=False):
    "Tracks with their duplicates marked, unless there are too many to compare."
    return with_duplicates(tracks, jobs, progress) if len(tracks) <= MOST_COMPARED else tracks


def train_on(data, recipe, valid=None, split=None, valid_size=0.3, seed=0, jobs=1, progress=False, artists=None, duplicates=False, **changes):
    """Read `data`, train `recipe` on it and evaluate the result on the validation set.

    `valid` is a collection of its own; without it a part of `data` is kept apart by `split`, which is by artist where
    the artists are known and by track otherwise. `artists` is a file that names them. With `duplicates`, copies of a
    recording are looked for, and kept in one subset of a split by track, artist or hash. The split `all` learns from all songs, for
    all epochs: there is no validation set then, and there are no evaluations.
    Raises `DataError`, `SplitError` or `LeakError` for data that does not serve.
    """
    representation = adapt_representation(recipe.representation, data)
    recipe = changed_recipe(recipe, representation=representation, **changes)
    if split == "all":
        train, valid = check_two_genres(load_collection(data, representation, None, jobs, progress, artists)), None
        copies = duplicate_table(train)
    else:
        train, valid, copies = read_subsets(data, representation, valid, split, valid_size, seed, jobs, progress, artists, duplicates)
    own = getattr(recipe, "train", partial(train_classifier, recipe))  # a recipe of several parts trains itself
    classifier, history = own(train, valid, seed=seed, progress=progress)
    if history.diverged_at and not history.best_epoch:
        raise ValueError(f"the training diverged in its first epoch; try a learning rate below {recipe.lr or 'the default'}")
    return Trained(classifier, history, train, valid, {} if valid is None else evaluate_classifier(classifier, valid), copies)


def changed_recipe(recipe, **changes):
    "A recipe with some of its fields changed. Raises `ValueError` for a field that it does not have, and for an optimizer that cannot be made."
    for name in changes:
        if not hasattr(recipe, name):
            raise ValueError(f"recipe {recipe.name} trains without {name.replace('_', ' ')}: leave out --{name.replace('_', '-')}")
    recipe = replace(recipe, **changes)
    if hasattr(recipe, "optimizer"):
        make_optimizer(nn.Linear(1, 1), recipe.optimizer, recipe.lr, recipe.optimizer_options)  # before songs are read
    return recipe


def read_subsets(data, representation, valid=None, split=None, valid_size=0.3, seed=0, jobs=1, progress=False, artists=None, duplicates=False):
    """Training set, validation set, and a table of duplicates, as in `train_on`.

    Raises `DataError`, `SplitError` or `LeakError` for data that does not serve.
    """
    if valid is not None and isinstance(data, (str, Path)) and Path(data).resolve() == Path(valid).resolve():
        raise DataError(f"{valid}: is the training set, so it cannot validate the model; give other data, or a split")
    grouped = valid is None and split in (None, "track", "artist", "hash")
    mark = partial(mark_duplicates, jobs=jobs, progress=progress) if duplicates and grouped else None
    examples = check_two_genres(load_collection(data, representation, None, jobs, progress, artists, mark))
    copies = duplicate_table(examples)
    if valid is None:
        return *split_examples(examples, split or default_split(examples), valid_size, seed), copies
    return examples, load_collection(valid, representation, examples.genres, jobs, progress), copies


def default_split(examples):
    "The collection's own, where it brings one; by artist where the artists are known and every genre has two; else by track."
    if examples.split is not None and {"train", "valid"} <= set(examples.split):
        return "own"
    if examples.artist is None:
        return "track"
    artists = {genre: set(examples.artist[examples.y == label]) for label, genre in enumerate(examples.genres)}
    return "artist" if all(len(names) > 1 for names in artists.values()) else "track"


def evaluate_classifier(classifier, examples, by=("example", "track")) -> dict[str, Evaluation]:
    "Scores of a classifier on examples, by example and by track."
    proba = classifier.predict_proba_examples(examples.x)
    return {way: evaluate(proba, examples.y, examples.genres, examples.track, by=way) for way in by}

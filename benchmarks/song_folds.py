"""Cross-validation of the recipes for songs on GTZAN's pictures, with artists apart: accuracy by fold, as the songs are, as poorer recordings, and learned from fewer songs.

    python benchmarks/song_folds.py DATA --index GTZANindex.txt --work FOLDER [--recipe song-best] [--fold-seeds 0 1] [--folds 0 1 2 3 4]
    python benchmarks/song_folds.py DATA --index GTZANindex.txt --work FOLDER --recipe song-best --songs 50 100 200 350
    python benchmarks/song_folds.py DATA --index GTZANindex.txt --work FOLDER --folds --table nbs/results/song_folds.csv

DATA is a folder of genre folders with pictures. Recipes are `song-best`, `best` and those of one network for such pictures (`picture-best`), which keep their
last epoch. Each fold leaves its model and its predictions in FOLDER, and is not trained again where they are there. On one core `song-best` takes a minute a fold,
`best` and `picture-best` about five; a GPU is used where there is one. `--levels 128` trains the network of `best` without poorer copies. With `--songs`, a random
choice of so many songs of each fold's training set, in the proportion of its genres, is all that is learned from, words included.
The third line trains nothing and writes the tables of all folds that are done: accuracy by recipe, fold and change of the song; beside it the
learning curve, in song_curve.csv, and, in song_predictions.csv, the probabilities of each song by the first fold seed, by which `tools/train_model.py` calibrates.
Songs with the same number in its column `group` are by one artist.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from genre_nbs.app.recipes import RECIPES, find_recipe
from genre_nbs.classifier import GenreClassifier, Recipe, train_classifier
from genre_nbs.collections import load_collection
from genre_nbs.io.files import atomic_path
from genre_nbs.song_features import SongClassifier, networks_proba, prepare_picture, sounding_examples

DECIBEL = 255 / 80  # grey levels


def limited(x, bands):
    "Pictures, highest band on top, with all but the lowest bands black."
    return np.where(np.arange(x.shape[2])[:, None] >= x.shape[2] - bands, x, 0).astype(x.dtype)


def quieter(x, db):
    "Pictures of songs that sink into a floor which stays: `db` less of the range is left."
    return np.maximum(x.astype(int) - round(db * DECIBEL), 0).astype(x.dtype)


def delayed(x, columns):
    "Pictures with silence in front; what no longer fits is lost."
    return np.concatenate([np.zeros_like(x[..., :columns]), x[..., :-columns]], axis=-1)


CHANGES = {
    "none": lambda x: x,
    "16 kHz": lambda x: limited(x, 112),
    "low-pass 4.9 kHz": lambda x: limited(x, 97),
    "8 kHz": lambda x: limited(x, 86),
    "12 dB quieter": lambda x: quieter(x, 12),
    "2 s of silence in front": lambda x: delayed(x, 26),
}


def trained(recipe, train, seed, path):
    "The classifier of a fold, without a validation set. Where its part without networks is there, only networks are trained."
    if isinstance(recipe, Recipe):
        return train_classifier(recipe, train, seed=seed)[0]
    simple = path.with_name(path.name.replace(recipe.name, "song-best"))
    if hasattr(recipe, "add_networks") and simple.is_file():
        return recipe.add_networks(SongClassifier.load(simple), sounding_examples(train), seed)[0]
    return recipe.train(train, seed=seed)[0]


def fold_classifier(recipe, train, seed, path):
    "The classifier of a fold; read from its file where that is there."
    if path.is_file():
        return (GenreClassifier if isinstance(recipe, Recipe) else SongClassifier).load(path)
    start = time.process_time()
    classifier = trained(recipe, train, seed, path)
    classifier.settings["core_seconds"] = round(time.process_time() - start + classifier.settings.get("core_seconds", 0))
    classifier.save(path)
    return classifier


def parts_proba(classifier, picture):
    "Probabilities of a song by each part of the classifier, (1 + networks, genres): the linear one, then each network; (1, genres) for a lone network."
    if isinstance(classifier, GenreClassifier):
        return classifier.predict_proba_examples(picture[None])
    picture = prepare_picture(picture[0])
    return np.stack([replace(classifier, networks=[]).picture_proba(picture), *(networks_proba([network], picture) for network in classifier.networks)])


def run_fold(recipe, examples, sides, n, seed, stem):
    "Train and predict one fold, from n songs of its training set; its numbers go to `stem`.npz."
    train, valid = examples.take(some(examples, sides[0], n, seed)), examples.take(sides[1])
    classifier = fold_classifier(recipe, train, seed, stem.with_suffix(".safetensors"))
    seconds = classifier.settings["core_seconds"]
    changes = CHANGES if n is None else {"none": CHANGES["none"]}
    proba = {name: np.stack([parts_proba(classifier, picture) for picture in change(valid.x)]) for name, change in changes.items()}
    with atomic_path(stem.with_suffix(".npz")) as path, open(path, "wb") as file:
        np.savez(file, names=list(proba), proba=np.stack(list(proba.values())), y=valid.y, track=valid.track, genres=valid.genres, seconds=seconds)
    accuracy = {name: round(float((combined(p, recipe.name)[recipe.name].argmax(1) == valid.y).mean()), 3) for name, p in proba.items()}
    print(stem.name, f"{len(train)} + {len(valid)} songs, {seconds} core-seconds", accuracy, flush=True)


def combined(proba, recipe):
    "Probabilities (n, genres) by name, from those of the parts, (n, parts, genres), with the number of networks and the weight of the recipe."
    best, linear, networks = find_recipe("best"), proba[:, 0], proba[:, 1:]
    if not networks.shape[1]:
        return {recipe: linear}
    mean = networks[:, : best.networks].mean(1)
    name = recipe.removeprefix("best")  # "" or what a variant is called by
    return {"song-best": linear, f"CNN of best{name}": mean, f"best{name}": (1 - best.weight) * linear + best.weight * mean}


def saved_folds(work, total):
    "Each prediction file of a folder: (recipe, fold seed, fold, songs of a learning curve or None, songs learned from), and what it holds."
    for path in sorted(work.glob("*.npz")):
        recipe, fold_seed, fold, *songs = path.stem.split("_")
        with np.load(path) as saved:
            held = {name: saved[name] for name in saved.files}
        songs = int(songs[0]) if songs else None
        yield (recipe, int(fold_seed), int(fold), songs, songs or total - len(held["y"])), held


def accuracies(work, total):
    "Accuracy by recipe, fold, number of songs and change, of all folds in a folder."
    rows = []
    for (recipe, fold_seed, fold, songs, learned), held in saved_folds(work, total):
        for change, of_parts in zip(held["names"], held["proba"], strict=True):
            for name, p in combined(of_parts, recipe).items():
                seconds = int(held["seconds"]) if name == recipe else None
                rows.append((name, fold_seed, fold, songs, learned, change, len(p), int((p.argmax(1) == held["y"]).sum()), seconds))
    table = pd.DataFrame(rows, columns=["recipe", "fold_seed", "fold", "curve", "learned", "change", "songs", "right", "core_seconds"])
    own_first = table.sort_values("core_seconds", kind="stable")  # a part of an ensemble has no time of its own
    return own_first.drop_duplicates(["recipe", "fold_seed", "fold", "curve", "change"]).sort_index()


def predictions(work, total, group):
    "Probabilities by song as it is, each song once for each recipe, by its first fold seed; `group` is track -> number of the artist."
    parts = []
    for (recipe, fold_seed, fold, songs, _), held in saved_folds(work, total):
        genres, track = held["genres"], held["track"]
        known = {"fold_seed": fold_seed, "fold": fold, "track": track, "group": [group[name] for name in track], "genre": genres[held["y"]]}
        for name, p in combined(held["proba"][0], recipe).items() if songs is None and recipe in RECIPES else ():
            parts.append(pd.DataFrame(p, columns=genres).assign(recipe=name, **known))
    table = pd.concat(parts)[["recipe", "fold_seed", "fold", "track", "group", "genre", *genres]]
    return table.sort_values("fold_seed", kind="stable").drop_duplicates(["recipe", "track"])


def write_tables(path, work, examples):
    "Write the three tables."
    codes = np.unique(examples.artist, return_inverse=True)[1]
    table = accuracies(work, len(examples)).astype({"core_seconds": "Int64"})
    table[table.curve.isna()].drop(columns=["curve", "learned"]).to_csv(path, index=False)
    curve = table[(table.change == "none")].drop(columns=["change", "core_seconds"])
    curve.drop(columns="curve").to_csv(path.with_name("song_curve.csv"), index=False)
    songs = predictions(work, len(examples), dict(zip(examples.track, codes, strict=True)))
    songs.to_csv(path.with_name("song_predictions.csv"), index=False, float_format="%.5g")  # digits that count: the cross-entropy depends on the smallest


def some(examples, side, n, seed):
    "n of a side's examples, in the proportion of its genres; the whole side for None."
    return side if n is None else np.sort(train_test_split(side, train_size=n, stratify=examples.y[side], random_state=seed)[0])


def parsed():
    "The arguments."
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--index", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--recipe", default="song-best")
    parser.add_argument("--fold-seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--folds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--networks", type=int, help="of best")
    parser.add_argument("--levels", type=int, nargs="+", help="of best")
    parser.add_argument("--label", default="", help="ending of the recipe's name in the tables, for a variant")
    parser.add_argument("--songs", type=int, nargs="*", default=[None])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    given.changes = {name: value for name in ("epochs", "networks", "levels") if (value := getattr(given, name))}
    for name in given.changes:
        if not hasattr(find_recipe(given.recipe), name):
            parser.error(f"{given.recipe} has no {name}")
    return given


def main():
    "Run the folds that were asked for, or write the tables."
    given = parsed()
    given.work.mkdir(parents=True, exist_ok=True)
    recipe = replace(find_recipe(given.recipe), name=given.recipe + given.label, **given.changes)
    examples = load_collection(given.data, recipe.representation, artists=given.index)
    for fold_seed in given.fold_seeds:
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=fold_seed)
        for fold, sides in enumerate(splitter.split(np.zeros(len(examples)), examples.y, examples.artist)):
            for n in given.songs if fold in given.folds else ():
                stem = given.work / ("_".join([recipe.name, str(fold_seed), str(fold)] + [str(n)] * (n is not None)))
                if not stem.with_suffix(".npz").is_file():
                    run_fold(recipe, examples, sides, n, given.seed, stem)
    if given.table:
        write_tables(given.table, given.work, examples)


if __name__ == "__main__":
    main()

"""Cross-validation of `song-best` and `best` on GTZAN's pictures, with artists apart: accuracy by fold, as the songs are and as poorer recordings.

    python benchmarks/song_folds.py DATA --index GTZANindex.txt --work FOLDER [--recipe song-best] [--fold-seeds 0 1] [--folds 0 1 2 3 4]
    python benchmarks/song_folds.py DATA --index GTZANindex.txt --work FOLDER --folds --table nbs/results/song_folds.csv

DATA is a folder of genre folders with pictures. Each fold leaves its model and its predictions in FOLDER, and is not trained again where
they are there. `song-best` takes about a core-minute a fold, `best` eight. The second line trains nothing and writes the tables of all folds that are done:
accuracy by recipe, fold and change of the song; and beside it, in song_predictions.csv, the probabilities of each song by the first fold seed, by which
`tools/train_model.py` calibrates. Songs with the same number in its column `group` are by one artist.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from genre_nbs.app.recipes import find_recipe
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
    "The classifier of a fold. Where its part without networks is there, only networks are trained."
    simple = path.with_name(path.name.replace(recipe.name, "song-best"))
    if hasattr(recipe, "add_networks") and simple.is_file():
        return recipe.add_networks(SongClassifier.load(simple), sounding_examples(train), seed)[0]
    return recipe.train(train, seed=seed)[0]


def fold_classifier(recipe, train, seed, path):
    "The classifier of a fold; read from its file where that is there."
    if path.is_file():
        return SongClassifier.load(path)
    start = time.process_time()
    classifier = trained(recipe, train, seed, path)
    classifier.settings["core_seconds"] = round(time.process_time() - start + classifier.settings.get("core_seconds", 0))
    classifier.save(path)
    return classifier


def parts_proba(classifier, picture):
    "Probabilities of a song by each part of the classifier, (1 + networks, genres): the linear one, then each network."
    picture = prepare_picture(picture[0])
    return np.stack([replace(classifier, networks=[]).picture_proba(picture), *(networks_proba([network], picture) for network in classifier.networks)])


def run_fold(recipe, examples, sides, seed, stem):
    "Train and predict one fold; its numbers go to `stem`.npz."
    train, valid = (examples.take(side) for side in sides)
    classifier = fold_classifier(recipe, train, seed, stem.with_suffix(".safetensors"))
    seconds = classifier.settings["core_seconds"]
    proba = {name: np.stack([parts_proba(classifier, picture) for picture in change(valid.x)]) for name, change in CHANGES.items()}
    with atomic_path(stem.with_suffix(".npz")) as path, open(path, "wb") as file:
        np.savez(file, names=list(proba), proba=np.stack(list(proba.values())), y=valid.y, track=valid.track, genres=valid.genres, seconds=seconds)
    accuracy = {name: round(float((combined(p)[recipe.name].argmax(1) == valid.y).mean()), 3) for name, p in proba.items()}
    print(stem.name, f"{len(train)} + {len(valid)} songs, {seconds} core-seconds", accuracy, flush=True)


def combined(proba):
    "Probabilities (n, genres) by name, from those of the parts, (n, 1 + networks, genres), with the weights of the recipe."
    linear, networks = proba[:, 0], proba[:, 1:]
    if not networks.shape[1]:
        return {"song-best": linear}
    weight, mean = find_recipe("best").weight, networks.mean(1)
    return {"song-best": linear, "CNNs of best": mean, "best": (1 - weight) * linear + weight * mean}


def tables(work, group):
    "Accuracy by recipe, fold and change, and probabilities by song as it is, of all folds in a folder; `group` is track -> number of the artist."
    rows, songs = [], []
    for path in sorted(work.glob("*.npz")):
        _, fold_seed, fold = path.stem.rsplit("_", 2)
        with np.load(path) as saved:
            names, proba, y, track, genres, seconds = (saved[name] for name in ("names", "proba", "y", "track", "genres", "seconds"))
        for name, of_parts in zip(names, proba, strict=True):
            for recipe, p in combined(of_parts).items():
                rows.append((recipe, int(fold_seed), int(fold), name, len(y), int((p.argmax(1) == y).sum()), int(seconds) if recipe in path.stem else None))
                if name == "none" and recipe in ("song-best", "CNNs of best", "best"):
                    frame = pd.DataFrame(p, columns=genres)
                    songs.append(frame.assign(recipe=recipe, fold_seed=int(fold_seed), fold=int(fold), track=track, group=[group[name] for name in track], genre=genres[y]))
    table = pd.DataFrame(rows, columns=["recipe", "fold_seed", "fold", "change", "songs", "right", "core_seconds"])
    songs = pd.concat(songs)[["recipe", "fold_seed", "fold", "track", "group", "genre", *genres]].sort_values("fold_seed", kind="stable")
    songs = songs.drop_duplicates(["recipe", "track"])  # each song once, though there may be several fold seeds
    return table.drop_duplicates(["recipe", "fold_seed", "fold", "change"]), songs


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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    given.changes = {name: value for name in ("epochs", "networks") if (value := getattr(given, name))}
    for name in given.changes:
        if not hasattr(find_recipe(given.recipe), name):
            parser.error(f"{given.recipe} has no {name}")
    return given


def main():
    "Run the folds that were asked for, or write the tables."
    given = parsed()
    given.work.mkdir(parents=True, exist_ok=True)
    recipe = replace(find_recipe(given.recipe), **given.changes)
    examples = load_collection(given.data, recipe.representation, artists=given.index)
    for fold_seed in given.fold_seeds:
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=fold_seed)
        for fold, sides in enumerate(splitter.split(np.zeros(len(examples)), examples.y, examples.artist)):
            stem = given.work / f"{recipe.name}_{fold_seed}_{fold}"
            if fold in given.folds and not stem.with_suffix(".npz").is_file():
                run_fold(recipe, examples, sides, given.seed, stem)
    if given.table:
        codes = np.unique(examples.artist, return_inverse=True)[1]
        table, songs = tables(given.work, dict(zip(examples.track, codes, strict=True)))
        table.astype({"core_seconds": "Int64"}).to_csv(given.table, index=False)
        songs.to_csv(given.table.with_name("song_predictions.csv"), index=False, float_format="%.5g")  # digits that count: the cross-entropy depends on the smallest


if __name__ == "__main__":
    main()

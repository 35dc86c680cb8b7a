"""Cross-validation of `song-best` and `best` on GTZAN's pictures, with artists apart: accuracy by fold, with all bands and with fewer.

    python benchmarks/song_folds.py DATA --index GTZANindex.txt [--recipe song-best] [--fold-seeds 0 1] [--folds 0 1 2 3 4] [--epochs 120]

DATA is a folder of genre folders with pictures. One line of JSON a fold; `song-best` takes about 70 core-seconds each, `best` ten times that.
"""

import argparse
import json
import time
from dataclasses import replace

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from genre_nbs.app.recipes import find_recipe
from genre_nbs.collections import load_collection
from genre_nbs.song_features import LEVELS


def limited(x, bands):
    "Pictures, highest band on top, with all but the lowest bands black."
    x = x.copy()
    x[:, :, : x.shape[2] - bands] = 0
    return x


def run_fold(recipe, train, valid, seed):
    "Accuracy on the validation songs by number of bands, and core-seconds."
    start = time.process_time()
    classifier, _ = recipe.train(train, seed=seed)
    seconds = time.process_time() - start
    accuracy = {}
    for bands in (*LEVELS[:2], 97, LEVELS[2]):
        predicted = classifier.predict_proba_examples(limited(valid.x, bands)).argmax(1)
        accuracy[bands] = round(float((predicted == valid.y).mean()), 4)
    return {"n": len(valid), "accuracy": accuracy, "core_seconds": round(seconds)}


def main():
    "Run the folds that were asked for."
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--index", required=True)
    parser.add_argument("--recipe", default="song-best")
    parser.add_argument("--fold-seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    recipe = find_recipe(given.recipe)
    if given.epochs and not hasattr(recipe, "epochs"):
        parser.error(f"{given.recipe} has no epochs")
    if given.epochs:
        recipe = replace(recipe, epochs=given.epochs)
    examples = load_collection(given.data, recipe.representation, artists=given.index)
    for fold_seed in given.fold_seeds:
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=fold_seed)
        for fold, (train, valid) in enumerate(splitter.split(np.zeros(len(examples)), examples.y, examples.artist)):
            if fold in given.folds:
                row = {"recipe": recipe.name, "fold_seed": fold_seed, "fold": fold}
                print(json.dumps(row | run_fold(recipe, examples.take(train), examples.take(valid), given.seed)), flush=True)


if __name__ == "__main__":
    main()

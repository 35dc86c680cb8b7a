"""Makes the model that comes with the package, `genre_nbs/models/gtzan.safetensors`, from all songs of a collection.

    python tools/train_model.py DATA [--recipe best] [--seed 0] [--predictions nbs/results/song_predictions.csv] [--out FILE]

DATA is a folder of genre folders with pictures (128 mel bands). All its songs are learned from: the recipe's settings were chosen by
cross-validation (`benchmarks/song_folds.py`), whose predictions of songs by artists that the network did not know give the temperature
and the threshold of the probability below which the answer is "not sure". The same seed gives the same bytes with the same number of threads.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from genre_nbs.app.pipeline import train_on
from genre_nbs.app.recipes import find_recipe
from genre_nbs.evaluation import apply_temperature, expected_calibration_error, fit_temperature

ROOT = Path(__file__).resolve().parents[1]
ERRORS = 0.2  # promised: at most this fraction of the answers that are given


def threshold_for(proba, y, errors=ERRORS):
    "The smallest confidence from which on at most the fraction `errors` of the predictions is wrong."
    confidence, wrong = proba.max(1), proba.argmax(1) != y
    order = np.argsort(-confidence, kind="stable")
    rate = np.cumsum(wrong[order]) / np.arange(1, len(y) + 1)
    allowed = np.flatnonzero(rate <= errors)
    return float(confidence[order[allowed[-1]]]) if len(allowed) else 1.0


def calibrated(proba, y, errors=ERRORS):
    "Temperature and threshold for probabilities (n, genres) and labels."
    temperature = fit_temperature(proba, y)
    return temperature, threshold_for(apply_temperature(proba, temperature), y, errors)


def calibration(proba, y, fold, errors=ERRORS):
    "Temperature and threshold from all folds; how well they serve is measured on each fold with those of the other folds."
    after, sure = np.zeros_like(proba), np.zeros(len(y), bool)
    for held_out in np.unique(fold):
        inside = fold == held_out
        temperature, threshold = calibrated(proba[~inside], y[~inside], errors)
        after[inside] = apply_temperature(proba[inside], temperature)
        sure[inside] = after[inside].max(1) >= threshold
    temperature, threshold = calibrated(proba, y, errors)
    right = proba.argmax(1) == y
    record = {"songs": len(y), "accuracy": right.mean(), "calibration_error_before": expected_calibration_error(proba, y),
              "calibration_error_after": expected_calibration_error(after, y), "promised_errors": errors,
              "answered": sure.mean(), "errors_among_answered": 1 - right[sure].mean()}  # fmt: skip
    return temperature, threshold, {name: round(float(value), 4) for name, value in record.items()}


def fold_predictions(path, recipe):
    "Probabilities, labels and folds of a recipe's validation songs, from a table of `benchmarks/song_folds.py`."
    table = pd.read_csv(path)
    table = table[table.recipe == recipe]
    genres = sorted(table.genre.unique())
    proba = table[genres].to_numpy(np.float64)
    fold = table.fold_seed * 100 + table.fold
    return proba / proba.sum(1, keepdims=True), np.array([genres.index(genre) for genre in table.genre]), fold.to_numpy()


def main():
    "Train, calibrate, write."
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipe", default="best")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--predictions", type=Path, default=ROOT / "nbs/results/song_predictions.csv")
    parser.add_argument("--out", type=Path, default=ROOT / "genre_nbs/models/gtzan.safetensors")
    given = parser.parse_args()
    temperature, threshold, record = calibration(*fold_predictions(given.predictions, given.recipe))
    trained = train_on(given.data, find_recipe(given.recipe), split="all", seed=given.seed).classifier
    settings = trained.settings | {"calibration": record}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    replace(trained, temperature=temperature, threshold=threshold, settings=settings).save(given.out)
    from make_neighbours import make_neighbours  # this folder's other tool: the own-song page names the closest training songs

    make_neighbours(given.data, given.out)
    print(json.dumps({"temperature": temperature, "threshold": threshold, "bytes": given.out.stat().st_size} | record, indent=1))


if __name__ == "__main__":
    main()

"""From the recipe `mel` to the recipe `mel-best`, one step at a time: lesson 13 draws what this writes.

    GENRE_NBS_DATA=... python benchmarks/mel_steps.py [--seeds 0 1 2] [--epochs 15] [--every 3] [--out nbs/results]

Each step adds one change to all before it. To save time, every third window of the training set is used (of all its songs); the validation
set is whole. A run takes about 40 core-seconds and becomes a line of mel_steps.csv at once; a run that is there is not done again. The
windows that the first and the last step predict right and wrong are counted in mel_confusion.csv.
"""

import argparse
import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from genre_nbs.classifier import train_classifier
from genre_nbs.datasets import load_examples, read_tracks
from genre_nbs.evaluation import evaluate
from genre_nbs.mel_cnn import MEL, MEL_BEST, WINDOW, four_genres, mask_and_eq, mel_cnn
from genre_nbs.splitting import split_examples

ADAMW = {name: getattr(MEL_BEST, name) for name in ("optimizer", "lr", "optimizer_options", "batch_size", "schedule")}
CHANGES = [  # name, fields of the recipe, arguments of `mel_cnn`
    ("mel", {}, {}),
    ("+ AdamW, one-cycle", ADAMW, {}),
    ("+ standardised input", {"standardize": True}, {}),
    ("+ batch normalisation", {}, {"normalize": True}),
    ("+ average pooling, one layer", {}, {"average": True, "hidden": ()}),
    ("+ 3 x 3 kernels, more channels", {}, {"kernel_size": 3, "channels": (24, 48, 96, 128)}),
    ("+ dropout, label smoothing", {"label_smoothing": MEL_BEST.label_smoothing}, {"dropout": 0.3}),
    ("+ masks, equalisation", {"augment": mask_and_eq}, {}),
]


def steps(epochs):
    "The recipes: each has all changes so far."
    fields, network = {}, {}
    for name, new_fields, new_network in CHANGES:
        fields, network = fields | new_fields, network | new_network
        yield name, replace(MEL, network=partial(mel_cnn, **network), epochs=epochs, **fields)


def run_step(recipe, train, valid, seed):
    "A line of the table, and the confusion matrix by window."
    start = time.process_time()
    classifier, history = train_classifier(recipe, train, valid, seed=seed)
    proba = classifier.predict_proba_examples(valid.x)
    windows, songs = (evaluate(proba, valid.y, valid.genres, valid.track, by=by) for by in ("example", "track"))
    train_accuracy = (classifier.predict_proba_examples(train.x).argmax(1) == train.y).mean()
    row = {"seed": seed, "epochs": recipe.epochs, "train_windows": len(train), "best_epoch": history.best_epoch or 0,
           "parameters": sum(p.numel() for p in classifier.network.parameters()),
           "train_accuracy": round(float(train_accuracy), 4), "window_accuracy": round(windows.accuracy, 4),
           "window_low": round(windows.accuracy_interval[0], 4), "window_high": round(windows.accuracy_interval[1], 4),
           "song_accuracy": round(songs.accuracy, 4), "core_seconds": round(time.process_time() - start),
           "valid_accuracy": " ".join(f"{value:.4f}" for value in history.table.valid_accuracy)}
    return row, windows.confusion


def append(path, table):
    "Adds rows to a CSV file."
    table.to_csv(path, mode="a", header=not path.exists(), index=False)


def main():
    "Do the runs that are not in the table yet, seed by seed."
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "nbs" / "results")
    given, data = parser.parse_args(), os.environ["GENRE_NBS_DATA"]
    torch.set_num_threads(1)
    train, valid = split_examples(load_examples(four_genres(read_tracks(f"{data}/gtzan_mel")), WINDOW), f"{data}/gtzan_lists")
    train = train.take(np.arange(0, len(train), given.every))
    table, recipes = given.out / "mel_steps.csv", list(steps(given.epochs))
    for seed in given.seeds:
        for name, recipe in recipes:
            done = pd.read_csv(table) if table.exists() else pd.DataFrame({"step": [], "seed": []})
            if ((done.step == name) & (done.seed == seed)).any():
                continue
            row, confusion = run_step(recipe, train, valid, seed)
            if name in (recipes[0][0], recipes[-1][0]):
                counts = [(name, seed, true, predicted, int(confusion[i, j])) for i, true in enumerate(valid.genres)
                          for j, predicted in enumerate(valid.genres)]
                append(given.out / "mel_confusion.csv", pd.DataFrame(counts, columns=["step", "seed", "true", "predicted", "windows"]))
            append(table, pd.DataFrame([{"step": name, **row}]))
            print(name, row, flush=True)


if __name__ == "__main__":
    main()

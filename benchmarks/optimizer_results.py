"""The tables that lesson 14 draws: nbs/results/optimizers_mel.csv, optimizers_mlp.csv and optimizers_dead.csv.

    GENRE_NBS_DATA=... python benchmarks/optimizer_results.py [--fair]

`--fair` first does the comparison of the perceptron: learning rates chosen, and runs scored, by the mean macro F1 of the last ten epochs;
trials with three seeds, ten final seeds, one CPU. Rows that are in runs/optimizers-mlp-fair.csv are not trained again.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from genre_nbs.comparison import FULL, Study, final_runs, lr_trials, read_rows
from genre_nbs.datasets import load_examples
from genre_nbs.mlp import MLP_ATHENS, SECOND

HERE = Path(__file__).parent
RUNS, RESULTS = HERE / "runs", HERE.parent / "nbs" / "results"
COLUMNS = ["stage", "candidate", "lr", "seed", "epochs", "device", "best_epoch", "valid_f1_macro", "valid_accuracy", "test_f1_macro",
           "test_accuracy", "diverged_at", "reason", "valid_curve"]


def halves(examples):
    "The first and the second half of each genre's clips: neighbours, which may come from one song, stay together."
    parts = [np.array_split(np.flatnonzero(examples.y == genre), 2) for genre in range(len(examples.genres))]
    return [examples.take(np.concatenate([part[half] for part in parts])) for half in range(2)]


def fair_study(table):
    "The comparison of fourteen optimizers on the perceptron, on one core."
    torch.set_num_threads(1)
    clips, others = (load_examples(f"{os.environ['GENRE_NBS_DATA']}/athens_mfcc/{part}/mfccs", SECOND) for part in ("train", "val"))
    valid, test = halves(others)
    study = Study(MLP_ATHENS, clips, valid, table, test, replace(FULL, trial_seeds=3, last=10))
    final_runs(study, lr_trials(study))


def condensed(name, path):
    "The columns that the lesson needs; a run that two stages asked for is there once for each."
    rows = read_rows(path)
    rows[COLUMNS].to_csv(RESULTS / name, index=False)
    print(name, rows.groupby("stage").size().to_dict(), f"{(RESULTS / name).stat().st_size / 1024:.0f} KB")


def main():
    "Train what is missing, and write the tables."
    if "--fair" in sys.argv[1:]:
        fair_study(RUNS / "optimizers-mlp-fair.csv")
    both = [pd.read_csv(RUNS / name, dtype={"lr": str}) for name in ("optimizers-mel.csv", "optimizers-mel-full.csv")]
    joined = RESULTS / "joined.csv"
    pd.concat(both).to_csv(joined, index=False)
    condensed("optimizers_mel.csv", joined)
    joined.unlink()
    condensed("optimizers_mlp.csv", RUNS / "optimizers-mlp-fair.csv")
    pd.read_csv(RUNS / "optimizers-dead.csv").to_csv(RESULTS / "optimizers_dead.csv", index=False)


if __name__ == "__main__":
    main()

"""Validation accuracy of `picture-best` on eight genres of GTZAN, without blues and rock, with the fault-filtered lists.

    python benchmarks/eight_genres.py DATA/gtzan_mel DATA/gtzan_lists [--seeds 0 1 2] [--out nbs/results/eight_genres.csv]

S. Doh (2019) published a figure for these eight genres. One line a seed, written as soon as the seed is done; a seed takes about
three core-minutes.
"""

import argparse
import time
from pathlib import Path

import pandas as pd

from genre_nbs.datasets import load_examples, read_tracks
from genre_nbs.io.files import atomic_path
from genre_nbs.picture_cnn import GREY, PICTURE_BEST, train_and_evaluate

LEFT_OUT = ("blues", "rock")
OUT = Path(__file__).parents[1] / "nbs/results/eight_genres.csv"
KEPT = ("recipe", "seed", "n_train", "n", "accuracy", "f1_macro", "last_epoch", "train_accuracy", "best_epoch", "core_minutes")


def run(examples, lists, seed):
    "A row of the table: one training, and its scores on the validation songs of the lists."
    start = time.process_time()
    row, _ = train_and_evaluate(PICTURE_BEST, examples, lists, seed)
    row |= {"last_epoch": row["history"][-1]["valid_accuracy"], "core_minutes": (time.process_time() - start) / 60}
    return {name: round(row[name], 4) if isinstance(row[name], float) else row[name] for name in KEPT}


def main():
    "Run the seeds that were asked for."
    parser = argparse.ArgumentParser()
    parser.add_argument("pictures")
    parser.add_argument("lists")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    tracks = read_tracks(given.pictures)
    examples = load_examples(tracks[~tracks.genre.isin(LEFT_OUT)].reset_index(drop=True), GREY)
    rows = []
    for seed in given.seeds:
        rows.append(run(examples, given.lists, seed))
        print(rows[-1], flush=True)
        with atomic_path(given.out) as part:
            pd.DataFrame(rows).to_csv(part, index=False)


if __name__ == "__main__":
    main()

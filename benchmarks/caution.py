"""From which distance on, and how strongly, should a model become less sure? A grid of both, for `caution` in genre_nbs/fast/song_statistics.py.

    python benchmarks/caution.py PACKED DATA [--predictions nbs/results/song_predictions.csv] [--model FILE] --out nbs/results/caution.csv

PACKED is as in `other_sounds.py`, DATA a folder of genre folders with pictures, the predictions are those of `song_folds.py`. One row a choice:
the fraction of songs by artists that a fold did not know that get an answer, the fraction of these answers that are wrong, the cross-entropy,
and the fraction of the other sounds that get none: of the half that may be looked at, without music. A strength of 0 is no caution.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from other_sounds import HALVES, SR, all_sounds

from genre_nbs.collections import load_collection
from genre_nbs.evaluation import apply_temperature
from genre_nbs.fast.song_statistics import SIZES, distance, song_statistics, typical_range
from genre_nbs.song_features import SongPicture, bandwidth, level_of, prepare_picture
from genre_nbs.songs import load_model, shipped_path

GRID = [(1.0, 0), *((far, strength) for far in (1.0, 0.9, 0.85, 0.8, 0.75) for strength in (2, 4, 6, 8, 12))]


def of_songs(data, predictions):
    "Of each song: distance from the songs of the other folds (all bands are looked at), its probabilities (before calibration), its label."
    examples = load_collection(data, SongPicture())
    rows = np.stack([np.concatenate(song_statistics(prepare_picture(picture[0]))) for picture in examples.x])
    table, d = predictions.set_index("track").loc[list(examples.track)], np.zeros(len(rows))
    for fold in table.fold.unique():
        inside = (table.fold == fold).to_numpy()
        d[inside] = [distance(row, *typical_range(rows[~inside])) for row in rows[inside]]
    return d, table[list(examples.genres)].to_numpy(), examples.y


def of_sounds(packed, model):
    "Of each sound that may be looked at and is no music: distance, and probabilities before calibration."
    distances, proba = [], []
    for kind, half, _, _, y in all_sounds(packed):
        if half == HALVES[0] and kind != "game music":
            picture = prepare_picture(model.representation.of_waveform(y, SR)[0, 0])
            level = level_of(bandwidth(picture))
            row = model.features(picture, level)
            distances.append(distance(row[:sum(SIZES)], *model.linear[level][2:]))
            proba.append(model.picture_proba(picture, level, row))
    return np.array(distances), np.stack(proba)


def less_sure(proba, distances, temperature, far, strength):
    "Calibrated probabilities with a temperature that grows with the distance, (n, genres)."
    factors = np.maximum(1, distances / far) ** strength
    return np.stack([apply_temperature(p[None], temperature * factor)[0] for p, factor in zip(proba, factors, strict=True)])


def main():
    "Try the grid, write the table."
    parser = argparse.ArgumentParser()
    parser.add_argument("packed", type=Path)
    parser.add_argument("data")
    parser.add_argument("--predictions", type=Path, default=Path("nbs/results/song_predictions.csv"))
    parser.add_argument("--model", type=Path, default=shipped_path())
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    model, predictions, rows = load_model(given.model), pd.read_csv(given.predictions), []
    d, proba, y = of_songs(given.data, predictions[predictions.recipe == model.settings["recipe"]])
    other_d, other_proba = of_sounds(given.packed, model)
    for far, strength in GRID:
        songs = less_sure(proba, d, model.temperature, far, strength)
        others = less_sure(other_proba, other_d, model.temperature, far, strength)
        sure, wrong = songs.max(1) >= model.threshold, songs.argmax(1) != y
        rows.append({"far": far, "strength": strength, "songs_answered": sure.mean(), "errors_among_answered": wrong[sure].mean(),
                     "cross_entropy": -np.log(songs[np.arange(len(y)), y] + 1e-12).mean(), "others_not_sure": (others.max(1) < model.threshold).mean()})  # fmt: skip
    table = pd.DataFrame(rows).round(4)
    table.to_csv(given.out, index=False)
    print(table.to_string(), f"\n{len(y)} songs, {len(other_proba)} other sounds")


if __name__ == "__main__":
    main()

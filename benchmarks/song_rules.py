"""Which rule combines the segments of a song: the mean of probabilities, the mean of logits, or the trimmed mean?

    python benchmarks/song_rules.py                      practice songs of 30 s, artists apart: MLP, mel CNN and picture CNN, three seeds
    python benchmarks/song_rules.py MODEL PICTURES LISTS a `best` model that learned from the train list, on the valid list of GTZAN pictures

On practice songs the segments are seconds (pictures: 5 s); a GTZAN picture is heard in three parts of 10 s.
"""

import json
import sys
from dataclasses import replace

import numpy as np

from genre_nbs.classifier import train_classifier
from genre_nbs.datasets import Representation, load_examples
from genre_nbs.evaluation import apply_temperature, fit_temperature
from genre_nbs.mel_cnn import MEL_BEST
from genre_nbs.mlp import MLP
from genre_nbs.picture_cnn import GREY, PICTURE_BEST
from genre_nbs.practice import practice_corpus
from genre_nbs.songs import RULES, combine, load_model
from genre_nbs.splitting import split_examples

SHORT = replace(PICTURE_BEST, representation=Representation("picture", seconds=5.0, size=(128, 65), channels=1))


def print_scores(name, proba, y, track):  # probabilities of segments (n, genres), labels (n,), songs (n,)
    "One line for each rule: accuracy by song, cross-entropy before and after calibration by one temperature."
    names = np.unique(track)
    labels = np.array([y[track == song][0] for song in names])
    for rule in RULES:
        p = np.stack([combine(proba[track == song], rule) for song in names])
        calm = apply_temperature(p, fit_temperature(p, labels))
        losses = [-np.log(q[np.arange(len(labels)), labels] + 1e-12).mean() for q in (p, calm)]
        row = {"model": name, "rule": rule, "songs": len(labels), "accuracy": (p.argmax(1) == labels).mean()}
        print(json.dumps(row | {"cross-entropy": losses[0], "after calibration": losses[1]}), flush=True)


def practice():
    songs = practice_corpus(songs_per_genre=12, seconds=30.0, artists_per_genre=6)
    for recipe, changes in ((MLP, {}), (MEL_BEST, {"epochs": 4}), (SHORT, {"epochs": 15})):
        examples = load_examples(songs, recipe.representation)
        for seed in range(3):
            train, valid = split_examples(examples, "artist", valid_size=1 / 3, seed=seed)
            classifier, _ = train_classifier(recipe, train, valid, seed=seed, **changes)
            print_scores(f"{recipe.name}, seed {seed}", classifier.predict_proba_examples(valid.x), valid.y, valid.track)


def real(model, pictures, lists):
    _, valid = split_examples(load_examples(pictures, GREY), lists)
    thirds = np.concatenate([valid.x[..., i * 129:(i + 1) * 129] for i in range(3)])
    print_scores("3 x 10 s", load_model(model).predict_proba_examples(thirds), np.tile(valid.y, 3), np.tile(valid.track, 3))


if __name__ == "__main__":
    real(*sys.argv[1:]) if sys.argv[1:] else practice()

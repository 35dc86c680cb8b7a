"""The recipe `mlp` against a support vector machine and logistic regression, by cross-validation in blocks of the Athens project's training clips.

    python benchmarks/mlp_blocks.py DATA/athens_mfcc/train/mfccs [--seeds 3]

Each genre's clips are cut, in file order, into five parts of 160; then once more, half a part later. No part is evaluated by a
classifier that learned from it. The interval is a bootstrap over the 40 blocks of 80 clips that both cuts are made of. About three core-minutes.
"""

import argparse

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from genre_nbs.classifier import train_recipe
from genre_nbs.datasets import load_examples
from genre_nbs.mlp import MLP, SECOND
from genre_nbs.networks import predict_proba


def place_in_genre(y):
    "The place of each clip among those of its genre, in file order, from 0 to 1."
    place = np.empty(len(y))
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        place[rows] = np.arange(len(rows)) / len(rows)
    return place


def with_log(x):
    "The 13 standard deviations s as log(s + 0.01); the 13 means as they are."
    x = x.copy()
    x[:, 13:] = np.log(x[:, 13:] + 0.01)
    return x


def correct(train, valid, seeds):
    "By model, the fraction of seeds that are right, for each clip of `valid`."
    references = {"logistic regression": LogisticRegression(max_iter=1000), "SVM": SVC()}
    right = {}
    for name, model in references.items():
        right[name] = make_pipeline(StandardScaler(), model).fit(train.x, train.y).predict(valid.x) == valid.y
    networks = [train_recipe(MLP, train, seed=seed)[0] for seed in range(seeds)]
    right["mlp"] = np.mean([predict_proba(network, valid.x).argmax(1) == valid.y for network in networks], axis=0)
    return right


def interval(values, blocks, seed=0, draws=10_000):
    "The mean of `values`, and its 95 % interval by a bootstrap over blocks of equal size."
    means = np.array([values[blocks == b].mean() for b in np.unique(blocks)])
    drawn = np.random.default_rng(seed).choice(means, (draws, len(means))).mean(1)
    return values.mean(), *np.quantile(drawn, [0.025, 0.975])


def main():
    "Both forms of the features, three models."
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    clips = load_examples(given.data, SECOND)
    place = place_in_genre(clips.y)
    blocks = clips.y * 10 + (place * 10).astype(int)
    for form, x in (("as they are", clips.x), ("with log", with_log(clips.x))):
        clips.x, scores = x, {}
        for shift in (0, 0.1):
            for inside, outside in PredefinedSplit(((place + shift) % 1 * 5).astype(int)).split():
                for name, right in correct(clips.take(inside), clips.take(outside), given.seeds).items():
                    scores.setdefault(name, np.zeros(len(clips)))[outside] += right / 2
        for name, values in scores.items():
            print(f"{form:12} {name:20} accuracy {values.mean():.4f}")
        for name in ("logistic regression", "SVM"):
            mean, low, high = 100 * np.array(interval(scores["mlp"] - scores[name], blocks))
            print(f"{form:12} mlp minus {name:20} {mean:+.1f} points [{low:+.1f}, {high:+.1f}]", flush=True)


if __name__ == "__main__":
    main()

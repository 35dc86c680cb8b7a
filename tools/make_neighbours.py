"""Makes the file of training songs that the own-song page names as the closest ones, beside the model that comes with the package.

    python tools/make_neighbours.py DATA [--model genre_nbs/models/gtzan.safetensors]

DATA is the collection that the model learned from. The same model and songs give the same bytes with the same number of threads.
"""

import argparse
from pathlib import Path

import numpy as np

from genre_nbs.app.neighbours import logit_vectors, neighbours_file, write_neighbours
from genre_nbs.app.pipeline import learned_tracks
from genre_nbs.collections import load_collection
from genre_nbs.songs import load_model

ROOT = Path(__file__).resolve().parents[1]


def make_neighbours(data, model):
    "Compute and write the vectors of all songs of a collection that the model learned from; returns their number."
    classifier = load_model(model)
    examples = load_collection(data, classifier.representation, classifier.genres)
    examples = examples.take(np.flatnonzero(np.isin(examples.track, learned_tracks(classifier, examples) or [])))
    genres = [classifier.genres[label] for label in examples.y]
    names = [Path(track).name for track in examples.track]
    write_neighbours(neighbours_file(model), model, names, genres, logit_vectors(classifier.predict_proba_examples(examples.x)))
    return len(names)


def main():
    "Write the neighbours of a model."
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, default=ROOT / "genre_nbs/models/gtzan.safetensors")
    given = parser.parse_args()
    print(f"{make_neighbours(given.data, given.model)} songs, {neighbours_file(given.model).stat().st_size} bytes")


if __name__ == "__main__":
    main()

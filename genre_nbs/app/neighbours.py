"""Which songs of its training set does a model find closest to a new one? Those with the most similar logits, the outputs of its last layer.

The logits of all training songs lie in a file beside the model, made by `tools/make_neighbours.py`: `gtzan.neighbours.safetensors`
for `gtzan.safetensors`. It names the model by its checksum, and serves no other one.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from genre_nbs.io.files import sha256
from genre_nbs.io.model_files import ModelError, read_model, write_tensors

KIND, TENSOR = "neighbours", "vectors"
MOST_SONGS = 100_000


@dataclass
class Neighbours:
    "The training songs of a model."

    names: list  # of the songs
    genres: list  # canonical genre of each
    vectors: np.ndarray  # (n, genres), float32, each of length 1

    def closest(
        self,
        vector,  # (genres,), of length 1
        k=5,  # how many
    ) -> list:  # (name, genre), the closest first
        "The songs whose vectors have the largest cosine similarity to `vector`."
        order = np.argsort(-(self.vectors @ vector), kind="stable")[:k]
        return [(self.names[i], self.genres[i]) for i in order]


def neighbours_file(
    model,  # a model file
) -> Path:
    "Where the neighbours of a model stand."
    return Path(model).with_suffix(".neighbours.safetensors")


def logit_vectors(
    proba,  # (n, genres), probabilities of any classifier
) -> np.ndarray:  # (n, genres), float32, each row of mean 0 and length 1
    "Logits without their constant and their scale, which softmax and temperature change: the direction in which a model sees a song."
    logits = np.log(np.maximum(proba, 1e-7))
    return unit(logits - logits.mean(1, keepdims=True))


def song_vector(
    timeline,  # (n, genres), probabilities of the segments of a song
) -> np.ndarray:  # (genres,), of length 1
    "The mean direction of the segments of a song."
    return unit(logit_vectors(timeline).mean(0, keepdims=True))[0]


def unit(rows) -> np.ndarray:
    "Rows (n, d) scaled to length 1."
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def write_neighbours(
    path,  # where to
    model,  # the model file
    names,  # (n,) of its training songs
    genres,  # (n,) canonical genre of each
    vectors,  # (n, genres), float32
):
    "Write the neighbours of a model, in half precision; the same songs give the same bytes."
    header = {"kind": KIND, "model": sha256(model), "names": list(map(str, names)), "genres": list(map(str, genres))}
    write_tensors(path, header, {TENSOR: torch.from_numpy(vectors).half()})


def read_neighbours(
    model,  # a model file
) -> Neighbours | None:  # None where none were made for this model
    "The neighbours of a model. Raises `ModelError` for a file that cannot be one."
    path = neighbours_file(model)
    if not path.is_file():
        return None
    header, tensors = read_model(path)
    if header.get("model") != sha256(model):
        return None
    names, genres, vectors = header.get("names"), header.get("genres"), tensors.get(TENSOR)
    words = all(isinstance(part, list) and all(isinstance(word, str) for word in part) for part in (names, genres))
    fits = words and vectors is not None and vectors.ndim == 2 and len(names) == len(genres) == len(vectors)
    if header.get("kind") != KIND or not fits or not 0 < len(names) <= MOST_SONGS or not vectors.isfinite().all():
        raise ModelError(f"{path}: holds no neighbours of a model")
    return Neighbours(names, genres, vectors.numpy())

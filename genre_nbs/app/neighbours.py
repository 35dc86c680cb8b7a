"""Which songs of its training set does a model find closest to a new one? Those with the most similar activations before the last layer.

The activations of all training songs lie in a file beside the model, made by `tools/make_neighbours.py`: `gtzan.neighbours.safetensors`
for `gtzan.safetensors`. It names the model by its checksum, and serves no other one.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from genre_nbs.io.files import sha256
from genre_nbs.io.model_files import ModelError, read_model, write_tensors
from genre_nbs.networks import predict_logits

KIND, TENSOR = "neighbours", "vectors"
MOST_SONGS, MOST_NUMBERS = 100_000, 4096  # songs, and numbers of one
SEGMENTS = 8  # of a new song that are looked at, spread over all of it


@dataclass
class Neighbours:
    "The training songs of a model."

    names: list  # of the songs
    genres: list  # canonical genre of each
    vectors: np.ndarray  # (n, d), float32, each of length 1

    def closest(
        self,
        vector,  # (d,), of length 1
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


def activations(
    classifier,  # a `GenreClassifier`, or a `SongClassifier` with networks
    x,  # (n, ...) examples in its representation
) -> np.ndarray | None:  # (n, d), float32, each row of length 1; None where no network ends with a fully connected layer
    "What the last layer of each network gets, side by side."
    networks = getattr(classifier, "networks", None)
    if networks is None:
        networks = [classifier.network]
    else:
        from genre_nbs.song_features import prepare_picture

        x = np.stack([prepare_picture(picture[0])[None] for picture in x])
    if not networks or not all(isinstance(network[-1], nn.Linear) for network in networks):
        return None
    rows = [np.asarray(predict_logits(network[:-1], torch.from_numpy(x), 32)) for network in networks]
    return unit(np.concatenate([unit(row.reshape(len(row), -1)) for row in rows], 1))


def unit(rows) -> np.ndarray:
    "Rows (n, d) scaled to length 1."
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def song_vector(
    classifier,  # as in `activations`
    y,  # waveform, (samples,)
    sr,  # sample rate in Hz
) -> np.ndarray | None:  # (d,), of length 1
    "The mean of the activations over some segments of a song. None where the network has none, or the song is shorter than a segment allows."
    size = round(classifier.representation.seconds * sr)
    starts = (
        np.unique(np.linspace(0, max(0, len(y) - size), SEGMENTS).astype(int))
        if len(y) > SEGMENTS * size
        else range(0, max(1, len(y) - size + 1), size)
    )
    x = np.concatenate([classifier.representation.of_waveform(y[start : start + size], sr) for start in starts])
    found = activations(classifier, x[x.reshape(len(x), -1).any(1)])
    return None if found is None else unit(found.mean(0, keepdims=True))[0]


def write_neighbours(
    path,  # where to
    model,  # the model file
    names,  # (n,) of its training songs
    genres,  # (n,) canonical genre of each
    vectors,  # (n, d), float32
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
    if (
        header.get("kind") != KIND
        or not fits
        or not 0 < len(names) <= MOST_SONGS
        or vectors.shape[1] > MOST_NUMBERS
        or not vectors.isfinite().all()
    ):
        raise ModelError(f"{path}: holds no neighbours of a model")
    return Neighbours(names, genres, vectors.numpy())

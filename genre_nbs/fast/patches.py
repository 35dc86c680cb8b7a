"Patches of pictures without copying them, and k-means on the sphere in a few matrix products."

import numpy as np


def all_patches(
    picture: np.ndarray,  # (bands, width), uint8
    columns: int,  # of a patch
    bands: int,  # of a patch, from the first
) -> np.ndarray:  # (width - columns + 1, columns * bands), float32 in [0, 1], a view: neighbouring patches share their memory
    "Every patch of a picture, one for each column it can begin at."
    x = np.ascontiguousarray(picture[:bands].T, np.float32) / 255
    return np.lib.stride_tricks.sliding_window_view(x.ravel(), columns * bands)[::bands]


def spherical_kmeans(
    x: np.ndarray,  # (n, dims), float32
    k: int,  # clusters; at most n
    rng: np.random.Generator,  # of the first centres, and of new ones for empty clusters
    rounds: int = 12,  # rounds of assigning and averaging
) -> np.ndarray:  # (min(k, n), dims), each of length 1
    "Centres by direction: each vector goes to the centre with the largest cosine, and counts as much as that (Coates and Ng 2012)."
    x = x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-6)
    centres = x[rng.permutation(len(x))[:k]]
    for _ in range(rounds):
        similarity = x @ centres.T
        nearest = similarity.argmax(1)
        weight = np.zeros_like(similarity)
        weight[np.arange(len(x)), nearest] = similarity[np.arange(len(x)), nearest]
        centres = weight.T @ x
        empty = ~centres.any(1)
        centres[empty] = x[rng.integers(0, len(x), empty.sum())]
        centres /= np.linalg.norm(centres, axis=1, keepdims=True) + 1e-6
    return centres

"Patches of pictures without copying them, k-means on the sphere in a few matrix products, and batches of pictures at another speed and pitch."

import numpy as np
import torch


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


def interpolated(x, at, axis):
    "Linear interpolation between rows (axis 2) or columns (axis 3) at the positions `at`, (n, m)."
    at = at.clamp(0, x.shape[axis] - 1)
    low = at.floor().clamp(max=x.shape[axis] - 2).long()
    part = (at - low)[:, None, None, :] if axis == 3 else (at - low)[:, None, :, None]
    low = low[:, None, None, :] if axis == 3 else low[:, None, :, None]
    return torch.lerp(x.take_along_dim(low, axis).float(), x.take_along_dim(low + 1, axis).float(), part)


def resampled(
    x: torch.Tensor,  # pictures, (n, 1, bands, columns), lowest band first
    start: torch.Tensor,  # (n,) first column
    width: torch.Tensor,  # (n,) columns taken
    columns: int,  # columns that they become
    shift: torch.Tensor,  # (n,) bands by which pitch goes down
) -> torch.Tensor:  # (n, 1, bands, columns), float32
    "A window of each picture at another speed and another pitch."
    at = start[:, None] + (torch.arange(columns, device=x.device) + 0.5) * (width / columns)[:, None] - 0.5
    return interpolated(interpolated(x, at, 3), torch.arange(x.shape[2], device=x.device) + shift[:, None], 2)

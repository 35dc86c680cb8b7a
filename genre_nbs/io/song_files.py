"Model files of song-level features: what their description may say, and which shapes their numbers must then have."

import math

import numpy as np
import torch

KIND = "songs"  # in the header of a model file
PARTS = ("whiten", "offset", "words")  # arrays of the words of one size
LINEAR_PARTS = ("weight", "bias", "mean", "scale")  # arrays of the linear classifier of one level
NUMBERS = {"weight": (0, 1), "linear_temperature": (1e-3, 1e3), "temperature": (0.05, 20), "threshold": (0, 1)}  # of the header, with their ranges
MOST = {"columns": 64, "bands": 128, "dims": 1024, "k": 4096}  # of the patches and words of one size
MOST_WORDS, MOST_NETWORKS = 8, 16


def words_shapes(words) -> dict:
    "Name -> shape of the tensors of all words. Raises `ValueError` for sizes that are no whole numbers, or out of range."
    if not isinstance(words, list) or len(words) > MOST_WORDS or any(not isinstance(sizes, list) or len(sizes) != len(MOST) for sizes in words):
        raise ValueError("the sizes of its words cannot be read")
    shapes = {}
    for i, sizes in enumerate(words):
        for (name, most), n in zip(MOST.items(), sizes, strict=True):
            if type(n) is not int or not 1 <= n <= most:
                raise ValueError(f"{name} {n!r} of words {i} is out of range")
        columns, bands, dims, k = sizes
        shapes |= {f"words.{i}.whiten": (columns * bands, dims), f"words.{i}.offset": (dims,), f"words.{i}.words": (dims, k)}
    return shapes


def song_tensors(
    words,  # objects with arrays called `PARTS`
    linear,  # level -> arrays called `LINEAR_PARTS`
    networks,  # `nn.Module`s
) -> dict:  # name -> tensor
    "All numbers of a model by name."
    arrays = {f"words.{i}.{part}": getattr(w, part) for i, w in enumerate(words) for part in PARTS}
    for level, parts in linear.items():
        arrays |= {f"level.{level}.{part}": array for part, array in zip(LINEAR_PARTS, parts, strict=True)}
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    return tensors | {f"network.{i}.{name}": tensor for i, network in enumerate(networks) for name, tensor in network.state_dict().items()}


def check_numbers(header):
    "Raises `ValueError` unless the numbers of the header lie in their ranges; only the threshold may be None."
    for name, (low, high) in NUMBERS.items():
        value = header[name]
        if value is None and name == "threshold":
            continue
        if type(value) not in (int, float) or not math.isfinite(value) or not low <= value <= high:
            raise ValueError(f"{name} {value!r} is out of range")


def check_song_tensors(
    header: dict,  # of the file: words, networks, and `NUMBERS`
    tensors: dict,  # of the file, name -> tensor
    levels: tuple,  # bandwidths, each with a linear classifier
    statistics: int,  # numbers that the statistics give
    genres: int,  # outputs
):
    "Raises `ValueError` unless all numbers are there, finite, and of the shapes that the header says; those of networks are checked elsewhere."
    shapes = words_shapes(header["words"])
    features = statistics + 2 * sum(k for *_, k in header["words"])
    for level in levels:
        shapes |= {f"level.{level}.weight": (features, genres), f"level.{level}.bias": (genres,)}
        shapes |= {f"level.{level}.{part}": (statistics,) for part in ("mean", "scale")}
    networks = header["networks"]
    if not isinstance(networks, list) or len(networks) > MOST_NETWORKS:
        raise ValueError("its networks cannot be read")
    check_numbers(header)
    numbers = {str(i) for i in range(len(networks))}
    own = {name for name in tensors if not (name.startswith("network.") and name.split(".")[1] in numbers)}
    if own != set(shapes):
        raise ValueError(f"{sorted(own ^ set(shapes))[0]!r} is missing or unknown")
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape or not tensors[name].is_floating_point():
            raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}, not {shape}")
        if not tensors[name].isfinite().all():
            raise ValueError(f"{name} holds numbers that are not finite")

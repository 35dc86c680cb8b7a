"Model files: what is written comes back, and what is no model never gets in."

import json
import os
import pickle
import random
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from genre_nbs.classifier import GenreClassifier, train_classifier
from genre_nbs.datasets import DataError, Examples, Representation, load_examples
from genre_nbs.io import model_files
from genre_nbs.io.model_files import TORCH_LAYERS, ModelError, build_network, check_shapes, describe_network, filled_network, layer_shape
from genre_nbs.mel_cnn import MEL, MEL_BEST
from genre_nbs.mlp import MLP
from genre_nbs.networks import Standardize
from genre_nbs.picture_cnn import PICTURE_BEST, PICTURE_FINAL, PICTURE_FIRST, picture_cnn


def make(network, shape=(26,)):
    kind = {1: "summary", 2: "mel", 3: "picture"}[len(shape)]
    size = {"size": shape[1:], "channels": shape[0]} if kind == "picture" else {}
    return GenreClassifier(network.eval(), Representation(kind, **size), ("blues", "jazz"), {"recipe": "test"})


NETWORKS = [
    ((26,), nn.Sequential(nn.Linear(26, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Dropout(0.4), nn.Linear(3, 2, bias=False))),
    ((3, 16, 20), nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(2))),
    ((1, 16, 20), nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, (3, 5), padding="same"), nn.BatchNorm2d(4, momentum=None)),
                                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))),
    ((21, 128), nn.Sequential(nn.Unflatten(1, (1, 21)), nn.Conv2d(1, 2, 5, padding=2), nn.AdaptiveMaxPool2d((2, 2)), nn.Flatten(), nn.Linear(8, 2))),
    ((21, 128), nn.Sequential(nn.Unflatten(1, (-1, 21)), nn.Conv2d(1, 2, 2, padding="valid"), nn.MaxPool2d(3, ceil_mode=True), nn.AdaptiveAvgPool2d((1, None)),
                              nn.Flatten(), nn.Linear(86, 2))),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "network"), NETWORKS)
def test_round_trip_to_the_bit(tmp_path, shape, network):
    x = torch.rand(5, *shape)
    network.eval()(x)  # lazy layers get their sizes
    before = make(network, shape)
    after = GenreClassifier.load(before.save(tmp_path / "m"))
    np.testing.assert_array_equal(before.predict_proba_examples(x.numpy()), after.predict_proba_examples(x.numpy()))
    assert describe_network(after.network) == describe_network(network)
    assert (after.representation, after.genres, after.settings) == (before.representation, before.genres, before.settings)


def test_standardisation_travels(tmp_path):
    layer = Standardize((26,))
    layer.mean.copy_(torch.arange(26.0))
    layer.std.copy_(torch.arange(1.0, 27.0))
    loaded = GenreClassifier.load(make(nn.Sequential(layer, nn.Linear(26, 2))).save(tmp_path / "m"))
    torch.testing.assert_close(loaded.network[0](layer.mean[None] + layer.std[None]), torch.ones(1, 26))


def test_unknown_layers_are_refused_on_both_ways(tmp_path):
    class Linear(nn.Module):
        "Bears a known name, and is another."

        def forward(self, x):
            return x

    for layer in (Linear(), nn.Bilinear(2, 2, 2)):
        with pytest.raises(ValueError, match="cannot be saved"):
            make(nn.Sequential(layer)).save(tmp_path / "m")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="unknown layer"):
        build_network([["system", {}]])


def forged(tmp_path, change):
    "A model file whose header was changed by `change(header)`."
    path = make(NETWORKS[0][1]).save(tmp_path / "m")
    with safe_open(path, "pt") as file:
        header, tensors = json.loads(file.metadata()["genre_nbs"]), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    changed = change(header)
    header = changed if type(changed) is list and changed == [1, 2] else header
    save_file(tensors, tmp_path / "forged", metadata={model_files.HEADER: json.dumps(header)})
    return tmp_path / "forged"


FORGERIES = {
    "huge": lambda h: h["network"].__setitem__(0, ["Linear", {"in_features": 10**9, "out_features": 10**9}]),
    "other shape": lambda h: h["network"].__setitem__(0, ["Linear", {"in_features": 25, "out_features": 3}]),
    "a program": lambda h: h["network"].__setitem__(0, ["eval", {}]),
    "layer missing": lambda h: h["network"].pop(),
    "arguments": lambda h: h["network"].__setitem__(2, ["ReLU", {"cmd": "x"}]),
    "no list": lambda h: h.__setitem__("network", 7),
    "no genres": lambda h: h.pop("genres"),
    "other genres": lambda h: h.__setitem__("genres", ["blues"]),
    "representation": lambda h: h["representation"].__setitem__("kind", "smell"),
    "field": lambda h: h["representation"].__setitem__("x", 1),
    "version": lambda h: h.__setitem__("version", 99),
    "list": lambda h: [1, 2],
    "settings": lambda h: h.__setitem__("settings", 3),
    "deep": lambda h: h.__setitem__("network", json.loads("[[\"Sequential\"," * 50 + "[]" + "]]" * 50)),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_headers(tmp_path, name):
    with pytest.raises(ModelError) as caught:
        GenreClassifier.load(forged(tmp_path, FORGERIES[name]))
    assert "\n" not in str(caught.value)


def test_a_pickle_is_never_unpacked(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    (tmp_path / "m").write_bytes(pickle.dumps(Bomb()))
    torch.save(Bomb(), tmp_path / "torch")
    for name in ("m", "torch"):
        with pytest.raises(ModelError):
            GenreClassifier.load(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 60, 500, -1])
def test_cut_anywhere(tmp_path, keep):
    data = make(NETWORKS[0][1]).save(tmp_path / "m").read_bytes()
    (tmp_path / "cut").write_bytes(data[:keep])
    with pytest.raises(ModelError):
        GenreClassifier.load(tmp_path / "cut")


def test_one_genre_is_not_enough(tones):
    examples = load_examples(tones, MLP.representation)
    with pytest.raises(DataError, match="only jazz"):
        train_classifier(MLP, examples.take(np.flatnonzero(examples.y == 1)))


def test_predictions_are_probabilities_of_the_right_song(tones, tmp_path):
    examples = load_examples(tones, MLP.representation)
    classifier, history = train_classifier(MLP, examples, seed=0, epochs=20)
    loaded = GenreClassifier.load(classifier.save(tmp_path / "m"))
    for genre in ("blues", "jazz", "metal"):
        proba = loaded.predict_proba(tones / genre / f"{genre}1.wav")
        assert proba.sum() == pytest.approx(1, abs=1e-5) and loaded.predict(tones / genre / f"{genre}1.wav") == genre
    assert loaded.settings["epochs"] == 20 and len(history.table) == 20


@pytest.mark.slow
def test_first_prediction_needs_no_librosa(tones, tmp_path):
    "The first prediction of a song, cold: librosa's import alone would take as long as the budget allows."
    examples = load_examples(tones, MLP.representation)
    train_classifier(MLP, examples, seed=0, epochs=1)[0].save(tmp_path / "m")
    code = (
        "import sys; from genre_nbs.classifier import GenreClassifier;"
        "GenreClassifier.load(sys.argv[1]).predict(sys.argv[2]); print([m for m in ('librosa', 'numba', 'seaborn', 'dask') if m in sys.modules])"
    )
    out = subprocess.check_output([sys.executable, "-c", code, tmp_path / "m", tones / "jazz" / "jazz0.wav"], text=True)
    assert out.strip() == "[]"


# --- the recipes


def random_examples(representation, n=8):
    "Noise in two genres, the second one louder."
    rng, y = np.random.default_rng(0), np.arange(n) % 2
    noise = rng.normal(size=(n, *representation.shape)) + y.reshape(-1, *[1] * len(representation.shape))
    x = (60 + 40 * noise).clip(0, 255).astype(np.uint8) if representation.kind == "picture" else noise.astype(np.float32)
    return Examples(x, y, y.astype(str), ("blues", "jazz"))


RECIPES = {
    "picture-first": replace(PICTURE_FIRST, network=partial(picture_cnn, channels=(4, 6, 4), hidden=8)),
    "picture-final": replace(PICTURE_FINAL, network=partial(picture_cnn, channels=(8, 8, 8), hidden=32)),
    "picture-best": PICTURE_BEST,
    "mel": replace(MEL, network=partial(MEL.network, channels=(6, 4, 6, 8), hidden=(8,))),
    "mel-best": MEL_BEST,
    "mlp": MLP,
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_trained_recipe_is_saved_as_textbook_layers_and_predicts_the_same_to_the_bit(name, tmp_path):
    recipe = RECIPES[name]
    data = random_examples(recipe.representation)
    classifier, _ = train_classifier(recipe, data, data, epochs=1, batch_size=4, lr=1e-4)
    path = classifier.save(tmp_path / "m")
    with safe_open(path, "pt") as file:
        header, names = json.loads(file.metadata()[model_files.HEADER]), set(file.keys())
    assert header["version"] == 2 and "network" in header
    assert {kind for kind, _ in header["network"]} <= {"Standardize", *(kind for kind in TORCH_LAYERS if getattr(nn, kind) is TORCH_LAYERS[kind])}
    loaded = GenreClassifier.load(path)
    for network in (classifier.network, loaded.network):
        assert type(network) is nn.Sequential
        assert all(type(layer) is Standardize or type(layer) is getattr(nn, type(layer).__name__, None) for layer in network)
    assert names == set(classifier.network.state_dict())
    before, after = classifier.predict_proba_examples(data.x), loaded.predict_proba_examples(data.x)
    np.testing.assert_array_equal(before, after)
    assert np.ptp(before[:, 0]) > 0  # not the same for every example


# --- shapes by arithmetic


def drawn(rng, kind):
    "Arguments of a layer and the shape of an example, of which many fit and some do not."
    c, h, w = rng.choice((1, 2, 4, 6)), rng.randint(1, 9), rng.randint(1, 9)
    two = lambda low, high: rng.choice((rng.randint(low, high), (rng.randint(low, high), rng.randint(low, high))))  # noqa: E731
    if kind == "Linear":
        return {"in_features": rng.randint(1, 3), "out_features": rng.randint(1, 4)}, (c, h, rng.randint(1, 3))[rng.randint(0, 2) :]
    if kind == "Conv2d":
        padding = rng.choice((0, two(0, 3), "valid", "same"))
        arguments = {"in_channels": rng.choice((c, c, c, 2)), "out_channels": rng.choice((2, 4)), "kernel_size": two(1, 4), "padding": padding, "bias": rng.random() < 0.5}
        return arguments | {"stride": 1 if padding == "same" else two(1, 3), "dilation": two(1, 2), "groups": rng.choice((1, 1, 2)),
                            "padding_mode": rng.choice(("zeros", "zeros", "replicate"))}, (c, h, w)  # fmt: skip
    if kind in ("MaxPool2d", "AvgPool2d"):
        arguments = {"kernel_size": two(1, 4), "stride": rng.choice((None, two(1, 4))), "padding": two(0, 2), "ceil_mode": rng.random() < 0.5}
        return arguments | ({"dilation": two(1, 2)} if kind == "MaxPool2d" else {"count_include_pad": rng.random() < 0.5}), (c, h, w)
    if kind in ("AdaptiveAvgPool2d", "AdaptiveMaxPool2d"):
        return {"output_size": rng.choice((rng.randint(1, 9), (rng.randint(1, 9), None), (None, 2)))}, (c, h, w)
    if kind in ("BatchNorm1d", "BatchNorm2d", "InstanceNorm2d"):
        shape = (c, h, w) if kind == "InstanceNorm2d" else (c, h, w)[: rng.randint(1, 3)]
        return {"num_features": c if kind == "InstanceNorm2d" else rng.choice((c, c, 2)), "affine": rng.random() < 0.5}, shape
    if kind == "LayerNorm":
        shape = (c, h, w)[: rng.randint(1, 3)]
        return {"normalized_shape": rng.choice((shape, shape[-1:], shape[-2:], (2,), 4)), "elementwise_affine": rng.random() < 0.5}, shape
    if kind == "GroupNorm":
        return {"num_groups": rng.choice((1, 2, 3)), "num_channels": rng.choice((c, c, 6))}, (c, h, w)[: rng.randint(1, 3)]
    if kind == "Flatten":
        return {"start_dim": rng.randint(-4, 4), "end_dim": rng.randint(-4, 4)}, (c, h, w)[: rng.randint(1, 3)]
    if kind == "Unflatten":
        shape = rng.choice(((12,), (12, 3), (2, 12, 3)))
        return {"dim": rng.choice((-2, -1, 1, 2, 3)), "unflattened_size": rng.choice(((3, 4), (12,), (2, -1), (2, 3, 2), (5, -1), (3,), (1, 3)))}, shape
    return {}, (c, h, w)[: rng.randint(1, 3)]


def shape_or_none(function, *refusals):
    "What a function gives, or None where it refuses."
    try:
        return tuple(function())
    except refusals:
        return None


@pytest.mark.parametrize("kind", TORCH_LAYERS)
@pytest.mark.filterwarnings("ignore")
def test_the_arithmetic_of_shapes_agrees_with_pytorch(kind):
    "300 layers of each kind on shapes that fit, and on shapes that do not."
    rng, fitted, refused = random.Random(kind), 0, 0
    for _ in range(300):
        arguments, shape = drawn(rng, kind)
        try:
            layer = TORCH_LAYERS[kind](**arguments).eval()
        except (ValueError, RuntimeError):
            continue  # PyTorch does not make it, and so `build_network` does not
        real = shape_or_none(lambda: layer(torch.zeros(7, *shape)).shape[1:], RuntimeError, ValueError, IndexError)  # noqa: B023
        ours = shape_or_none(lambda: layer_shape(layer, shape)[0], ValueError)  # noqa: B023
        if kind == "InstanceNorm2d" and shape[1:] == (1, 1):
            continue  # of one number there is no variance; `filled_network` tries it
        if kind in ("Flatten", "Unflatten") and not touches_examples_alone(layer, shape):
            assert ours is None  # the batch would be flattened too
            continue
        assert ours == real, f"{layer} on {shape}: {ours}, and PyTorch {real}"
        fitted, refused = fitted + (real is not None), refused + (real is None)
    assert fitted > 30 and (refused > 5 or TORCH_LAYERS[kind] in model_files.ELEMENTWISE or kind in ("AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "InstanceNorm2d"))


def touches_examples_alone(layer, shape):
    "Whether a Flatten or Unflatten leaves dimension 0, the batch, alone."
    dims = (layer.start_dim, layer.end_dim) if isinstance(layer, nn.Flatten) else (layer.dim,)
    return all(dim % (len(shape) + 1) > 0 for dim in dims)


@pytest.mark.parametrize("layer, shape", [
    (nn.MaxPool2d(2), (4, 4)), (nn.AdaptiveAvgPool2d(1), (4, 4)), (nn.BatchNorm2d(4), (4, 4)), (nn.Conv2d(4, 2, 1), (4, 4)), (nn.MaxPool2d(2), ()),
    (nn.Linear(4, 2), ()), (nn.MaxPool2d(2, return_indices=True), (1, 4, 4)), (Standardize((2, 3)), (3,)), (Standardize((4,)), (3,)), (nn.Flatten(0), (4, 4))])  # fmt: skip
def test_shapes_that_would_take_the_batch_for_something_else_are_refused(layer, shape):
    with pytest.raises(ValueError):
        layer_shape(layer, shape)


@pytest.mark.parametrize("kind", ["Conv2d", "MaxPool2d", "AvgPool2d"])
@pytest.mark.parametrize("name, value", [("stride", 0), ("stride", (1, 0)), ("stride", -1), ("padding", -1), ("kernel_size", 0), ("kernel_size", 2.0), ("padding", True),
                                         ("dilation", 0), ("groups", 0), ("groups", -1), ("groups", 3), ("kernel_size", (2, 2, 2)), ("padding", "half")])  # fmt: skip
def test_windows_that_no_layer_has_are_refused(kind, name, value):
    layer = {"Conv2d": partial(nn.Conv2d, 2, 2), "MaxPool2d": nn.MaxPool2d, "AvgPool2d": nn.AvgPool2d}[kind](2)
    if hasattr(layer, name):
        layer_shape(layer, (2, 8, 8))
        setattr(layer, name, value)
        with pytest.raises(ValueError):
            layer_shape(layer, (2, 8, 8))


# --- forged files


def written(tmp_path, network, tensors=None, version=2, **representation):
    "A model file with this description, as an attacker would write it."
    header = {"version": version, "network": network, "representation": {"kind": "summary"} | representation, "genres": ["jazz", "rock"], "settings": {}}
    save_file(tensors or {"x": torch.zeros(1)}, tmp_path / "m", metadata={model_files.HEADER: json.dumps(header)})
    return tmp_path / "m"


ONE_PIXEL, END = ["Unflatten", {"dim": 1, "unflattened_size": [26, 1, 1]}], [["AdaptiveAvgPool2d", {"output_size": 1}], ["Flatten", {}]]
CONV = {"in_channels": 26, "out_channels": 2, "kernel_size": 1}
PICTURE = {"kind": "picture", "size": (1000, 1000), "channels": 2}
ATTACKS = {  # description, representation, what is said
    "groups of GroupNorm": ([["GroupNorm", {"num_groups": 0, "num_channels": 26}]], {}, "cannot be made"),
    "groups": ([ONE_PIXEL, ["Conv2d", CONV | {"groups": 0}], *END], {}, "groups"),
    "fast layer": ([["Unflatten", {"dim": 1, "unflattened_size": [1, 1, 26]}], ["PatchConv2d", {"conv": 1}]], {}, "unknown layer 'PatchConv2d'"),
    "other fast layer": ([["PrePoolConv2d", {"conv": ["Conv2d", CONV]}]], {}, "unknown layer 'PrePoolConv2d'"),
    "stride": ([ONE_PIXEL, ["Conv2d", CONV | {"stride": 0}], *END], {}, "stride"),
    "stride of pooling": ([ONE_PIXEL, ["MaxPool2d", {"kernel_size": 1, "stride": 0}], *END], {}, "stride 0 is no whole number"),
    "padding": ([ONE_PIXEL, ["Conv2d", CONV | {"padding": [10000, 10000]}], *END], {}, "too much memory or work"),
    "padded copy": ([["Conv2d", {"in_channels": 2, "out_channels": 2, "kernel_size": 1, "stride": 60001, "padding": 30000, "padding_mode": "replicate"}], *END],
                    PICTURE, "too much memory"),
    "large picture": ([*END], {"kind": "picture", "seconds": 0.1, "size": (10000, 10000)}, "too large"),
    "pooled upwards": ([["AdaptiveMaxPool2d", {"output_size": 9000}], *END], PICTURE, "too much memory or work"),
    "work of pooling": ([["AvgPool2d", {"kernel_size": 501, "stride": 1, "padding": 250}], *END], PICTURE, "too much memory or work"),
    "work of convolutions": ([["Conv2d", {"in_channels": 2, "out_channels": 2, "kernel_size": 101}], *END], PICTURE, "too much memory or work"),
    "work of activations": ([["GELU", {}]] * 400 + END, PICTURE | {"size": (5000, 5000)}, "too much memory or work"),
    "layers": ([["Identity", {}]] * 501, {}, "501 layers are too many"),
    "rows of layers": ([["Sequential", []]] * 300_000, {}, "300000 layers are too many"),
    "rows in rows": ([["Sequential", [["Sequential", []]] * 100]] * 5, {}, "505 layers are too many"),
    "statistics": ([["Standardize", {"shape": [10**12]}]], {}, "does not fit"),
    "no inputs": ([["Linear", {"in_features": 0, "out_features": 2}]], {}, "does not fit"),
    "other inputs": ([["Linear", {"in_features": 25, "out_features": 2}]], {}, "a Linear of 25 inputs does not fit"),
    "outputs": ([["Linear", {"in_features": 26, "out_features": 3}]], {}, "not to 2 genres"),
    "a number too large": ([["Linear", {"in_features": 26, "out_features": 2**70}]], {}, "fit"),
    "no weights": ([["Linear", {"in_features": 26, "out_features": 2}]], {}, "fit"),
    "a number as a word": ([["Linear", {"in_features": "26", "out_features": 2}]], {}, "fit"),
    "flattened batch": ([["Flatten", {"start_dim": 0}]], {}, "Flatten"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.filterwarnings("error")
def test_forged_models_get_one_line_quickly(name, tmp_path):
    network, representation, said = ATTACKS[name]
    path, start = written(tmp_path, network, **representation), time.perf_counter()
    with pytest.raises(ModelError, match=said) as caught:
        GenreClassifier.load(path)
    assert "\n" not in str(caught.value) and time.perf_counter() - start < 10


def test_a_model_file_of_version_1_says_so(tmp_path):
    tensors = {"0.weight": torch.zeros(2, 26), "0.bias": torch.zeros(2)}
    path = written(tmp_path, [["Linear", {"in_features": 26, "out_features": 2}]], tensors, version=1)
    with pytest.raises(ModelError, match="has version 1, this package reads version 2; train the model again") as caught:
        GenreClassifier.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_are_read(dtype, tmp_path):
    tensors = {"0.weight": torch.randn(2, 26, generator=torch.Generator().manual_seed(0)), "0.bias": torch.ones(2)}
    path = written(tmp_path, [["Linear", {"in_features": 26, "out_features": 2}]], {name: t.to(dtype) for name, t in tensors.items()})
    network = GenreClassifier.load(path).network
    assert network[0].weight.dtype == torch.float32 and torch.equal(network[0].weight, tensors["0.weight"].to(dtype).float())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value, tmp_path):
    tensors = {"0.weight": torch.full((2, 26), value), "0.bias": torch.ones(2)}
    with pytest.raises(ModelError, match="not finite"):
        GenreClassifier.load(written(tmp_path, [["Linear", {"in_features": 26, "out_features": 2}]], tensors))


def test_limits_are_counted_over_all_layers(monkeypatch):
    network = nn.Sequential(nn.Linear(10, 20), nn.Sequential(nn.Linear(20, 2)))
    check_shapes(network, (10,), 2)
    for most, limit in (("MOST_PRODUCTS", 10 * 20 + 20 + 20 * 2 + 2), ("MOST_ACTIVATIONS", 20)):
        monkeypatch.setattr(model_files, most, limit)
        check_shapes(network, (10,), 2)
        monkeypatch.setattr(model_files, most, limit - 1)
        with pytest.raises(ValueError, match="too much memory or work"):
            check_shapes(network, (10,), 2)
        monkeypatch.undo()
    description = describe_network(network)
    filled_network(description, network.state_dict(), (10,), 2)
    monkeypatch.setattr(model_files, "MOST_LAYERS", 2)
    with pytest.raises(ValueError, match="3 layers are too many"):
        filled_network(description, network.state_dict(), (10,), 2)

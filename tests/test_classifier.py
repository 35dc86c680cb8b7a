"Model files: what is written comes back, and what is no model never gets in."

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from genre_nbs.classifier import GenreClassifier, train_classifier
from genre_nbs.datasets import DataError, Representation, load_examples
from genre_nbs.io import model_files as room
from genre_nbs.io.model_files import ModelError, build_network, describe_network
from genre_nbs.mlp import MLP
from genre_nbs.networks import Standardize


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
    save_file(tensors, tmp_path / "forged", metadata={room.HEADER: json.dumps(header)})
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

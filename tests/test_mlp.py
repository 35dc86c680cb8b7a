"The multilayer perceptron and its recipes."

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from genre_nbs.classifier import init_network, train_recipe
from genre_nbs.datasets import load_examples
from genre_nbs.mlp import MLP, MLP_ATHENS, SECOND, mlp
from genre_nbs.networks import Standardize


def test_layers_and_parameters():
    network = mlp((26,), 10)
    assert [type(layer) for layer in network] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert [(layer.in_features, layer.out_features) for layer in network[::2]] == [(26, 128), (128, 32), (32, 10)]
    assert sum(p.numel() for p in network.parameters()) == 7914
    assert network(torch.zeros(5, 26)).shape == (5, 10)


def test_dropout_and_other_shapes():
    network = mlp((21, 128), 4, hidden=(7,), dropout=0.25)
    assert [type(layer) for layer in network] == [nn.Flatten, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert network[3].p == 0.25 and network(torch.zeros(2, 21, 128)).shape == (2, 4)
    assert [type(layer) for layer in mlp((3,), 2, hidden=())] == [nn.Linear]


def test_the_course_recipe_is_the_course():
    s = MLP_ATHENS.settings
    assert (s["optimizer"], s["lr"], s["epochs"], s["batch_size"], s["label_smoothing"]) == ("SGD", 0.002, 30, 16, 0.0)
    assert not MLP_ATHENS.standardize and MLP_ATHENS.name == "mlp-athens" and MLP_ATHENS.representation == SECOND
    assert SECOND.shape == (26,)


def test_the_default_recipe_standardises_and_drops_out():
    rng = np.random.default_rng(0)
    examples = type("E", (), {"x": rng.normal(5, 3, (40, 26)).astype(np.float32), "genres": tuple("abcd")})
    network = init_network(MLP, examples)
    assert isinstance(network[0], Standardize) and MLP.name == "mlp"
    assert sum(isinstance(layer, nn.Dropout) for layer in network) == 2
    torch.testing.assert_close(network[0](torch.tensor(examples.x)).mean(0), torch.zeros(26), atol=1e-5, rtol=0)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif("GENRE_NBS_DATA" not in os.environ, reason="GENRE_NBS_DATA is not set")
def test_the_default_recipe_on_the_course_data():
    root = Path(os.environ["GENRE_NBS_DATA"]) / "athens_mfcc"
    train, valid = (load_examples(root / part / "mfccs", MLP.representation) for part in ("train", "val"))
    _, history = train_recipe(MLP, train, valid, seed=0, device="cpu")
    assert history.table.valid_accuracy[history.best_epoch - 1] > 0.70
    assert history.table.valid_accuracy[9:].min() > 0.66

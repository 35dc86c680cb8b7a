"Mel windows: the network that bursts, the padded one, masks, and the recipes from the command line."

import json
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from genre_nbs.app.cli import app
from genre_nbs.app.recipes import find_recipe
from genre_nbs.classifier import GenreClassifier, train_recipe
from genre_nbs.datasets import Examples
from genre_nbs.fast import conv as convolutions
from genre_nbs.fast.conv import PrePoolConv2d
from genre_nbs.mel_cnn import MEL, MEL_BEST, WINDOW, four_genres, mask_and_eq, mel_cnn, mel_cnn_best, segment_and_track_scores, unpadded_cnn
from genre_nbs.training import fit

GENRES = ("blues", "classical")


def windows(n=40, seed=0):
    "Windows in dB, as loud as real ones; the second genre has a held band."
    rng = np.random.default_rng(seed)
    x = rng.normal(-43, 14, (n, 21, 128)).clip(-80, 0).astype(np.float32)
    y = np.arange(n) // 4 % 2
    x[y == 1, :, 30:50] = -5
    return Examples(x, y, np.array([f"song {i // 4}" for i in range(n)]), GENRES)


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_sizes_are_those_of_the_course():
    assert parameters(unpadded_cnn((21, 128), 4)) == 73_941_540
    assert parameters(mel_cnn((21, 128), 4)) == 1_589_796
    assert parameters(mel_cnn_best((21, 128), 4)) < 170_000
    for network in (unpadded_cnn, mel_cnn, mel_cnn_best):
        assert network((21, 128), 3)(torch.randn(2, 21, 128)).shape == (2, 3)


def as_the_course_had_it(network):
    "The same layers with the same weights as PyTorch's own, ReLU in front of pooling."
    layers = [*network]
    for i, layer in enumerate(network):
        if type(layer) is PrePoolConv2d:
            layers[i] = torch.nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, padding=layer.padding)
            layers[i].load_state_dict(layer.state_dict())
        if type(layer) is torch.nn.MaxPool2d:
            layers[i : i + 2] = network[i + 1], layer
    return torch.nn.Sequential(*layers)


@pytest.mark.parametrize("optimizer, lr", [("SGD", 0.002), ("AdamW", 0.0003)])
@pytest.mark.parametrize("network", [mel_cnn, mel_cnn_best])
def test_training_is_that_of_the_course(network, optimizer, lr, monkeypatch):
    monkeypatch.setattr(convolutions, "FEW_PRODUCTS", 0)
    torch.manual_seed(0)
    before = network((21, 128), 2, dropout=0.0)
    ours, usual = deepcopy(before), as_the_course_had_it(deepcopy(before))
    assert [type(layer) for layer in ours].count(PrePoolConv2d) == (3 if network is mel_cnn else 0)
    tables = [fit(n, windows(), windows(20, seed=1), optimizer=optimizer, lr=lr, epochs=2, device="cpu").table for n in (ours, usual)]
    np.testing.assert_allclose(*(table.drop(columns="seconds") for table in tables), rtol=1e-3)
    for name, old in before.state_dict().items():
        steps = [n.state_dict()[name] - old for n in (ours, usual)]
        torch.testing.assert_close(*steps, rtol=0.02, atol=0.02 * float(steps[1].abs().max()))
        if network is mel_cnn_best:  # the order of ReLU and pooling alone changes nothing
            assert torch.equal(*steps)


@pytest.mark.parametrize(("network", "shape"), [(unpadded_cnn, (16, 128)), (unpadded_cnn, (21, 15)), (mel_cnn, (15, 128)), (mel_cnn, (21, 8))])
def test_a_window_too_small_is_refused(network, shape):
    with pytest.raises(ValueError, match="window of"):
        network(shape, 4)


def test_the_unpadded_network_bursts_in_decibels_and_is_recorded():
    torch.manual_seed(0)
    network = unpadded_cnn((21, 128), 2, hidden=(64, 32))
    history = fit(network, windows(160), windows(20, seed=1), optimizer="SGD", lr=0.002, epochs=3, batch_size=16, device="cpu")
    assert history.diverged_at == 1 and history.best_epoch == 0
    assert all(torch.isfinite(p).all() for p in network.parameters())  # the weights from before training are back


def test_standardised_inputs_alone_save_it():
    recipe = replace(MEL, network=lambda shape, n: unpadded_cnn(shape, n, hidden=(64, 32)), standardize=True)
    _, history = train_recipe(recipe, windows(160), windows(20, seed=1), epochs=1, device="cpu")
    assert history.diverged_at is None


def test_the_better_network_learns_a_held_band():
    network, history = train_recipe(MEL_BEST, windows(80), windows(40, seed=1), epochs=4, device="cpu")
    assert max(row["valid_accuracy"] for row in history.rows) > 0.9


def test_masks_and_tone():
    x = torch.from_numpy(windows(64).x)
    before = x.clone()
    calm = mask_and_eq(x, torch.Generator().manual_seed(0), bands=0, moments=0, tone=0)
    assert torch.equal(calm, x)
    masked = mask_and_eq(x, torch.Generator().manual_seed(0), tone=0)
    assert torch.equal(x, before) and masked.shape == x.shape
    changed = masked != x
    bands, moments = changed.all(1), changed.all(2)
    assert 16 < bands.sum(1).max() <= 32 and 5 < moments.sum(1).max() <= 10  # two stripes of each
    assert torch.allclose(masked[changed], x.mean((1, 2))[:, None, None].expand_as(x)[changed])
    louder = mask_and_eq(x, torch.Generator().manual_seed(0), bands=0, moments=0, tone=8.0) - x
    assert 4 < louder.abs().max() <= 8 and torch.allclose(louder[:, 0], louder[:, 20], atol=1e-5) and louder[:, 0].std(1).min() > 0


def test_four_genres():
    tracks = pd.DataFrame({"path": list("abcde"), "genre": ["rock", "metal", "jazz", "blues", "hiphop"], "track": list("abcde")}, index=range(5, 10))
    kept = four_genres(tracks)
    assert kept.genre.tolist() == ["rock", "rock", "blues", "hiphop"] and kept.index.tolist() == [0, 1, 2, 3] and tracks.genre[6] == "metal"


def test_windows_and_songs():
    track, y = ["a", "a", "a", "b", "b", "b"], [0, 0, 0, 1, 1, 1]
    right, wrong = [0.9, 0.1], [0.2, 0.8]
    runs = [
        {"proba": [right, right, wrong, wrong, wrong, wrong], "y": y, "track": track, "train_accuracy": 1.0},
        {"proba": [right, wrong, wrong, wrong, right, right], "y": y, "track": track, "train_accuracy": 0.5},
    ]
    summary = segment_and_track_scores(runs, GENRES)
    assert summary["window"] == pytest.approx((5 / 6 + 2 / 6) / 2) and summary["song"] == pytest.approx((1 + 0) / 2)
    assert summary["train"] == 0.75 and summary["seeds"] == 2 and summary["window spread"] == pytest.approx(np.std([5 / 6, 2 / 6], ddof=1))
    assert summary["song low"] < summary["song"] < summary["song high"]
    assert np.isnan(segment_and_track_scores(runs[:1], GENRES)["window spread"])


@pytest.mark.parametrize("name", ["mel", "mel-best"])
def test_from_the_command_line(name, tmp_path):
    data = windows()
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "X.npy", data.x)
    np.save(tmp_path / "data" / "labels.npy", np.array(GENRES)[data.y])
    np.save(tmp_path / "data" / "tracks.npy", data.track)
    model = tmp_path / "m.safetensors"
    command = ["train", str(tmp_path / "data"), "--recipe", name, "--out", str(model), "--split", "track", "--epochs", "1", "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["n"] == 12
    loaded = GenreClassifier.load(model)
    assert loaded.representation == WINDOW == find_recipe(name).representation
    assert loaded.predict_proba_examples(data.x[:3]).shape == (3, 2)

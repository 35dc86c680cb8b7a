"Mel windows: the network that diverges, the padded one, masks, and the recipes from the command line."

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
from genre_nbs.fast.conv import PrePoolConv2d, accelerated
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


def test_sizes_are_those_of_the_athens_project():
    assert parameters(unpadded_cnn((21, 128), 4)) == 73_941_540
    assert parameters(mel_cnn((21, 128), 4)) == 1_589_796
    assert parameters(mel_cnn_best((21, 128), 4)) < 170_000
    for network in (unpadded_cnn, mel_cnn, mel_cnn_best):
        assert network((21, 128), 3)(torch.randn(2, 21, 128)).shape == (2, 3)


def small(network, seed=0):
    "A network for small windows, which trains in no time."
    torch.manual_seed(seed)
    return network((21, 32), 2, channels=(6, 4, 8), **({"hidden": (8,)} if network is mel_cnn else {"dropout": 0.0}))


def small_windows(n=24, seed=0):
    data = windows(n, seed)
    return replace(data, x=np.ascontiguousarray(data.x[:, :, 25:57]) / 20)


def same_steps(before, fast, slow, within=0.02):
    "Both have moved from where they began, and by the same steps to rounding."
    for (name, old), a, b in zip(before.state_dict().items(), fast.state_dict().values(), slow.state_dict().values(), strict=True):
        if old.is_floating_point():
            assert (b - old).abs().max() > 0, name
            torch.testing.assert_close(a - old, b - old, rtol=within, atol=within * float((b - old).abs().max()), msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("optimizer, lr", [("SGD", 0.02), ("Adam", 0.001), ("AdamW", 0.001), ("Adagrad", 0.003)])
@pytest.mark.parametrize("make", [mel_cnn, mel_cnn_best], ids=["mel", "mel-best"])
def test_training_is_that_of_the_textbook_network(make, optimizer, lr, fit_textbook, monkeypatch, tmp_path):
    monkeypatch.setattr(convolutions, "FEW_PRODUCTS", 0)
    before, fast, slow, resumed = small(make), small(make), small(make), small(make, seed=5)
    layers = [type(layer) for layer in accelerated(deepcopy(before))]
    assert layers.count(PrePoolConv2d) == (2 if make is mel_cnn else 0)  # of a normalised network, convolutions have no bias
    assert all(a is not torch.nn.ReLU or b is not torch.nn.MaxPool2d for a, b in zip(layers, layers[1:], strict=False))
    settings = dict(optimizer=optimizer, lr=lr, epochs=3, batch_size=8, device="cpu")
    tables = [train(n, small_windows(), small_windows(8, seed=1), **settings).table for train, n in ((fit, fast), (fit_textbook, slow))]
    np.testing.assert_allclose(*(table.drop(columns="seconds") for table in tables), rtol=1e-3)
    same_steps(before, fast, slow)
    assert str(fast) == str(before) and type(fast) is torch.nn.Sequential, "the network that comes back is made of textbook layers"

    def stop(x, generator, calls=[]):  # noqa: B006
        calls.append(1)
        if len(calls) == 5:  # in the second of three epochs
            raise KeyboardInterrupt
        return x

    with pytest.raises(KeyboardInterrupt):
        fit(small(make), small_windows(), small_windows(8, seed=1), augment=stop, checkpoint=tmp_path / "c", **settings)
    fit(resumed, small_windows(), small_windows(8, seed=1), augment=stop, checkpoint=tmp_path / "c", **settings)
    same_steps(before, resumed, slow)


def test_the_networks_of_the_recipes_are_accelerated_and_compute_the_same():
    for recipe, replaced in ((MEL, 3), (MEL_BEST, 0)):
        network = recipe.network((21, 128), 4).eval()
        fast = accelerated(network)
        assert [type(layer) for layer in fast].count(PrePoolConv2d) == replaced
        assert not any(type(a) is torch.nn.ReLU and type(b) is torch.nn.MaxPool2d for a, b in zip(fast, fast[1:], strict=False))
        x = torch.from_numpy(windows(8).x)
        torch.testing.assert_close(fast(x), network(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("network", "shape"), [(unpadded_cnn, (16, 128)), (unpadded_cnn, (21, 15)), (mel_cnn, (15, 128)), (mel_cnn, (21, 8))])
def test_a_window_too_small_is_refused(network, shape):
    with pytest.raises(ValueError, match="window of"):
        network(shape, 4)


def test_the_unpadded_network_diverges_in_decibels_and_that_is_recorded():
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


def test_masks_and_equalisation():
    x = torch.from_numpy(windows(64).x)
    before = x.clone()
    calm = mask_and_eq(x, torch.Generator().manual_seed(0), bands=0, frames=0, eq=0)
    assert torch.equal(calm, x)
    masked = mask_and_eq(x, torch.Generator().manual_seed(0), eq=0)
    assert torch.equal(x, before) and masked.shape == x.shape
    changed = masked != x
    bands, frames = changed.all(1), changed.all(2)
    assert 16 < bands.sum(1).max() <= 32 and 5 < frames.sum(1).max() <= 10  # two masks of each
    assert torch.allclose(masked[changed], x.mean((1, 2))[:, None, None].expand_as(x)[changed])
    louder = mask_and_eq(x, torch.Generator().manual_seed(0), bands=0, frames=0, eq=8.0) - x
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
    assert summary["train"] == 0.75 and summary["seeds"] == 2 and summary["window std"] == pytest.approx(np.std([5 / 6, 2 / 6], ddof=1))
    assert summary["song low"] < summary["song"] < summary["song high"]
    assert np.isnan(segment_and_track_scores(runs[:1], GENRES)["window std"])


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

"What a GPU must do as well: the same results with CUDA graphs as without, and no synchronisation at each step. Skipped where there is none."

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from genre_nbs.datasets import Examples
from genre_nbs.fast.cuda_graphs import graphed_gradients
from genre_nbs.many import fit_many
from genre_nbs.mel_cnn import mask_and_eq, mel_cnn, mel_cnn_best
from genre_nbs.networks import example_tensors, predict_proba
from genre_nbs.picture_cnn import picture_cnn
from genre_nbs.training import ELEMENTWISE_OPTIMIZERS, OPTIMIZERS, batch_gradients, epoch_seeds, fit, make_optimizer, train_epoch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
GENRES = ("blues", "classical", "metal")
CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def full_float32():
    "Convolutions round to fewer digits on a GPU (TF32) unless they are told not to."
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def examples(shape, n=90, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3)
    x = (rng.normal(size=(n, *shape)) + y.reshape(-1, *[1] * len(shape))).astype(np.float32)
    return Examples(x=x, y=y.astype(np.int64), track=np.array([f"song {i}" for i in range(n)]), genres=GENRES)


def mlp(seed=0, dropout=0.0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


def windows_network(seed=0, make=mel_cnn):
    torch.manual_seed(seed)
    return make((8, 16), 3, channels=(4, 8), **({"hidden": (8,)} if make is mel_cnn else {}))


NETWORKS = {"mlp": (mlp, (5,)), "mel": (windows_network, (8, 16))}


def near(one, other, atol=2e-4):
    for (key, value), twin in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(value.cpu(), twin.cpu(), rtol=1e-3, atol=atol, msg=lambda m, key=key: f"{key}: {m}")


@pytest.fixture
def replayed(monkeypatch):
    "Counts how often a CUDA graph is replayed."
    calls, replay = [], torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: calls.append(graph) or replay(graph))
    return calls


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_run_with_graphs_is_the_run_without(name, network, replayed, monkeypatch):
    make, shape = NETWORKS[network]
    data, held_out = examples(shape), examples(shape, seed=1)
    settings = {"optimizer": name, "epochs": 4, "batch_size": 8, "schedule": "cosine", "label_smoothing": 0.1, "device": "cuda"}
    history = fit(graphed := make(), data, held_out, **settings)
    graphs, times = len(set(replayed)), len(replayed)
    assert graphs == 2 + (name == "Muon")  # batches of 8 and the last one of 2, and Muon's matrices
    assert 0 <= (4 * 12 - 2 * 3) + (4 * 12 - 3) * (name == "Muon") - times <= 2  # a first call may wait for the GPU
    monkeypatch.setattr("genre_nbs.fast.cuda_graphs.WARMUP_ITERS", 10**9)
    expected = fit(eager := make(), data, held_out, **settings)
    assert len(replayed) == times
    near(graphed, eager, atol=1e-3)
    np.testing.assert_allclose(history.table.train_loss, expected.table.train_loss, rtol=1e-3)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_gpu_trains_as_the_processor_does(name, network):
    make, shape = NETWORKS[network]
    settings = {"optimizer": name, "epochs": 2, "batch_size": 8}
    fit(one := make(), examples(shape), device="cuda", **settings)
    fit(other := make(), examples(shape), device="cpu", **settings)
    near(one, other, atol=5e-3)
    assert all((value.cpu() - first).abs().max() > 1e-6 for value, first in zip(one.state_dict().values(), make().state_dict().values(), strict=True))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", ELEMENTWISE_OPTIMIZERS)
def test_each_network_of_a_stack_equals_its_lone_run(name, network):
    make, shape = NETWORKS[network]
    data, held_out, seeds = examples(shape), examples(shape, seed=1), [4, 0, 7]
    settings = {"optimizer": name, "epochs": 2, "device": "cuda", "batch_size": 8, "schedule": "cosine", "label_smoothing": 0.1}
    stacked, lone = [make(seed) for seed in seeds], [make(seed) for seed in seeds]
    histories = fit_many(stacked, data, held_out, seeds=seeds, **settings)
    for one, twin, seed, history in zip(stacked, lone, seeds, histories, strict=True):
        expected = fit(twin, data, held_out, seed=seed, **settings)
        near(one, twin)
        np.testing.assert_allclose(history.table.drop(columns="seconds"), expected.table.drop(columns="seconds"), atol=1e-3)


def test_a_stack_with_batch_normalisation_equals_its_lone_runs_and_needs_no_graph(replayed):
    data, make = examples((8, 16)), partial(windows_network, make=partial(mel_cnn_best, dropout=0.0))
    settings = {"optimizer": "SGD", "lr": 0.01, "epochs": 3, "device": "cuda", "batch_size": 8}
    stacked, lone = [make(seed) for seed in (0, 1)], [make(seed) for seed in (0, 1)]
    fit_many(stacked, data, cuda_graph=False, **settings)
    assert not replayed
    for seed, (one, twin) in enumerate(zip(stacked, lone, strict=True)):
        fit(twin, data, seed=seed, **settings)
        near(one, twin)


def test_dropout_draws_new_numbers_at_each_replay():
    network = mlp(dropout=0.5).to(CUDA).train()
    backward = graphed_gradients(batch_gradients, network)
    x, y = example_tensors(examples((5,), n=8), CUDA)
    logits = [backward(network, x, y, 0.0) for _ in range(8)]
    assert len({tuple(a.flatten().tolist()) for a in logits}) == 8


def test_batch_normalisation_and_augmentation_are_as_without_graphs():
    data = examples((8, 16))
    augment = partial(mask_and_eq, bands=4, frames=2)
    graphed, eager = (windows_network(make=partial(mel_cnn_best, dropout=0.0)) for _ in range(2))
    for network, cuda_graph in ((graphed, True), (eager, False)):
        fit(network, data, epochs=3, optimizer="SGD", lr=0.01, batch_size=8, augment=augment, device="cuda", cuda_graph=cuda_graph)
    near(graphed, eager)
    assert any("running_mean" in key and bool(value.any()) for key, value in graphed.state_dict().items())


def test_pictures_stay_bytes_and_train():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = (rng.integers(0, 100, size=(60, 3, 64, 96)) + 70 * y[:, None, None, None]).astype(np.uint8)
    data = Examples(x=x, y=y, track=np.array([str(i) for i in range(60)]), genres=GENRES)
    torch.manual_seed(0)
    network = picture_cnn((3, 64, 96), 3, channels=(8, 16, 8), hidden=32)
    seen, pass_on = set(), network[0].forward
    network[0].forward = lambda x: seen.add(x.dtype) or pass_on(x)
    history = fit(network, data, optimizer="Adam", epochs=4, batch_size=10, device="cuda")
    assert seen == {torch.uint8}
    assert history.table.train_loss.iloc[-1] < history.table.train_loss.iloc[0]
    assert np.allclose(predict_proba(network, x).sum(1), 1, atol=1e-5)


def waits(name, n):
    "How often an epoch of n examples waits for the GPU, once the step is captured."
    network, data = mlp().to(CUDA), example_tensors(examples((5,), n=n), CUDA)
    optimizer, backward = make_optimizer(network, name), graphed_gradients(batch_gradients, network)
    train_epoch(network, optimizer, *data, 10, epoch_seeds(0, 1), backward=backward)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            train_epoch(network, optimizer, *data, 10, epoch_seeds(0, 2), backward=backward)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(w.message) for w in said)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "Adafactor"])  # PyTorch's Adafactor asks for norms at each step
def test_a_longer_epoch_does_not_wait_more_often(name):
    waits(name, 60)  # what is asked for once in a process
    assert waits(name, 60) == waits(name, 240) > 0


def test_a_network_that_synchronises_is_not_captured(replayed):
    class Asks(nn.Module):
        def forward(self, x):
            return x * float(x.sum() != 0)

    torch.manual_seed(0)
    network = nn.Sequential(Asks(), nn.Linear(5, 3), nn.Dropout(0.5))
    history = fit(network, examples((5,)), epochs=3, batch_size=8, device="cuda")
    assert np.isfinite(history.table.train_loss).all() and not replayed
    fit(mlp(dropout=0.5), examples((5,)), epochs=3, batch_size=8, device="cuda")
    assert replayed


def test_frozen_weights_stay(replayed):
    network = mlp()
    network[0].weight.requires_grad = False
    before = network[0].weight.clone()
    fit(network, examples((5,)), epochs=3, batch_size=8, device="cuda")
    assert torch.equal(network[0].weight.cpu(), before) and replayed and not torch.equal(network[3].weight.cpu(), mlp()[3].weight)


def test_a_resumed_run_goes_on(tmp_path):
    data, held_out = examples((5,)), examples((5,), seed=1)
    whole, cut = mlp(), mlp()
    settings = {"optimizer": "Adam", "batch_size": 8, "device": "cuda"}
    fit(whole, data, held_out, epochs=4, **settings)

    def stop(x, generator, seen=[0]):  # noqa: B006
        seen[0] += 1
        if seen[0] == 30: raise KeyboardInterrupt
        return x

    stop.__name__ = "stay"
    with pytest.raises(KeyboardInterrupt):
        fit(cut, data, held_out, epochs=4, checkpoint=tmp_path / "c.safetensors", augment=stop, **settings)
    again = mlp(seed=9)
    stop.__defaults__ = ([10**6],)
    fit(again, data, held_out, epochs=4, checkpoint=tmp_path / "c.safetensors", augment=stop, **settings)
    near(again, whole)

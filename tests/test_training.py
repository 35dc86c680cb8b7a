"The training loop beyond the lesson: bad input, resuming, equal bits, and the arithmetic against plain PyTorch and scikit-learn."

import os
import subprocess
import sys
import warnings
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler
from torch import nn

from genre_nbs.classifier import Recipe, init_network, train_recipe
from genre_nbs.datasets import Examples
from genre_nbs.fast.batches import batches
from genre_nbs.fast.cuda_graphs import CUDAGraphed
from genre_nbs.fast.muon import MuonWithAdamW, newton_schulz
from genre_nbs.many import Stack, fit_many, manual_forward, stacked_gradients
from genre_nbs.networks import Standardize, predict_logits, predict_proba, scores, standardizer
from genre_nbs.training import ELEMENTWISE_OPTIMIZERS, OPTIMIZERS, SCHEDULES, copy_weights, epoch_seeds, fit, make_optimizer, plot_history

GENRES = ("blues", "classical", "metal")


def examples(n=60, seed=0, features=5):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3)
    x = (rng.normal(size=(n, features)) + y[:, None]).astype(np.float32)
    return Examples(x=x, y=y.astype(np.int64), track=np.array([f"song {i}" for i in range(n)]), genres=GENRES)


def network(seed=0, features=5, dropout=0.3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(features, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))


def same_bits(a, b):
    a, b = copy_weights(a), copy_weights(b)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class PowerCut(Exception):
    pass


def cut_at(step):
    calls = []

    def augment(x, generator):
        calls.append(1)
        if len(calls) == step:
            raise PowerCut
        return x + 0.1 * torch.randn(x.shape, generator=generator)

    return augment


# --- the arithmetic


def test_one_epoch_of_sgd_is_that_of_a_plain_loop():
    data, model, twin = examples(), network(dropout=0), network(dropout=0)
    history = fit(model, data, optimizer="SGD", lr=0.1, epochs=1, batch_size=16, seed=7, device="cpu")
    order = torch.randperm(60, generator=torch.Generator().manual_seed(epoch_seeds(7, 1)[0]))
    x, y, total = torch.tensor(data.x), torch.tensor(data.y), 0.0
    for rows in order.split(16):
        loss = F.cross_entropy(twin(x[rows]), y[rows])
        gradients = torch.autograd.grad(loss, list(twin.parameters()))
        with torch.no_grad():
            for p, gradient in zip(twin.parameters(), gradients, strict=True):
                p -= 0.1 * gradient
        total += loss.item() * len(rows)
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    assert history.table.train_loss[0] == pytest.approx(total / 60, rel=1e-6)


@pytest.mark.parametrize("seen", [(0, 1, 2, 3), (0, 2), (1,)])
def test_scores_are_scikit_learns(seen):
    rng = np.random.default_rng(1)
    y, logits = rng.choice(seen, 50), rng.normal(size=(50, 4)).astype(np.float32)
    logits[:, 3] -= 100  # never predicted
    loss, accuracy, f1 = scores(torch.tensor(logits), torch.tensor(y)).tolist()
    assert accuracy == pytest.approx((logits.argmax(1) == y).mean())
    assert f1 == pytest.approx(f1_score(y, logits.argmax(1), average="macro"))
    assert loss == pytest.approx(F.cross_entropy(torch.tensor(logits), torch.tensor(y)).item())


def test_standardizer_is_scikit_learns():
    x = np.random.default_rng(0).normal([1, -30, 1e4], [1, 5, 1e-2], (700, 3))
    x = np.column_stack([x, np.full(700, 7.0)])
    layer, scaler = standardizer(x), StandardScaler().fit(x)
    np.testing.assert_allclose(layer.mean, scaler.mean_, rtol=1e-6)
    np.testing.assert_allclose(layer.std, scaler.scale_, rtol=1e-6)
    assert layer.std[3] == 1 and not list(layer.parameters())


def test_standardizer_of_pictures_by_channel():
    x = np.random.default_rng(0).integers(0, 256, (300, 3, 4, 5), np.uint8)
    layer = standardizer(x, axes=(0, 2, 3))
    assert layer.shape == (3, 1, 1)
    np.testing.assert_allclose(layer.mean.squeeze(), x.astype(float).mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(layer.std.squeeze(), x.astype(float).std((0, 2, 3)), rtol=1e-6)
    assert layer(torch.tensor(x)).dtype == torch.float32


CUTS = [(33, 8, [8, 8, 8, 9]), (32, 8, [8] * 4), (1, 8, [1]), (3, 1, [1, 1, 1]), (9, 8, [9]), (10, 8, [8, 2])]


@pytest.mark.parametrize(("n", "size", "expected"), CUTS)
@pytest.mark.parametrize("gathered", [True, False])
def test_batches_hold_each_example_once(n, size, expected, gathered, monkeypatch):
    if not gathered:
        monkeypatch.setattr("genre_nbs.fast.batches.GATHER_BYTES", 0)
    x, order = torch.arange(n)[:, None], torch.randperm(n)
    parts = list(batches(x, x[:, 0] * 10, order, size))
    assert [len(part) for part, _ in parts] == expected
    assert torch.equal(torch.cat([part[:, 0] for part, _ in parts]), order)
    assert torch.equal(torch.cat([labels for _, labels in parts]), order * 10)


def test_batch_normalisation_learns_from_one_example_more_than_a_batch():
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    assert len(fit(model, examples(33), batch_size=16, epochs=1, device="cpu").table) == 1


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_schedules_end_at_nothing_and_peak_at_one(name):
    factors = [SCHEDULES[name](p) for p in np.linspace(0, 1, 1001)]
    assert max(factors) == pytest.approx(1, abs=1e-4) and factors[-1] == pytest.approx(0, abs=1e-9) and min(factors) >= 0


def test_a_schedule_changes_the_steps():
    plain, curved = network(), network()
    fit(plain, examples(), epochs=3, device="cpu")
    fit(curved, examples(), epochs=3, schedule="cosine", device="cpu")
    assert not same_bits(plain, curved)


# --- bits and seeds


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_two_runs_agree_to_the_bit(name):
    settings = {"optimizer": name, "epochs": 2, "seed": 5, "device": "cpu"}
    first, second, other = network(), network(), network()
    fit(first, examples(), examples(seed=1), **settings)
    torch.manual_seed(99)  # what happened before makes no difference
    fit(second, examples(), examples(seed=1), **settings)
    fit(other, examples(), examples(seed=1), **settings | {"seed": 6})
    assert same_bits(first, second) and not same_bits(first, other)


def test_fit_leaves_the_random_number_generators_alone():
    model = network()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    fit(model, examples(), epochs=1, device="cpu")
    init_network(Recipe("r", None, lambda shape, k: nn.Linear(shape[0], k)), examples(), seed=1)
    assert torch.equal(torch.rand(4), expected)


def test_fit_leaves_the_examples_alone():
    data = examples()
    before = data.x.copy()

    def double(x, generator):
        return x.mul_(2)

    for size in (16, 60, 100):
        fit(network(), data, epochs=2, batch_size=size, augment=double, device="cpu")
    assert np.array_equal(data.x, before)


# --- the best checkpoint


def test_the_weights_at_the_end_are_those_of_the_best_epoch():
    train, valid, model = examples(30), examples(90, seed=1), network(dropout=0)
    history = fit(model, train, valid, lr=0.1, epochs=40, device="cpu", best_by="loss")
    assert 1 <= history.best_epoch < 40 and history.table.valid_loss.idxmin() + 1 == history.best_epoch
    loss = scores(predict_logits(model, torch.tensor(valid.x)), torch.tensor(valid.y))[0].item()
    assert loss == history.table.valid_loss.min() < history.table.valid_loss.iloc[-1]
    assert not model.training


@pytest.mark.parametrize("best_by", ["accuracy", "f1_macro"])
def test_of_equal_epochs_the_first_is_kept(best_by):
    history = fit(network(dropout=0), examples(), examples(6, seed=1), lr=0.05, epochs=30, best_by=best_by, device="cpu")
    assert history.best_epoch == history.table[f"valid_{best_by}"].idxmax() + 1
    assert (history.table[f"valid_{best_by}"] == history.best_score).sum() > 1  # there was a tie


def test_without_validation_the_last_epoch_is_kept():
    history = fit(network(), examples(), epochs=3, device="cpu")
    assert history.best_epoch == 3
    assert list(history.table) == ["epoch", "train_loss", "train_accuracy", "train_f1_macro", "seconds"]


# --- divergence


@pytest.mark.parametrize("with_valid", [True, False])
def test_a_divergence_is_recorded_and_the_weights_from_before_are_kept(with_valid):
    steps = iter(range(1000))

    def explode(x, generator):
        return x * (float("inf") if next(steps) >= 9 else 1)  # 4 steps an epoch: in the third

    valid, model, calm = examples(seed=1) if with_valid else None, network(), network()
    history = fit(model, examples(), valid, epochs=10, augment=explode, device="cpu", best_by="loss")
    assert history.diverged_at == 3 == len(history.table) and history.best_epoch == 2
    fit(calm, examples(), valid, epochs=2, device="cpu", best_by="loss")
    assert same_bits(model, calm)


def test_a_diverged_run_is_not_taken_up_again(tmp_path):
    settings = {"optimizer": "SGD", "lr": 1e30, "epochs": 5, "checkpoint": tmp_path / "c.safetensors", "device": "cpu"}
    first = fit(network(), examples(), **settings)
    again = fit(network(), examples(), **settings)
    assert first.diverged_at == again.diverged_at == 1 and len(again.table) == 1


# --- checkpoints


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_resumed_run_equals_the_undisturbed_one_to_the_bit(name, tmp_path):
    path = tmp_path / "deep" / "c.safetensors"
    data, held_out = examples(), examples(seed=1)
    settings = {"optimizer": name, "epochs": 5, "seed": 2, "schedule": "one-cycle", "device": "cpu"}
    whole = fit(undisturbed := network(), data, held_out, augment=cut_at(1000), **settings)
    with pytest.raises(PowerCut):
        fit(network(), data, held_out, augment=cut_at(10), checkpoint=path, **settings)
    parts = fit(resumed := network(seed=9), data, held_out, augment=cut_at(1000), checkpoint=path, **settings)
    assert same_bits(resumed, undisturbed) and parts.best_epoch == whole.best_epoch
    assert parts.table.drop(columns="seconds").equals(whole.table.drop(columns="seconds"))
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["Adam", "Adagrad"])
def test_a_checkpoint_leaves_open_how_the_optimizer_computes(name, tmp_path, monkeypatch):
    path, settings = tmp_path / "c.safetensors", {"optimizer": name, "epochs": 5, "seed": 3, "device": "cpu"}
    fit(whole := network(), examples(), augment=cut_at(1000), **settings)
    monkeypatch.setattr("genre_nbs.training.FUSED", {})  # as on a device that has no fused kernels
    with pytest.raises(PowerCut):
        fit(network(), examples(), augment=cut_at(10), checkpoint=path, **settings)
    monkeypatch.undo()
    made, make = [], make_optimizer
    monkeypatch.setattr("genre_nbs.training.make_optimizer", lambda *words: made.append(make(*words)) or made[-1])
    fit(resumed := network(9), examples(), augment=cut_at(1000), checkpoint=path, **settings)
    assert made[0].param_groups[0]["fused"]
    for value, twin in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True):
        torch.testing.assert_close(value, twin, rtol=1e-4, atol=1e-5)


def test_a_finished_run_is_only_read(tmp_path):
    path, calls = tmp_path / "c.safetensors", []

    def count(x, generator):
        calls.append(1)
        return x

    first = fit(a := network(), examples(), epochs=2, checkpoint=path, augment=count, device="cpu")
    done = len(calls)
    second = fit(b := network(seed=4), examples(), epochs=2, checkpoint=path, augment=count, device="cpu")
    assert len(calls) == done == 8 and same_bits(a, b) and first.rows == second.rows


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from test_training import examples, fit, network
steps = iter(range(1000))
def kill(x, generator):
    if next(steps) == 9: os.kill(os.getpid(), signal.SIGKILL)
    return x
fit(network(), examples(), examples(seed=1), epochs=4, seed=2, augment=kill, checkpoint={path!r}, device="cpu")
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_process_is_resumed_to_the_bit(tmp_path):
    path = str(tmp_path / "c.safetensors")
    code = KILLED.format(tests=os.path.dirname(__file__), path=path)
    assert subprocess.run([sys.executable, "-c", code], timeout=600).returncode == -9

    def kill(x, generator):
        return x

    history = fit(resumed := network(seed=1), examples(), examples(seed=1), epochs=4, seed=2, augment=kill, checkpoint=path, device="cpu")
    fit(undisturbed := network(), examples(), examples(seed=1), epochs=4, seed=2, device="cpu")
    assert len(history.table) == 4 and same_bits(resumed, undisturbed)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": 3}, "epochs: 2 there, 3 here"),
        ({"lr": 0.5}, "lr: None there, 0.5 here"),
        ({"optimizer": "SGD"}, "optimizer: 'Adam' there, 'SGD' here"),
        ({"seed": 8}, "seed: 0 there, 8 here"),
    ],
)
def test_the_checkpoint_of_another_run_is_refused(change, said, tmp_path):
    path = tmp_path / "c.safetensors"
    fit(network(), examples(), epochs=2, checkpoint=path, device="cpu")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=said):
        fit(network(), examples(), **{"epochs": 2, "checkpoint": path, "device": "cpu"} | change)
    assert path.read_bytes() == before


def test_the_checkpoint_of_other_data_or_another_network_is_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    fit(network(), examples(), epochs=2, checkpoint=path, device="cpu")
    for model, data in ((network(), examples(seed=3)), (network(dropout=0.1), examples())):
        with pytest.raises(ValueError, match="another run"):
            fit(model, data, epochs=2, checkpoint=path, device="cpu")


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "foreign"])
def test_a_damaged_checkpoint_is_said_to_be_one(damage, tmp_path):
    path = tmp_path / "c.safetensors"
    fit(network(), examples(), epochs=1, checkpoint=path, device="cpu")
    content = path.read_bytes()
    foreign = content.replace(b"genre_nbs_checkpoint", b"genre_nbs_chequepoin")
    path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"hello" * 99, "foreign": foreign}[damage])
    with pytest.raises(ValueError, match=r"c\.safetensors is no checkpoint, or is damaged"):
        fit(network(), examples(), epochs=1, checkpoint=path, device="cpu")


# --- bad input


def spoiled(value):
    data = examples()
    data.x[4, 2] = value
    return data


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train": examples().take(np.arange(0))}, "there are no training examples"),
        ({"valid": examples().take(np.arange(0))}, "there are no validation examples"),
        ({"train": spoiled(np.nan)}, r"1 of 60 training examples hold NaN or infinite numbers, the first is number 4 \(song 4\)"),
        ({"valid": spoiled(np.inf)}, "1 of 60 validation examples hold NaN"),
        ({"train": replace(examples(), y=examples().y + 1)}, "training label 3 has no genre: 0 to 2 stand for blues, classical, metal"),
        ({"train": replace(examples(), y=examples().y - 1)}, "training label -1 has no genre"),
        ({"train": replace(examples(), y=examples().y[:-1])}, "60 training examples, but 59 labels"),
        ({"valid": replace(examples(), genres=("blues", "metal", "classical"))}, "genres .* differ"),
        ({"optimizer": "Adum"}, "unknown optimizer 'Adum': choose one of Adadelta, Adagrad"),
        ({"optimizer_options": {"momentun": 0.9}}, "Adam cannot be made with .*momentun"),
        ({"lr": -1.0}, "learning rate"),
        ({"batch_size": 0}, "batch_size must be 1 or more, not 0"),
        ({"epochs": 0}, "epochs must be 1 or more, not 0"),
        ({"best_by": "f2"}, "unknown best_by 'f2'"),
        ({"schedule": "steep"}, "unknown schedule 'steep': choose one of cosine, one-cycle"),
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used here"),
        ({"device": "gramophone"}, "device 'gramophone' cannot be used here"),
        ({"seed": -1}, "non-negative"),
        ({"model": nn.Linear(5, 2)}, r"shape \(1, 2\), not \(1, 3\) for blues, classical, metal"),
        ({"model": nn.Linear(6, 3)}, r"cannot take examples of shape \(5,\)"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(change, said, tmp_path):
    arguments = {"model": network(), "train": examples(), "valid": examples(seed=1), "epochs": 1, "device": "cpu"}
    arguments["checkpoint"] = tmp_path / "c.safetensors"
    before = copy_weights(arguments["model"])
    with pytest.raises(ValueError, match=said):
        fit(**arguments | change)
    assert not list(tmp_path.iterdir())
    assert all(torch.equal(v, before[k]) for k, v in arguments["model"].state_dict().items())


# --- data and devices


def test_bytes_stay_bytes_until_the_network():
    seen = []

    class Look(nn.Module):
        def forward(self, x):
            seen.append(x.dtype)
            return x.float().flatten(1) / 255

    data = replace(examples(), x=np.random.default_rng(0).integers(0, 256, (60, 3, 2, 2), np.uint8))
    model = nn.Sequential(Look(), nn.Linear(12, 3))
    fit(model, data, data, epochs=1, device="cpu")
    predict_proba(model, data.x)
    assert set(seen) == {torch.uint8}


def test_arrays_that_may_not_be_written_are_fine(recwarn):
    data = examples()
    data.x.setflags(write=False)
    fit(network(), data, epochs=1, device="cpu")
    predict_proba(network(), data.x[::2])
    assert not [w for w in recwarn if "writable" in str(w.message)]


def test_probabilities_do_not_depend_on_the_batch_or_on_dropout():
    model, x = network(dropout=0.9).train(), examples().x.astype(np.float64)
    whole, parts = predict_proba(model, x, batch_size=1000), predict_proba(model, x, batch_size=7)
    np.testing.assert_allclose(whole, parts, atol=1e-6)
    np.testing.assert_allclose(whole.sum(1), 1, atol=1e-6)
    with pytest.raises(ValueError, match="no examples"):
        predict_proba(model, x[:0])


def test_progress_only_when_asked_and_on_standard_error(capsys):
    fit(network(), examples(), epochs=1, device="cpu")
    assert capsys.readouterr() == ("", "")
    fit(network(), examples(), epochs=1, device="cpu", progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "training" in err


def test_plot_history_draws_both_parts_and_the_best_checkpoint():
    history = fit(network(), examples(), examples(seed=1), epochs=3, device="cpu")
    ax = plot_history(history, "accuracy")
    drawn = {line.get_label(): line.get_ydata() for line in ax.lines}
    np.testing.assert_allclose(drawn["validation"], history.table.valid_accuracy)
    np.testing.assert_allclose(drawn["training"], history.table.train_accuracy)
    assert f"best checkpoint: epoch {history.best_epoch}" in drawn


# --- recipes


def test_a_recipe_trains_as_fit_does():
    def build(shape, k):
        return nn.Sequential(nn.Linear(shape[0], 4), nn.ReLU(), nn.Linear(4, k))

    recipe = Recipe("r", None, build, optimizer="AdamW", lr=0.01, epochs=9)
    data, held_out = examples(), examples(seed=1)
    model, history = train_recipe(recipe, data, held_out, seed=3, epochs=2, device="cpu")
    twin = init_network(recipe, data, seed=3)
    assert isinstance(twin[0], Standardize) and len(history.table) == 2
    fit(twin, data, held_out, optimizer="AdamW", lr=0.01, epochs=2, seed=3, device="cpu")
    assert same_bits(model, twin)
    assert not same_bits(model, init_network(recipe, data, seed=4))


def test_a_recipe_may_go_without_standardising():
    recipe = Recipe("r", None, lambda shape, k: nn.Linear(shape[0], k), standardize=False)
    assert [type(layer) for layer in init_network(recipe, examples())] == [nn.Linear]
    with pytest.raises(ValueError, match="no training examples"):
        train_recipe(recipe, examples().take(np.arange(0)))


def test_options_reach_the_optimizer():
    assert make_optimizer(network(), "SGD", 0.1, {"momentum": 0.9}).defaults["momentum"] == 0.9
    assert make_optimizer(network(), "Rprop").defaults["lr"] == OPTIMIZERS["Rprop"](network().parameters()).defaults["lr"]


# --- Muon


needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon to compare with")


def beside_pytorchs_muon(shape, native=True):
    "How far a weight has moved after three steps of our Muon, and its flattened matrix after those of `torch.optim.Muon`."
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(s)) for s in ((3, 3), shape, (4,), (3, 3))]
    theirs = torch.nn.Parameter(ours[1].detach().flatten(1).clone())
    before, step = theirs.detach().clone(), MuonWithAdamW(ours, lr=0.01, weight_decay=0.1, momentum=0.9)
    assert len(step.own) == (not native)
    reference = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for p in ours:
            p.grad = torch.randn_like(p)
        theirs.grad = ours[1].grad.flatten(1).clone()
        step.step()
        reference.step()
    return ours[1].detach().flatten(1) - before, theirs.detach() - before


@needs_muon
@pytest.mark.parametrize("shape", [(8, 16), (16, 8), (5, 5), (1, 7)])
def test_muon_takes_pytorchs_steps_to_the_bit_for_a_matrix(shape):
    moved, expected = beside_pytorchs_muon(shape)
    assert torch.equal(moved, expected) and moved.abs().min() > 0


@needs_muon
@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (12, 1, 2, 2), (40, 2, 3, 3), (1, 3, 5, 5)])
def test_muon_takes_a_convolution_kernel_as_its_flattened_matrix(shape):
    moved, expected = beside_pytorchs_muon(shape, native=False)
    assert (moved - expected).norm() < 1e-6 * expected.norm() > 0


@needs_muon
@pytest.mark.parametrize("shape", [(8, 16), (16, 8)])
def test_muon_of_an_older_pytorch_takes_the_same_steps(shape, monkeypatch):
    theirs = torch.optim.Muon
    monkeypatch.delattr(torch.optim, "Muon")
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(s)) for s in ((3, 3), shape, (3, 3))]
    twin = torch.nn.Parameter(ours[1].detach().clone())
    before, step, reference = twin.detach().clone(), MuonWithAdamW(ours, lr=0.01), theirs([twin], lr=0.01, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    assert step.own == [ours[1]]
    for _ in range(3):
        ours[1].grad = torch.randn(shape)
        twin.grad = ours[1].grad.clone()
        step.step(), reference.step()
    assert (ours[1] - twin).norm() < 1e-6 * (twin - before).norm()


@pytest.mark.parametrize("shape", [(8, 16), (16, 8), (10, 10), (3, 200)])
def test_newton_schulz_brings_singular_values_near_one_and_keeps_the_directions(shape):
    "Against the polar factor U V of the singular value decomposition; Jordan's coefficients leave singular values between 0.7 and 1.2."
    torch.manual_seed(0)
    update = torch.randn(shape)
    u, _, v = torch.linalg.svd(update, full_matrices=False)
    way = newton_schulz(update)
    assert way.dtype == update.dtype and way.shape == update.shape
    values = torch.linalg.svdvals(way)
    assert 0.6 < values.min() and values.max() < 1.25
    assert ((u.T @ way @ v.T).diag() > 0.6).all()
    assert newton_schulz(torch.zeros(shape)).abs().max() == 0  # no division by the norm of nothing


def test_muons_partner_is_adamw_for_the_first_and_the_last_matrix_and_for_all_that_is_none():
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(s)) for s in ((3, 3), (8, 16), (4,), (3, 3))]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    for p, q in zip(ours, theirs, strict=True):
        p.grad = q.grad = torch.randn_like(p)
    MuonWithAdamW(ours, lr=0.01).step()
    torch.optim.AdamW(theirs, lr=0.01).step()
    assert [torch.equal(p, q) for p, q in zip(ours, theirs, strict=True)] == [True, False, True, True]


@pytest.mark.parametrize("options, said", [({"momentum": 1.0}, "momentum must be in"), ({"momentum": -0.1}, "momentum must be in"), ({"ns_dtype": "bfloat16"}, "Muon cannot be made with .*ns_dtype")])
def test_muon_refuses_a_momentum_that_grows_and_options_that_it_has_not(options, said):
    with pytest.raises(ValueError, match=said):
        make_optimizer(network(), "Muon", options=options)


# --- CUDA graphs (tests/test_gpu.py has what needs a GPU)


def test_eager_runs_notice_synchronisation_and_pass_other_warnings_on(monkeypatch):
    class Stream:
        def wait_stream(self, other):
            pass

    modes = []
    fakes = {"Stream": Stream, "current_stream": Stream, "stream": lambda s: nullcontext(), "get_sync_debug_mode": lambda: 0}
    for name, fake in (fakes | {"set_sync_debug_mode": modes.append}).items():
        monkeypatch.setattr(torch.cuda, name, fake)

    def function(x, asks):
        if asks:
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        warnings.warn("another", stacklevel=1)
        return x + 1

    graphed = CUDAGraphed(function)
    with pytest.warns(UserWarning, match="another") as said:
        for asks in (True, True, False):
            assert torch.equal(graphed(torch.ones(2), asks), torch.full((2,), 2.0))
    assert len(said) == 3 and list(graphed.calls.values()) == [0, 1] and modes == ["warn", 0] * 3


# --- networks trained together


def stackable(seed=0, dropout=0.0):
    torch.manual_seed(seed)
    begin = [standardizer(examples().x), nn.Linear(5, 8), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*begin, nn.Unflatten(1, (2, 4)), nn.Flatten(), nn.LayerNorm(8), nn.Linear(8, 3))


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - set(ELEMENTWISE_OPTIMIZERS)))
def test_a_stack_refuses_optimizers_of_whole_matrices(name):
    with pytest.raises(ValueError, match=f"{name} works on whole matrices"):
        fit_many([stackable(), stackable(1)], examples(), optimizer=name, epochs=1, device="cpu")


def manual_network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(Standardize((5,)), nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("make", [stackable, manual_network])
@pytest.mark.parametrize("name", ELEMENTWISE_OPTIMIZERS)
def test_each_network_of_a_stack_equals_its_lone_run(name, make):
    data, held_out, seeds = examples(), examples(seed=1), [4, 0, 7]
    settings = {"optimizer": name, "epochs": 3, "device": "cpu", "batch_size": 7, "schedule": "cosine", "label_smoothing": 0.1}
    stacked, lone = [make(seed) for seed in seeds], [make(seed) for seed in seeds]
    histories = fit_many(stacked, data, held_out, seeds=seeds, **settings)
    for network, twin, seed, history in zip(stacked, lone, seeds, histories, strict=True):
        expected = fit(twin, data, held_out, seed=seed, **settings)
        for (key, value), other in zip(network.state_dict().items(), twin.state_dict().values(), strict=True):
            torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-5, msg=lambda m, key=key: f"{key}: {m}")
        assert history.best_epoch == expected.best_epoch and not network.training
        np.testing.assert_allclose(history.table.drop(columns="seconds"), expected.table.drop(columns="seconds"), atol=1e-4)
    assert not torch.equal(stacked[0][1].weight, stacked[1][1].weight)


@pytest.mark.parametrize("gathered", [True, False])
def test_a_stack_augments_each_network_with_its_own_random_numbers(gathered, monkeypatch):
    if not gathered:
        monkeypatch.setattr("genre_nbs.fast.batches.GATHER_BYTES", 0)
    settings = {"augment": cut_at(10**6), "epochs": 2, "device": "cpu"}
    fit_many(stacked := [stackable(0), stackable(0)], examples(), seeds=[1, 2], **settings)
    for network, seed in zip(stacked, (1, 2), strict=True):
        fit(twin := stackable(0), examples(), seed=seed, **settings)
        torch.testing.assert_close(network[1].weight, twin[1].weight, rtol=1e-4, atol=1e-5)


def test_one_network_of_a_stack_diverges_and_the_others_go_on():
    wild, calm, lone = stackable(0), stackable(1), stackable(1)
    with torch.no_grad():
        wild[7].weight.fill_(1e38)
    before = copy_weights(wild)
    first, second = fit_many([wild, calm], examples(), examples(seed=1), seeds=[0, 1], epochs=4, optimizer="SGD", lr=0.1, device="cpu")
    fit(lone, examples(), examples(seed=1), seed=1, epochs=4, optimizer="SGD", lr=0.1, device="cpu")
    assert first.diverged_at == 1 and len(first.table) == 1 and all(torch.equal(v, before[k]) for k, v in wild.state_dict().items())
    assert second.diverged_at is None and len(second.table) == 4
    torch.testing.assert_close(calm[1].weight, lone[1].weight, rtol=1e-4, atol=1e-5)


def test_dropout_differs_between_the_networks_of_a_stack():
    torch.manual_seed(0)
    stack = Stack([stackable(0, 0.5), stackable(0, 0.5)]).train()
    x = torch.tensor(examples().x).expand(2, -1, -1)
    assert not torch.equal(*stack(x))
    assert torch.equal(*stack.eval()(x))


def gradients_both_ways(models, x, target):
    "Gradients of our own backward pass and of autograd, with the same random numbers."
    found = []
    for manual in (True, False):
        stack = Stack(models).train()
        assert stack.manual
        stack.manual = manual
        torch.manual_seed(0)
        stacked_gradients(stack, x, target)
        found.append(stack.flat_params.grad.clone())
    return found


@pytest.mark.parametrize("front", [[], [nn.Flatten(), Standardize((5,))]])
def test_manual_gradients_are_those_of_autograd(front):
    models = [nn.Sequential(*front, nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.Dropout(0.5), nn.Linear(6, 3)) for _ in range(3)]
    x, target = torch.randn(3, 4, 5), torch.rand(3, 4, 3)
    manual, autograd = gradients_both_ways(models, x, target)
    assert autograd.abs().max() > 0.01 and torch.allclose(manual, autograd, atol=1e-6)


def test_manual_dropout_drops_its_fraction_and_scales_the_rest():
    torch.manual_seed(0)
    stack = Stack([nn.Sequential(nn.Linear(4, 1000), nn.Dropout(0.25), nn.Linear(1000, 2)) for _ in range(2)]).train()
    _, kept = manual_forward(stack, torch.randn(2, 3, 4))
    assert kept[1].unique().tolist() == pytest.approx([0, 1 / 0.75]) and 0.7 < (kept[1] > 0).float().mean() < 0.8
    assert torch.equal(kept[2] == 0, kept[1] == 0)
    stacked_gradients(stack, torch.randn(2, 3, 4), torch.rand(2, 3, 2))
    assert (stack.grads["0.bias"] == 0).float().mean() < 0.1  # a unit dropped for all three examples is rare


def test_dropout_of_all_units_gives_finite_numbers():
    histories = fit_many([nn.Sequential(nn.Linear(5, 4), nn.Dropout(1.0), nn.Linear(4, 3))], examples(), epochs=1, device="cpu")
    assert np.isfinite(histories[0].rows[0]["train_loss"])


@pytest.mark.parametrize("models", [
    [nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 3))], [nn.Sequential(nn.Linear(5, 3, bias=False))], [nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 3))]])
def test_other_layers_are_left_to_autograd(models):
    assert not Stack(models).manual


def test_only_like_networks_are_stacked():
    with pytest.raises(ValueError, match="different layers"):
        fit_many([nn.Sequential(nn.Linear(5, 3)), nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))], examples(), epochs=1, device="cpu")


@pytest.mark.parametrize(("change", "said"), [
    (lambda model: model[1].weight.requires_grad_(False), "frozen weights cannot be stacked"), (lambda model: model.__delitem__(slice(1, None)), "without weights")])
def test_networks_that_have_nothing_or_not_all_to_learn_are_not_stacked(change, said):
    models = [manual_network(0), manual_network(1)]
    for model in models[1:] if "frozen" in said else models:  # one frozen network is enough
        change(model)
    with pytest.raises(ValueError, match=said):
        Stack(models)


@pytest.mark.parametrize(("n", "seeds"), [(2, [1]), (0, None)])
def test_each_network_of_a_stack_needs_a_seed(n, seeds):
    with pytest.raises(ValueError, match="one seed for each network is needed"):
        fit_many([stackable(i) for i in range(n)], examples(), seeds=seeds, epochs=1, device="cpu")


@pytest.mark.parametrize("n, size, sizes", [(5, 2, [2, 3]), (3, 2, [3]), (4, 2, [2, 2]), (3, 1, [1, 1, 1]), (2, 2, [2]), (1, 2, [1]), (7, 3, [3, 4])])
def test_a_lone_last_example_joins_the_batch_before_it(n, size, sizes):
    x, y = torch.arange(n, dtype=torch.float32)[:, None], torch.arange(n)
    got = list(batches(x, y, torch.arange(n), size))
    assert [len(yb) for _, yb in got] == sizes
    assert torch.equal(torch.cat([yb for _, yb in got]), y)

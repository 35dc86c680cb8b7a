"The two convolutions: answers and slopes are those of `nn.Conv2d`, on every road that they take."

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import max_pool2d, relu

import genre_nbs.fast.conv as convolutions
from genre_nbs.datasets import Examples
from genre_nbs.fast.conv import PatchConv2d, PrePoolConv2d
from genre_nbs.io.model_files import build_network, describe_network
from genre_nbs.many import fit_many
from genre_nbs.picture_cnn import picture_cnn
from genre_nbs.training import fit

RNG = np.random.default_rng(0)

# --- the first layer


@pytest.mark.parametrize("n, stride, size", [(1, 6, (7, 7)), (5, 6, (288, 432)), (9, 3, (31, 40))])
def test_patch_conv_is_conv(n, stride, size):
    fast = PatchConv2d(3, 4, 7, stride, scale=1 / 255)
    usual = nn.Conv2d(3, 4, 7, stride)
    usual.load_state_dict(fast.state_dict())
    x = torch.from_numpy(RNG.integers(0, 256, (n, 3, *size), dtype=np.uint8))
    a, b = fast(x), usual(x.float() / 255)
    assert a.shape == b.shape and torch.allclose(a, b, atol=1e-5)
    weights = torch.randn(a.shape, generator=torch.Generator().manual_seed(0))
    (a * weights).sum().backward(), (b * weights).sum().backward()
    torch.testing.assert_close(fast.weight.grad, usual.weight.grad, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(fast.bias.grad, usual.bias.grad, rtol=1e-3, atol=1e-3)


def test_patch_conv_gives_slopes_of_its_input_when_asked():
    layer = PatchConv2d(1, 2, 7, 6)
    x = torch.randn(2, 1, 20, 20, requires_grad=True)
    usual = nn.Conv2d(1, 2, 7, 6)
    usual.load_state_dict(layer.state_dict())
    got, expected = (torch.autograd.grad(one(x).square().sum(), x)[0] for one in (layer, usual))
    assert got.abs().sum() > 0
    torch.testing.assert_close(got, expected)


def test_patch_conv_refuses_other_shapes():
    with pytest.raises(RuntimeError, match="expected pictures"):
        PatchConv2d(3, 4, 7, 6)(torch.zeros(1, 1, 20, 20))


def test_patches_laid_out_before_training_give_the_same():
    layer = PatchConv2d(3, 4, 7, 6, scale=1 / 255)
    x = torch.from_numpy(RNG.integers(0, 256, (5, 3, 31, 40), dtype=np.uint8))
    assert layer.unfold_patches(x).shape == (5, 5, 6, 49, 3) and layer.unfold_patches(x).dtype == torch.uint8
    assert torch.equal(layer(layer.unfold_patches(x)), layer(x))
    slopes = [torch.autograd.grad(layer(y).square().sum(), list(layer.parameters())) for y in (x, layer.unfold_patches(x))]
    for a, b in zip(*slopes, strict=True):
        assert torch.equal(a, b)


def test_many_pictures_are_judged_a_few_at_a_time(monkeypatch):
    layer = PatchConv2d(3, 4, 7, 6, scale=1 / 255)
    x = torch.from_numpy(RNG.integers(0, 256, (9, 3, 31, 40), dtype=np.uint8))
    expected, sizes, patches = layer(x), [], layer.patches
    monkeypatch.setattr(convolutions, "PICTURES_IN_PATCHES", 4)
    monkeypatch.setattr(layer, "patches", lambda few: sizes.append(len(few)) or patches(few))
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected)
    assert sizes == [4, 4, 1]


def test_a_layer_told_to_be_plain_lays_nothing_out():
    layer, x = PatchConv2d(3, 4, 7, 6), torch.zeros(2, 3, 31, 40, dtype=torch.uint8)
    layer.plain = True
    assert layer.unfold_patches(x) is x


def test_patches_are_not_held_where_they_are_too_large(monkeypatch):
    x = torch.zeros(2, 3, 31, 40, dtype=torch.uint8)
    monkeypatch.setattr(convolutions, "UNFOLD_BYTES", x.nbytes)
    assert PatchConv2d(3, 4, 7, 6).unfold_patches(x) is x
    assert PatchConv2d(3, 4, 7, 7).unfold_patches(x) is not x


# --- the layer in front of pooling


@pytest.fixture(autouse=True)
def own_road(monkeypatch):
    "Little work is done by ours, too."
    monkeypatch.setattr(convolutions, "FEW_PRODUCTS", 0)


@pytest.mark.parametrize(
    "threads, limit, own", [(1, 10**9, True), (2, 10**9, False), (2, 2 * 3 * 8 * 8 * 4 * 9, True), (2, 2 * 3 * 8 * 8 * 4 * 9 + 1, False)]
)
def test_little_work_of_several_threads_is_left_to_pytorch(monkeypatch, threads, limit, own):
    before = torch.get_num_threads()
    monkeypatch.setattr(convolutions, "FEW_PRODUCTS", limit)
    torch.set_num_threads(threads)
    try:
        assert (type(PrePoolConv2d(3, 4, 3)(torch.randn(2, 3, 8, 8)).grad_fn).__name__ == "SkipZerosBackward") == own
    finally:
        torch.set_num_threads(before)


def two_layers(in_channels, out_channels, size, padding=0):
    "The layer and PyTorch's own, with the same weights."
    ours, usual = PrePoolConv2d(in_channels, out_channels, size, padding), nn.Conv2d(in_channels, out_channels, size, padding=padding)
    usual.load_state_dict(ours.state_dict())
    return ours, usual


def slopes_of(layer, x, pooled=True):
    "Slopes of the input, the weight and the bias behind pooling and ReLU."
    x = x.detach().requires_grad_()
    out = layer(x)
    out = relu(max_pool2d(out, 2)) if pooled else out
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
    return torch.autograd.grad(out, (x, layer.weight, layer.bias), weights)


@pytest.mark.parametrize("threads", [1, 2])
def test_one_thread_needs_no_other(monkeypatch, threads):
    ours, _ = two_layers(3, 4, 3)
    before, started, start = torch.get_num_threads(), [], threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda thread: (started.append(thread), start(thread)))
    torch.set_num_threads(threads)
    try:
        slopes_of(ours, torch.randn(4, 3, 8, 8))
    finally:
        torch.set_num_threads(before)
    assert len(started) == threads - 1


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "n, shape, size, padding",
    [(1, (1, 8, 9), 3, 0), (5, (6, 15, 17), 3, 0), (3, (16, 9, 8), 5, 0), (2, (7, 6, 5), 1, 0)]
    + [(2, (3, 2, 16), 5, 2), (2, (4, 7, 6), 5, 1), (3, (2, 1, 2), 5, 4), (2, (3, 9, 9), 4, 2)],
)
@pytest.mark.parametrize("pooled", [True, False])
def test_zeros_skipped_change_nothing(threads, n, shape, size, padding, pooled):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        torch.manual_seed(0)
        ours, usual = two_layers(shape[0], 8, size, padding)
        x = torch.randn(n, *shape)
        for y in (x, x.to(memory_format=torch.channels_last)):
            assert torch.allclose(ours(y), usual(y), atol=1e-6)
            for got, expected in zip(slopes_of(ours, y, pooled), slopes_of(usual, y, pooled), strict=True):
                torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    finally:
        torch.set_num_threads(before)


def test_an_input_that_needs_no_slope():
    ours, usual = two_layers(3, 4, 3)
    x = torch.randn(2, 3, 8, 8)
    for layer in (ours, usual):
        max_pool2d(layer(x), 2).sum().backward()
    torch.testing.assert_close(ours.weight.grad, usual.weight.grad)
    torch.testing.assert_close(ours.bias.grad, usual.bias.grad)


def test_parts_of_pictures_and_slopes_with_gaps():
    ours, usual = two_layers(3, 4, 3)
    whole = torch.randn(4, 3, 16, 16)
    for layer in (ours, usual):
        layer(whole[::2, :, 1::2, :9]).backward(torch.ones(2, 4, 1, 7).expand(2, 4, 6, 7))
    torch.testing.assert_close(ours.weight.grad, usual.weight.grad, rtol=1e-4, atol=1e-4)


def test_no_pictures_give_slopes_of_zero():
    ours = PrePoolConv2d(3, 4, 3)
    ours(torch.zeros(0, 3, 8, 8)).sum().backward()
    assert ours.weight.grad.abs().sum() == 0 and ours.bias.grad.abs().sum() == 0


@pytest.mark.parametrize("size", [(3, 5), [3, 3], 3.0, True])
def test_only_square_kernels(size):
    with pytest.raises(ValueError, match="kernel_size"):
        PrePoolConv2d(3, 4, size)


@pytest.mark.parametrize("padding", [(1, 1), 1.0, True, "same", -1, 3])
def test_only_a_padding_smaller_than_the_kernel(padding):
    with pytest.raises(ValueError, match="padding must be"):
        PrePoolConv2d(3, 4, 3, padding)


def test_padding_is_described_and_built_again():
    layers = nn.Sequential(PrePoolConv2d(3, 4, 5, padding=2))
    again = build_network(describe_network(layers))
    assert again[0].padding == 2 and str(again) == str(layers) and "padding=2" in str(layers)


def test_what_cannot_be_skipped_is_left_to_pytorch(monkeypatch):
    ours, usual = two_layers(3, 4, 3)
    x = torch.randn(2, 3, 8, 8)
    with pytest.raises(RuntimeError, match="channels"):
        ours(torch.randn(2, 5, 8, 8))
    assert type(ours(x).grad_fn).__name__ == "SkipZerosBackward"
    monkeypatch.setattr(convolutions.SkipZeros, "apply", lambda *arguments: pytest.fail("own road taken"))
    with torch.no_grad():
        assert torch.equal(ours(x), usual(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x), usual(x))
    assert torch.equal(ours(x[0]), usual(x[0]))
    ours.plain = True
    assert torch.equal(ours(x), usual(x))
    ours.plain = False
    ours.requires_grad_(False)
    assert torch.equal(ours(x), usual(x))
    ours.requires_grad_(True)
    assert torch.equal(ours.double()(x.double()), usual.double()(x.double()))


def test_a_slope_that_is_not_a_number_is_not_lost():
    ours = PrePoolConv2d(1, 1, 3)
    x = torch.ones(1, 1, 4, 4, requires_grad=True)
    ours(x).backward(torch.tensor([[[[0.0, float("nan")], [0.0, 0.0]]]]))
    assert ours.weight.grad.isnan().all() and ours.bias.grad.isnan().all() and x.grad[0, 0, 0, 3].isnan() and x.grad[0, 0, 0, 0] == 0


# --- in a network


def pictures(n=12):
    "Noise in two genres."
    x = RNG.integers(0, 256, (n, 3, 64, 64), dtype=np.uint8)
    return Examples(x, np.arange(n) % 2, np.arange(n).astype(str), ("a", "b"))


def plain(network):
    "The same network with PyTorch's own convolutions and its usual memory format."
    for layer in network:
        if hasattr(layer, "plain"):
            layer.plain = True
    return network.to(memory_format=torch.contiguous_format)


def small(seed=0):
    "A small network with both layers."
    torch.manual_seed(seed)
    return picture_cnn((3, 64, 64), 2, (4, 6, 4), hidden=8)


def test_both_layers_are_described_and_built_again():
    network = small()
    again = build_network(describe_network(network))
    assert str(again) == str(network)
    again.load_state_dict(network.state_dict())
    x = torch.from_numpy(pictures().x)
    assert torch.equal(again.eval()(x), network.eval()(x))


@pytest.mark.parametrize("optimizer, lr", [("SGD", 1.0), ("Adam", 0.003), ("Adagrad", 0.003)])
def test_training_is_that_of_the_plain_network(optimizer, lr):
    data, settings = pictures(), dict(optimizer=optimizer, lr=lr, epochs=4, batch_size=4, device="cpu")
    before, fast, slow = small(), small(), plain(small())
    tables = [fit(network, data, **settings).table.drop(columns="seconds") for network in (fast, slow)]
    np.testing.assert_allclose(*tables, rtol=1e-3)
    for old, a, b in zip(before.state_dict().values(), fast.state_dict().values(), slow.state_dict().values(), strict=True):
        torch.testing.assert_close(a - old, b - old, rtol=0.02, atol=0.02 * float((b - old).abs().max()))


def test_augmented_pictures_are_not_laid_out_before():
    data, seen = pictures(), []
    fit(small(), data, data, epochs=1, batch_size=4, device="cpu", augment=lambda x, generator: seen.append(x.shape[1:]) or x)
    assert set(seen) == {(3, 64, 64)}


class Mirrored(nn.Module):
    "A network whose first layer does not see the pictures as they are."

    def __init__(self):
        super().__init__()
        self.layers = small()

    def forward(self, x):
        return self.layers[1:](self.layers[0](x.flip(3)))


def test_only_a_row_of_layers_is_given_patches():
    data = pictures()
    mirrored = replace(data, x=np.ascontiguousarray(data.x[..., ::-1]))
    settings = dict(optimizer="SGD", lr=0.1, epochs=2, batch_size=4, device="cpu")
    same, other = Mirrored(), small()
    assert torch.equal(same.layers[0].weight, other[0].weight)
    fit(same, data, **settings)
    fit(other, mirrored, **settings)
    for a, b in zip(same.layers.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW", "Adagrad", "SGD"])
def test_a_resumed_run_ends_as_one_that_was_not_stopped(optimizer, tmp_path):
    data, calls = pictures(), []
    settings = dict(optimizer=optimizer, lr=0.003, epochs=3, batch_size=4, device="cpu")

    def stop(x, generator):
        calls.append(len(x))
        if len(calls) == 7:
            raise KeyboardInterrupt
        return x

    fit(whole := small(), data, augment=lambda x, generator: x, **settings)
    with pytest.raises(KeyboardInterrupt):
        fit(resumed := small(), data, augment=stop, checkpoint=tmp_path / "c.safetensors", **settings)
    fit(resumed, data, augment=stop, checkpoint=tmp_path / "c.safetensors", **settings)
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("nested", [False, True])
def test_many_at_once_are_as_alone(nested):
    def network(seed):
        return nn.Sequential(nn.Sequential(*small(seed)[:4]), *small(seed)[4:]) if nested else small(seed)

    data, settings = pictures(), dict(optimizer="SGD", lr=1.0, epochs=3, batch_size=4, device="cpu")
    before, alone, together = ([network(seed) for seed in (0, 1)] for _ in range(3))
    for seed, one in enumerate(alone):
        fit(one, data, seed=seed, **settings)
    fit_many(together, data, **settings)
    for old, one, other in zip(before, alone, together, strict=True):
        for o, a, b in zip(old.state_dict().values(), one.state_dict().values(), other.state_dict().values(), strict=True):
            torch.testing.assert_close(a - o, b - o, rtol=0.02, atol=0.02 * float((a - o).abs().max()))

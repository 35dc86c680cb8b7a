"The two fast convolutions: outputs and gradients are those of `nn.Conv2d`, whichever way they are computed."

import threading
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import max_pool2d, relu

from genre_nbs.datasets import Examples
from genre_nbs.fast import conv as convolutions
from genre_nbs.fast.conv import PatchConv2d, PrePoolConv2d, accelerated, pool_before_relu, scale_of, unfolded
from genre_nbs.many import fit_many
from genre_nbs.networks import Standardize, predict_proba
from genre_nbs.picture_cnn import bytes_to_unit, grey_cnn, picture_cnn
from genre_nbs.training import fit

RNG = np.random.default_rng(0)

# --- the first layer


@pytest.mark.parametrize("n, stride, size", [(1, 6, (7, 7)), (5, 6, (288, 432)), (9, 3, (31, 40))])
def test_patch_conv_is_conv(n, stride, size):
    usual = nn.Conv2d(3, 4, 7, stride)
    fast = PatchConv2d(deepcopy(usual), 1 / 255)
    x = torch.from_numpy(RNG.integers(0, 256, (n, 3, *size), dtype=np.uint8))
    a, b = fast(x), usual(x.float() / 255)
    assert a.shape == b.shape and torch.allclose(a, b, atol=1e-5)
    weights = torch.randn(a.shape, generator=torch.Generator().manual_seed(0))
    (a * weights).sum().backward(), (b * weights).sum().backward()
    torch.testing.assert_close(fast.conv.weight.grad, usual.weight.grad, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(fast.conv.bias.grad, usual.bias.grad, rtol=1e-3, atol=1e-3)


def test_patch_conv_gives_gradients_of_its_input_when_asked():
    usual = nn.Conv2d(1, 2, 7, 6)
    x = torch.randn(2, 1, 20, 20, requires_grad=True)
    got, expected = (torch.autograd.grad(one(x).square().sum(), x)[0] for one in (PatchConv2d(usual), usual))
    assert got.abs().sum() > 0
    torch.testing.assert_close(got, expected)


def test_patch_conv_refuses_other_shapes():
    with pytest.raises(RuntimeError, match="expected pictures"):
        PatchConv2d(nn.Conv2d(3, 4, 7, 6))(torch.zeros(1, 1, 20, 20))


def test_patches_unfolded_before_training_give_the_same():
    layer = PatchConv2d(nn.Conv2d(3, 4, 7, 6), 1 / 255)
    x = torch.from_numpy(RNG.integers(0, 256, (5, 3, 31, 40), dtype=np.uint8))
    assert layer.unfold_patches(x).shape == (5, 5, 6, 49, 3) and layer.unfold_patches(x).dtype == torch.uint8
    assert torch.equal(layer(layer.unfold_patches(x)), layer(x))
    gradients = [torch.autograd.grad(layer(y).square().sum(), list(layer.parameters())) for y in (x, layer.unfold_patches(x))]
    for a, b in zip(*gradients, strict=True):
        assert torch.equal(a, b)


def test_many_pictures_are_predicted_a_few_at_a_time(monkeypatch):
    layer = PatchConv2d(nn.Conv2d(3, 4, 7, 6), 1 / 255)
    x = torch.from_numpy(RNG.integers(0, 256, (9, 3, 31, 40), dtype=np.uint8))
    expected, sizes, patches = layer(x), [], layer.patches
    monkeypatch.setattr(convolutions, "PICTURES_IN_PATCHES", 4)
    monkeypatch.setattr(layer, "patches", lambda few: sizes.append(len(few)) or patches(few))
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected)
    assert sizes == [4, 4, 1]


def test_patches_are_not_held_where_they_are_too_large(monkeypatch):
    x = torch.zeros(2, 3, 31, 40, dtype=torch.uint8)
    monkeypatch.setattr(convolutions, "UNFOLD_BYTES", x.nbytes)
    assert PatchConv2d(nn.Conv2d(3, 4, 7, 6)).unfold_patches(x) is x
    assert PatchConv2d(nn.Conv2d(3, 4, 7, 7)).unfold_patches(x) is not x


# --- the layer in front of pooling


@pytest.fixture(autouse=True)
def ours_for_little_work(monkeypatch):
    "Little work is done by our layer, too."
    monkeypatch.setattr(convolutions, "FEW_PRODUCTS", 0)


@pytest.mark.parametrize(
    "threads, limit, own", [(1, 10**9, True), (2, 10**9, False), (2, 2 * 3 * 8 * 8 * 4 * 9, True), (2, 2 * 3 * 8 * 8 * 4 * 9 + 1, False)]
)
def test_little_work_of_several_threads_is_left_to_pytorch(monkeypatch, threads, limit, own):
    before = torch.get_num_threads()
    monkeypatch.setattr(convolutions, "FEW_PRODUCTS", limit)
    torch.set_num_threads(threads)
    try:
        assert (type(PrePoolConv2d(nn.Conv2d(3, 4, 3))(torch.randn(2, 3, 8, 8)).grad_fn).__name__ == "SkipZerosBackward") == own
    finally:
        torch.set_num_threads(before)


def two_layers(in_channels, out_channels, size, padding=0):
    "The layer, and one of PyTorch with the same weights."
    usual = nn.Conv2d(in_channels, out_channels, size, padding=padding)
    return PrePoolConv2d(deepcopy(usual)), usual


def gradients(layer, x, pooled=True):
    "Gradients with respect to the input, the weight and the bias of a convolution in front of pooling and ReLU."
    x = x.detach().requires_grad_()
    out = layer(x)
    out = relu(max_pool2d(out, 2)) if pooled else out
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
    return torch.autograd.grad(out, (x, *layer.parameters()), weights)


@pytest.mark.parametrize("threads", [1, 2])
def test_one_thread_needs_no_other(monkeypatch, threads):
    ours, _ = two_layers(3, 4, 3)
    before, started, start = torch.get_num_threads(), [], threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda thread: (started.append(thread), start(thread)))
    torch.set_num_threads(threads)
    try:
        gradients(ours, torch.randn(4, 3, 8, 8))
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
            for got, expected in zip(gradients(ours, y, pooled), gradients(usual, y, pooled), strict=True):
                torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    finally:
        torch.set_num_threads(before)


def test_an_input_that_needs_no_gradient():
    ours, usual = two_layers(3, 4, 3)
    x = torch.randn(2, 3, 8, 8)
    for layer in (ours, usual):
        max_pool2d(layer(x), 2).sum().backward()
    torch.testing.assert_close(ours.conv.weight.grad, usual.weight.grad)
    torch.testing.assert_close(ours.conv.bias.grad, usual.bias.grad)


def test_parts_of_pictures_and_gradients_that_are_not_contiguous():
    ours, usual = two_layers(3, 4, 3)
    whole = torch.randn(4, 3, 16, 16)
    for layer in (ours, usual):
        layer(whole[::2, :, 1::2, :9]).backward(torch.ones(2, 4, 1, 7).expand(2, 4, 6, 7))
    torch.testing.assert_close(ours.conv.weight.grad, usual.weight.grad, rtol=1e-4, atol=1e-4)


def test_no_pictures_give_gradients_of_zero():
    ours = PrePoolConv2d(nn.Conv2d(3, 4, 3))
    ours(torch.zeros(0, 3, 8, 8)).sum().backward()
    assert ours.conv.weight.grad.abs().sum() == 0 and ours.conv.bias.grad.abs().sum() == 0


PLAIN = {"padding": [0, 1, 2, "valid", "same", 3], "stride": [1, 2, (1, 2)], "groups": [1, 2], "dilation": [1, 2], "bias": [True, False],
         "padding_mode": ["zeros", "reflect"], "in_channels": [4, 1], "kernel_size": [3, (3, 5)]}  # fmt: skip


@pytest.mark.parametrize("name, value", [(name, value) for name, values in PLAIN.items() for value in values])
def test_only_convolutions_that_our_layer_can_compute_are_replaced(name, value):
    "Exactly these: square, stride 1, padding smaller than the kernel, one group, a bias, more than one input channel."
    layer = nn.Conv2d(**{"in_channels": 4, "out_channels": 4, "kernel_size": 3} | {name: value})
    network = nn.Sequential(layer, nn.MaxPool2d(2))
    served = value in PLAIN[name][:3] if name == "padding" else value == PLAIN[name][0]
    assert (type(accelerated(network)[0]) is PrePoolConv2d) == served and type(accelerated(nn.Sequential(layer))[0]) is nn.Conv2d
    x = torch.randn(2, layer.in_channels, 9, 9)
    torch.testing.assert_close(accelerated(network)(x), network(x))


@pytest.mark.parametrize("change, served", [({}, True), ({"padding": 1}, False), ({"stride": 1}, False), ({"stride": 8}, False), ({"bias": False}, False),
                                            ({"kernel_size": (7, 8)}, False), ({"dilation": 2}, False)])  # fmt: skip
def test_only_a_first_convolution_with_a_stride_takes_patches(change, served):
    layer = nn.Conv2d(**{"in_channels": 3, "out_channels": 4, "kernel_size": 7, "stride": 6} | change)
    network = nn.Sequential(bytes_to_unit(), layer, nn.ReLU())
    fast = accelerated(network)
    assert (type(fast[0]) is PatchConv2d) == served
    x = torch.from_numpy(RNG.integers(0, 256, (2, 3, 31, 40), dtype=np.uint8))
    torch.testing.assert_close(fast(x), network(x))
    assert torch.equal(unfolded(fast, x), x) is not served


def test_only_a_division_by_one_number_joins_the_first_convolution():
    first = bytes_to_unit()
    assert scale_of(first) == pytest.approx(1 / 255)
    first.mean.fill_(3.0)
    assert scale_of(first) is None and scale_of(Standardize((3, 1, 1))) is None and scale_of(nn.ReLU()) is None
    zero = Standardize((1,))
    zero.std.fill_(0.0)
    assert scale_of(zero) is None  # a division by zero stays PyTorch's: infinite, and no exception


def test_pooling_goes_before_relu_to_the_bit():
    layers = [nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.ReLU(), nn.AvgPool2d(2), nn.ReLU(), nn.MaxPool2d(2, return_indices=True)]
    turned = pool_before_relu(layers)
    assert turned == [layers[i] for i in (0, 2, 1, 3, 4, 5, 6)]
    x = torch.randn(2, 2, 22, 22)
    assert torch.equal(nn.Sequential(*turned[:6])(x), nn.Sequential(*layers[:6])(x))


def test_other_networks_come_back_as_they_are():
    for network in (nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 2)), nn.Sequential(), nn.Sequential(nn.Sequential(nn.Conv2d(2, 3, 3)))):
        assert accelerated(network) is network


def test_the_fast_network_shares_everything_with_the_textbook_network():
    network = nn.Sequential(bytes_to_unit(), nn.Conv2d(3, 4, 7, 6), nn.Dropout(0.5), nn.BatchNorm2d(4), nn.ReLU(),
                            nn.Conv2d(4, 2, 3), nn.ReLU(), nn.MaxPool2d(2))  # fmt: skip
    fast = accelerated(network)
    assert [type(layer).__name__ for layer in fast] == ["PatchConv2d", "Dropout", "BatchNorm2d", "ReLU", "PrePoolConv2d", "MaxPool2d", "ReLU"]
    for ours, theirs in ((fast.parameters(), network.parameters()), (fast[2].buffers(), network[3].buffers())):
        for a, b in zip(ours, theirs, strict=True):
            assert a is b
    assert fast[1] is network[2] and not accelerated(network.eval())[1].training
    assert network[5].weight.is_contiguous(memory_format=torch.channels_last)


def test_what_cannot_be_skipped_is_left_to_pytorch(monkeypatch):
    ours, usual = two_layers(3, 4, 3)
    x = torch.randn(2, 3, 8, 8)
    with pytest.raises(RuntimeError, match="channels"):
        ours(torch.randn(2, 5, 8, 8))
    assert type(ours(x).grad_fn).__name__ == "SkipZerosBackward"
    monkeypatch.setattr(convolutions.SkipZeros, "apply", lambda *arguments: pytest.fail("computed by our layer"))
    with torch.no_grad():
        assert torch.equal(ours(x), usual(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x), usual(x))
    assert torch.equal(ours(x[0]), usual(x[0]))
    ours.requires_grad_(False)
    assert torch.equal(ours(x), usual(x))
    ours.requires_grad_(True)
    assert torch.equal(ours.double()(x.double()), usual.double()(x.double()))


def test_a_gradient_that_is_nan_is_not_lost():
    ours = PrePoolConv2d(nn.Conv2d(1, 1, 3))
    x = torch.ones(1, 1, 4, 4, requires_grad=True)
    ours(x).backward(torch.tensor([[[[0.0, float("nan")], [0.0, 0.0]]]]))
    assert ours.conv.weight.grad.isnan().all() and ours.conv.bias.grad.isnan().all() and x.grad[0, 0, 0, 3].isnan() and x.grad[0, 0, 0, 0] == 0


# --- in a network


def pictures(n=12):
    "Noise in two genres."
    x = RNG.integers(0, 256, (n, 3, 64, 64), dtype=np.uint8)
    return Examples(x, np.arange(n) % 2, np.arange(n).astype(str), ("a", "b"))


def small(seed=0):
    "A small network in which both fast layers serve."
    torch.manual_seed(seed)
    return picture_cnn((3, 64, 64), 2, (4, 6, 4), hidden=8)


def grey(seed=0):
    "A small network for grey pictures."
    torch.manual_seed(seed)
    return grey_cnn((1, 32, 40), 2, channels=(4, 6, 4), dropout=0.2)


def grey_unnormalized(seed=0):
    "The same without batch normalisation: its convolutions have a bias, and skip zeros."
    torch.manual_seed(seed)
    return grey_cnn((1, 32, 40), 2, channels=(4, 6, 4), normalize=False)


def grey_pictures(n=12):
    "Noise in two genres, one of them brighter."
    x = (np.random.default_rng(1).integers(0, 128, (n, 1, 32, 40)) + 100 * (np.arange(n) % 2)[:, None, None, None]).astype(np.uint8)
    return Examples(x, np.arange(n) % 2, np.arange(n).astype(str), ("a", "b"))


NETWORKS = {"picture": (small, pictures), "grey": (grey, grey_pictures), "grey without normalisation": (grey_unnormalized, grey_pictures)}


def same_steps(before, fast, slow, within=0.02):
    "Both have moved from where they began, and by the same steps to rounding."
    for (name, old), a, b in zip(before.state_dict().items(), fast.state_dict().values(), slow.state_dict().values(), strict=True):
        if old.is_floating_point():
            assert name in ("0.mean", "0.std") or (b - old).abs().max() > 0, name
            torch.testing.assert_close(a - old, b - old, rtol=within, atol=within * float((b - old).abs().max()), msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("optimizer, lr", [("SGD", 0.1), ("Adam", 0.003), ("Adagrad", 0.003), ("AdamW", 0.003)])
def test_training_is_that_of_the_textbook_network(name, optimizer, lr, fit_textbook):
    make, data = NETWORKS[name]
    data, settings = data(), dict(optimizer=optimizer, lr=lr, epochs=3, batch_size=4, device="cpu")
    before, fast, slow = make(), make(), make()
    kinds = {type(layer) for layer in accelerated(deepcopy(fast))}
    assert {PatchConv2d, PrePoolConv2d} & kinds or name == "grey"
    tables = [train(network, data, data, **settings).table.drop(columns="seconds") for train, network in ((fit, fast), (fit_textbook, slow))]
    np.testing.assert_allclose(*tables, rtol=1e-3)
    same_steps(before, fast, slow)
    assert type(fast) is nn.Sequential and str(fast) == str(before), "the network that comes back is made of textbook layers"
    assert {type(layer).__module__.split(".")[0] for layer in fast.modules()} == {"torch", "genre_nbs"} and not fast.training
    np.testing.assert_allclose(predict_proba(fast, data.x), predict_proba(slow, data.x), rtol=1e-3)


def test_augmented_pictures_are_not_unfolded_before():
    data, seen = pictures(), []
    fit(small(), data, data, epochs=1, batch_size=4, device="cpu", augment=lambda x, generator: seen.append(x.shape[1:]) or x)
    assert set(seen) == {(3, 64, 64)}


class Mirrored(nn.Module):
    "A network that is no row of layers: it does not see the pictures as they are."

    def __init__(self):
        super().__init__()
        self.layers = small()

    def forward(self, x):
        return self.layers(x.flip(3))


def test_only_a_row_of_layers_is_accelerated():
    data = pictures()
    mirrored = replace(data, x=np.ascontiguousarray(data.x[..., ::-1]))
    settings = dict(optimizer="SGD", lr=0.1, epochs=2, batch_size=4, device="cpu")
    same, other = Mirrored(), small()
    assert accelerated(same) is same
    fit(same, data, **settings)
    fit(other, mirrored, **settings)
    for a, b in zip(same.layers.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("optimizer", ["Adam", "AdamW", "Adagrad", "SGD"])
def test_a_resumed_run_ends_as_one_that_was_not_stopped(optimizer, name, tmp_path, fit_textbook):
    make, data = NETWORKS[name]
    data, calls = data(), []
    settings = dict(optimizer=optimizer, lr=0.003, epochs=3, batch_size=4, device="cpu")

    def stop(x, generator):
        calls.append(len(x))
        if len(calls) == 7:
            raise KeyboardInterrupt
        return x

    fit(whole := make(), data, augment=lambda x, generator: x, **settings)
    with pytest.raises(KeyboardInterrupt):
        fit(make(), data, augment=stop, checkpoint=tmp_path / "c.safetensors", **settings)
    fit(resumed := make(seed=5), data, augment=stop, checkpoint=tmp_path / "c.safetensors", **settings)
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    calls[:] = [0] * 7
    fit_textbook(slow := make(), data, augment=stop, **settings)
    same_steps(make(), resumed, slow)


@pytest.mark.parametrize("nested", [False, True])
def test_networks_trained_together_are_as_trained_alone(nested):
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

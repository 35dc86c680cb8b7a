"""The same network, trained sooner on a CPU: `accelerated` swaps in layers that compute what PyTorch's compute, and shares every weight.

Three things are done. Max-pooling goes before ReLU, which gives the same numbers from a quarter of the work. A first convolution with
a large stride takes pictures as bytes, as one matrix product of patches (im2col). A convolution in front of max-pooling skips, in its
backward pass, the gradients that are zero. Wherever one of them does not apply, PyTorch's own layer computes.
"""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, pad

PICTURES_AT_A_TIME = 4  # measured: small enough for the processor's cache, large enough for its matrix product
PICTURES_IN_PATCHES = 64  # at once where no gradient is needed, which saves memory
UNFOLD_BYTES = 2**31  # patches are held for a whole training run up to this size
FEW_PRODUCTS = 200_000_000  # measured: below that, PyTorch's own threads get in the way of ours, and cost more than zeros save


def rows_last(x):
    "(n, c, h, w) -> (n, h, w, c) without gaps; costs nothing where the memory format is channels_last."
    return x.permute(0, 2, 3, 1).contiguous()


class PatchProduct(torch.autograd.Function):
    "The product of patches, which need no gradient, with a weight; patches of bytes become floats a few pictures at a time."

    @staticmethod
    def forward(ctx, patches, weight, bias):
        "Activations, (n, positions, out); patches (n, positions, numbers), weight (out, numbers)."
        ctx.save_for_backward(patches)
        out = weight.new_empty(*patches.shape[:2], len(weight))
        for few, activations in zip(patches.split(PICTURES_AT_A_TIME), out.split(PICTURES_AT_A_TIME), strict=True):
            torch.matmul(few.to(weight.dtype), weight.T, out=activations)
        return out.add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        "Gradients of the weight and the bias."
        (patches,), total = ctx.saved_tensors, grad_output.new_zeros(grad_output.shape[2], ctx.saved_tensors[0].shape[2])
        for few, grad in zip(patches.split(PICTURES_AT_A_TIME), grad_output.split(PICTURES_AT_A_TIME), strict=True):
            total += torch.bmm(grad.transpose(1, 2), few.to(grad.dtype)).sum(0)
        return None, total, grad_output.sum((0, 1))


class PatchConv2d(nn.Module):
    """A square `nn.Conv2d` without padding on `x * scale`, for a network's first layer.

    PyTorch's own kernels are slow for a large stride, and want floats, four times the memory of bytes. Here the patches under the
    kernel are laid side by side as bytes, and one matrix product does the rest. `unfold_patches` does that once for all steps of a
    training run. Where the input needs a gradient, or is not on the CPU, the convolution is PyTorch's.
    """

    def __init__(self, conv, scale=1.0):
        super().__init__()
        self.conv, self.scale = conv, scale

    def patches(self, x):
        "(n, in, h, w) -> (n, rows, columns, kernel_size**2, in). Raises `RuntimeError` for another shape."
        (size, _), (stride, _), channels = self.conv.kernel_size, self.conv.stride, self.conv.in_channels
        if x.dim() != 4 or x.shape[1] != channels or min(x.shape[2:]) < size:
            raise RuntimeError(f"expected pictures (n, {channels}, h, w) of at least {size} x {size}, got {tuple(x.shape)}")
        return x.unfold(2, size, stride).unfold(3, size, stride).permute(0, 2, 3, 4, 5, 1).flatten(3, 4).contiguous()

    def unfold_patches(self, x):
        "Pictures as `patches`, which `forward` takes as well; as they are on a GPU, and where patches take more than `UNFOLD_BYTES`."
        fits = x.nbytes * (self.conv.kernel_size[0] / self.conv.stride[0]) ** 2 <= UNFOLD_BYTES
        return self.patches(x) if fits and x.device.type == "cpu" else x

    def forward(self, x):
        "(n, in, h, w), bytes or floats, or patches of them -> (n, out, (h - kernel_size) // stride + 1, ...)."
        weight = self.conv.weight * self.scale
        if x.dim() < 5 and (x.device.type != "cpu" or x.requires_grad):
            return conv2d(x.to(weight.dtype), weight, self.conv.bias, self.conv.stride)
        if len(x) > PICTURES_IN_PATCHES and not (torch.is_grad_enabled() and weight.requires_grad):
            return torch.cat([self(few) for few in x.split(PICTURES_IN_PATCHES)])
        patches = x if x.dim() == 5 else self.patches(x)
        out = PatchProduct.apply(patches.flatten(3).flatten(1, 2), rows_last(weight).flatten(1), self.conv.bias)
        return out.unflatten(1, patches.shape[1:3]).permute(0, 3, 1, 2)


class SkipZeros(torch.autograd.Function):
    "A convolution whose backward pass skips the gradients that are zero."

    @staticmethod
    def forward(ctx, x, weight, bias, padding):
        "As `conv2d`; padding in positions on every side."
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return conv2d(x, weight, bias, padding=padding)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        "Gradients of the input, the weight and the bias; the pictures are shared out among PyTorch's number of threads."
        from genre_nbs.fast.conv_grad import conv_backward

        x, weight = ctx.saved_tensors
        (n, c, h, w), (out, _, k, _), side = x.shape, weight.shape, ctx.padding * x.shape[1]
        lines, rows = rows_last(x).view(n, h, w * c), weight.detach().permute(2, 0, 3, 1).reshape(k, -1)
        if side:
            lines = pad(lines, (side, side))  # conv_backward does without lines above and below
        threads = max(1, min(torch.get_num_threads(), n))
        grad_input = lines.new_empty(lines.shape if ctx.needs_input_grad[0] else (0, *lines.shape[1:]))
        grad_weight, grad_bias = rows.new_zeros(threads, *rows.shape), rows.new_zeros(threads, out)
        parts = [t.detach().tensor_split(threads) for t in (lines, rows_last(grad_output), grad_input)]

        def work(i):
            (p, g, q), (gw, gb) = (part[i].numpy() for part in parts), (t[i].numpy() for t in (grad_weight, grad_bias))
            conv_backward(p, rows.numpy(), g, q, gw, gb)

        with ThreadPoolExecutor(threads) as pool:  # the first share is this thread's own: with one thread, none is started
            others = [pool.submit(work, i) for i in range(1, threads)]
            work(0)
            for other in others:
                other.result()
        grad_input = grad_input.narrow(2, side, w * c).unflatten(2, (w, c)).permute(0, 3, 1, 2) if len(grad_input) else None
        return grad_input, grad_weight.sum(0).view(k, out, k, c).permute(1, 3, 0, 2), grad_bias.sum(0), None


class PrePoolConv2d(nn.Module):
    """A square `nn.Conv2d` of stride 1 for a place in front of max-pooling.

    Pooling hands a gradient to the largest of four activations alone, and ReLU to still fewer; on the CPU this layer skips the
    zeros. Elsewhere, for other dtypes than float32, and for little work where PyTorch has several threads, the convolution is
    PyTorch's. Second derivatives cannot be asked for.
    """

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        "As the convolution."
        conv = self.conv
        learns = torch.is_grad_enabled() and conv.weight.requires_grad
        if not learns or x.device.type != "cpu" or x.dtype != torch.float32 or x.dim() != 4 or torch.is_autocast_enabled("cpu"):
            return conv(x)
        if torch.get_num_threads() > 1 and x.numel() * conv.out_channels * conv.kernel_size[0] ** 2 < FEW_PRODUCTS:
            return conv(x)
        return SkipZeros.apply(x, conv.weight, conv.bias, conv.padding[0])


def is_plain(layer):
    "Whether a layer is a square convolution with a bias, in one group, without dilation, padded with zeros or not at all."
    if type(layer) is not nn.Conv2d or layer.bias is None or layer.groups != 1 or isinstance(layer.padding, str):
        return False
    square = all(len(set(pair)) == 1 for pair in (layer.kernel_size, layer.stride, layer.padding))
    return square and layer.dilation == (1, 1) and layer.padding_mode == "zeros"


def takes_patches(layer):
    "Whether `PatchConv2d` serves a convolution at the head of a network: no padding, and a stride that pays."
    return is_plain(layer) and layer.padding[0] == 0 and 1 < layer.stride[0] <= layer.kernel_size[0]


def skips_zeros(layer):
    "Whether `PrePoolConv2d` serves a convolution in front of pooling; a single input channel is too little to skip."
    return is_plain(layer) and layer.stride[0] == 1 and layer.padding[0] < layer.kernel_size[0] and layer.in_channels > 1


def scale_of(layer):
    "The factor by which a layer multiplies, where it does nothing else (a mean of 0 and one `std` for all, as bytes to 0 to 1); else None."
    mean, std = getattr(layer, "mean", None), getattr(layer, "std", None)
    simple = torch.is_tensor(mean) and torch.is_tensor(std) and mean.numel() == std.numel() == 1 and mean.item() == 0 != std.item()
    return 1 / std.item() if simple else None


def pool_before_relu(layers: list) -> list:
    "The layers with every (ReLU, max-pooling) turned round: both keep the order of numbers, so the result is the same to the bit."
    layers = list(layers)
    for i in range(len(layers) - 1):
        if type(layers[i]) is nn.ReLU and type(layers[i + 1]) is nn.MaxPool2d and not layers[i + 1].return_indices:
            layers[i], layers[i + 1] = layers[i + 1], layers[i]
    return layers


def accelerated(
    network: nn.Module,  # layers one after the other; anything else comes back as it is
) -> nn.Module:  # shares all weights, buffers and random layers with `network`: training one trains both
    "A network that computes the same, to rounding, in less time. Kernels are laid out channels_last, in place."
    if type(network) is not nn.Sequential or not any(isinstance(layer, nn.Conv2d) for layer in network):
        return network
    network.to(memory_format=torch.channels_last)
    layers = pool_before_relu(network)
    if next(network.parameters()).device.type != "cpu":
        return nn.Sequential(*layers)
    scale = scale_of(layers[0])
    if scale is not None and takes_patches(layers[1]):
        layers = [PatchConv2d(layers[1], scale), *layers[2:]]
    following = [*layers[1:], None]
    pairs = zip(layers, following, strict=True)
    return nn.Sequential(*(PrePoolConv2d(a) if type(b) is nn.MaxPool2d and skips_zeros(a) else a for a, b in pairs))


def unfolded(
    network: nn.Module,  # from `accelerated`
    x: torch.Tensor,  # examples, (n, ...)
) -> torch.Tensor:  # the examples as the first layer takes them
    "What a `PatchConv2d` can do once for all epochs."
    first = network[0] if isinstance(network, nn.Sequential) and len(network) else None
    return first.unfold_patches(x) if isinstance(first, PatchConv2d) else x

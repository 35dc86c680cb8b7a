"""Two convolutions that train faster than `nn.Conv2d` on a CPU, each for one place in a network: the first layer of one that
sees whole pictures of bytes, and a layer in front of max-pooling. Elsewhere they are `nn.Conv2d`."""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, pad

PICTURES_AT_A_TIME = 4  # measured: small enough for the processor's cache, large enough for its matrix product
PICTURES_IN_PATCHES = 64  # at once where nothing is learned, which saves memory
LAID_OUT_BYTES = 2**31  # patches are held for a whole training run up to this size
FEW_PRODUCTS = 200_000_000  # measured: below that, PyTorch's own threads get in the way of ours, and cost more than zeros save


def rows_last(x):
    "(n, c, h, w) -> (n, h, w, c) without gaps; costs nothing where the memory format is channels_last."
    return x.permute(0, 2, 3, 1).contiguous()


class PatchProduct(torch.autograd.Function):
    "The product of patches, which need no slope, with a weight; patches of bytes become floats a few pictures at a time."

    @staticmethod
    def forward(ctx, patches, weight, bias):
        "Answers, (n, places, out); patches (n, places, numbers), weight (out, numbers)."
        ctx.save_for_backward(patches)
        out = weight.new_empty(*patches.shape[:2], len(weight))
        for few, answers in zip(patches.split(PICTURES_AT_A_TIME), out.split(PICTURES_AT_A_TIME), strict=True):
            torch.matmul(few.to(weight.dtype), weight.T, out=answers)
        return out.add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, slopes):
        "Slopes of the weight and the bias."
        (patches,), total = ctx.saved_tensors, slopes.new_zeros(slopes.shape[2], ctx.saved_tensors[0].shape[2])
        for few, slope in zip(patches.split(PICTURES_AT_A_TIME), slopes.split(PICTURES_AT_A_TIME), strict=True):
            total += torch.bmm(slope.transpose(1, 2), few.to(slope.dtype)).sum(0)
        return None, total, slopes.sum((0, 1))


class PatchConv2d(nn.Module):
    """`nn.Conv2d` without padding on `x * scale`, for a network's first layer; its weights are those of `nn.Conv2d`.

    PyTorch's own kernels are slow for so large a stride, and want floats, four times the memory of the bytes.
    On the CPU this one takes the bytes as they are: the patches under the kernel are laid side by side, and one matrix product
    does the rest. `lay_out` does that once for all steps of a training run. Elsewhere than on the CPU it is `nn.Conv2d`.
    """

    plain = False  # set to True to compute as `nn.Conv2d` everywhere, which `torch.func.vmap` needs

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, scale=1.0):
        super().__init__()
        self.in_channels, self.out_channels, self.kernel_size, self.stride, self.scale = (
            in_channels,
            out_channels,
            kernel_size,
            stride,
            scale,
        )
        layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride)
        self.weight, self.bias = layer.weight, layer.bias

    def patches(self, x):
        "(n, in, h, w) -> (n, rows, columns, kernel_size**2, in). Raises `RuntimeError` for another shape."
        size = self.kernel_size
        if x.dim() != 4 or x.shape[1] != self.in_channels or min(x.shape[2:]) < size:
            raise RuntimeError(f"expected pictures (n, {self.in_channels}, h, w) of at least {size} x {size}, got {tuple(x.shape)}")
        return x.unfold(2, size, self.stride).unfold(3, size, self.stride).permute(0, 2, 3, 4, 5, 1).flatten(3, 4).contiguous()

    def lay_out(self, x):
        "Pictures as `patches`, which `forward` takes as well; as they are on a GPU, and where patches take more than `LAID_OUT_BYTES`."
        fits = x.nbytes * (self.kernel_size / self.stride) ** 2 <= LAID_OUT_BYTES
        return self.patches(x) if fits and x.device.type == "cpu" and not self.plain else x

    def forward(self, x):
        "(n, in, h, w), bytes or floats -> (n, out, (h - kernel_size) // stride + 1, ...)."
        weight = self.weight * self.scale
        if x.dim() < 5 and (self.plain or x.device.type != "cpu" or x.requires_grad):
            return conv2d(x.to(weight.dtype), weight, self.bias, self.stride)
        if len(x) > PICTURES_IN_PATCHES and not (torch.is_grad_enabled() and weight.requires_grad):
            return torch.cat([self(few) for few in x.split(PICTURES_IN_PATCHES)])
        patches = x if x.dim() == 5 else self.patches(x)
        out = PatchProduct.apply(patches.flatten(3).flatten(1, 2), rows_last(weight).flatten(1), self.bias)
        return out.unflatten(1, patches.shape[1:3]).permute(0, 3, 1, 2)

    def extra_repr(self):
        "Its arguments."
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, scale={self.scale:g}"


class SkipZeros(torch.autograd.Function):
    "A convolution whose way back skips the slopes that are zero."

    @staticmethod
    def forward(ctx, x, weight, bias, padding):
        "Answers, as `conv2d`; padding in places on every side."
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return conv2d(x, weight, bias, padding=padding)

    @staticmethod
    @once_differentiable
    def backward(ctx, slopes):
        "Slopes of the input, the weight and the bias; the pictures are shared out among PyTorch's number of threads."
        from .slopes import find_slopes  # numba takes a second to load: only training needs it

        x, weight = ctx.saved_tensors
        (n, c, h, w), (out, _, k, _), side = x.shape, weight.shape, ctx.padding * x.shape[1]
        lines, rows = rows_last(x).view(n, h, w * c), weight.detach().permute(2, 0, 3, 1).reshape(k, -1)
        if side:
            lines = pad(lines, (side, side))  # find_slopes does without lines above and below
        threads = max(1, min(torch.get_num_threads(), n))
        x_slopes = lines.new_empty(lines.shape if ctx.needs_input_grad[0] else (0, *lines.shape[1:]))
        weight_slopes, bias_slopes = rows.new_zeros(threads, *rows.shape), rows.new_zeros(threads, out)
        parts = [t.detach().tensor_split(threads) for t in (lines, rows_last(slopes), x_slopes)]

        def work(i):
            (p, s, q), (ws, bs) = (part[i].numpy() for part in parts), (t[i].numpy() for t in (weight_slopes, bias_slopes))
            find_slopes(p, rows.numpy(), s, q, ws, bs)

        with ThreadPoolExecutor(threads) as pool:  # the first share is this thread's own: with one thread, none is started
            others = [pool.submit(work, i) for i in range(1, threads)]
            work(0)
            for other in others:
                other.result()
        x_slopes = x_slopes.narrow(2, side, w * c).unflatten(2, (w, c)).permute(0, 3, 1, 2) if len(x_slopes) else None
        return x_slopes, weight_slopes.sum(0).view(k, out, k, c).permute(1, 3, 0, 2), bias_slopes.sum(0), None


class PrePoolConv2d(nn.Conv2d):
    """`nn.Conv2d` (in_channels, out_channels, kernel_size, padding=0) for a place in front of max-pooling.

    Pooling hands a slope to the largest of four answers alone, and ReLU to still fewer; this layer skips the zeros on the
    CPU. Elsewhere, for other numbers than float32, and for little work where PyTorch has several threads, it is `nn.Conv2d`.
    Slopes of slopes cannot be asked for. Raises `ValueError` for a kernel size or a padding that is not one whole number, and
    for a padding as large as the kernel.
    """

    plain = False  # as above

    def __init__(self, in_channels, out_channels, kernel_size, padding=0):
        for name, value in ("kernel_size", kernel_size), ("padding", padding):
            if type(value) is not int:
                raise ValueError(f"{name} must be one whole number, not {value!r}")
        if not 0 <= padding < max(kernel_size, 1):
            raise ValueError(f"padding must be in [0, kernel_size), not {padding}")
        super().__init__(in_channels, out_channels, kernel_size, padding=padding)
        self.kernel_size, self.padding = kernel_size, padding  # one number each: the kernel is square

    def forward(self, x):
        "(n, in, h, w) -> (n, out, h + 2 * padding - kernel_size + 1, w + 2 * padding - kernel_size + 1)."
        learns = torch.is_grad_enabled() and self.weight.requires_grad and not self.plain
        if not learns or x.device.type != "cpu" or x.dtype != torch.float32 or x.dim() != 4 or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        if torch.get_num_threads() > 1 and x.numel() * self.out_channels * self.kernel_size**2 < FEW_PRODUCTS:
            return super().forward(x)
        return SkipZeros.apply(x, self.weight, self.bias, self.padding)

    def extra_repr(self):
        "Its arguments."
        padding = f", padding={self.padding}" if self.padding else ""
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}{padding}"

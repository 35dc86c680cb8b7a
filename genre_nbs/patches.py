"A convolution without padding for whole pictures of bytes, as matrix products over a few pictures at a time."

import torch
from torch import nn
from torch.nn.functional import conv2d

PICTURES_AT_A_TIME = 4  # measured: small enough for the processor's cache, large enough for its matrix product


def columns(x, kernel_size, stride):
    "The patches under the kernel as columns: (n, c, h, w) -> (n, c * kernel_size**2, places)."
    patches = x.unfold(2, kernel_size, stride).unfold(3, kernel_size, stride)
    return patches.permute(0, 1, 4, 5, 2, 3).reshape(len(x), -1, patches.shape[2] * patches.shape[3])


class PatchProduct(torch.autograd.Function):
    "A convolution whose input needs no slope: its patches are kept as bytes, and become floats a few pictures at a time."

    @staticmethod
    def forward(ctx, x, weight, bias, stride):
        "Answers, (n, out, places)."
        learns, kept = ctx.needs_input_grad[1], []
        ctx.size, size = weight.shape, weight.shape[-1]
        places = ((x.shape[2] - size) // stride + 1) * ((x.shape[3] - size) // stride + 1)
        out = weight.new_empty(len(x), len(weight), places)
        for few, answers in zip(x.split(PICTURES_AT_A_TIME), out.split(PICTURES_AT_A_TIME), strict=True):
            patches = columns(few, size, stride)
            torch.matmul(weight.flatten(1), patches.float(), out=answers)
            kept += [patches] * learns
        ctx.save_for_backward(*kept)
        return out.add_(bias[:, None])

    @staticmethod
    def backward(ctx, slopes):
        "Slopes of the weight and the bias."
        total = slopes.new_zeros(ctx.size).flatten(1)
        for patches, few in zip(ctx.saved_tensors, slopes.split(PICTURES_AT_A_TIME), strict=True):
            for picture, slope in zip(patches.float(), few, strict=True):
                total.addmm_(slope, picture.T)
        return None, total.view(ctx.size), slopes.sum((0, 2)), None


class PatchConv2d(nn.Module):
    """`nn.Conv2d` without padding on `x * scale`, for a network's first layer; its weights are those of `nn.Conv2d`.

    PyTorch's own kernels are slow for so large a stride, and want floats, four times the memory of the bytes.
    On the CPU this one takes the bytes as they are, a few pictures at a time; elsewhere it is `nn.Conv2d`.
    """

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

    def forward(self, x):
        "(n, in, h, w), bytes or floats -> (n, out, (h - kernel_size) // stride + 1, ...)."
        size, stride, weight = self.kernel_size, self.stride, self.weight * self.scale
        if x.device.type != "cpu" or x.requires_grad:
            return conv2d(x.to(weight.dtype), weight, self.bias, stride)
        if x.dim() != 4 or x.shape[1] != self.in_channels or min(x.shape[2:]) < size:
            raise RuntimeError(f"expected pictures (n, {self.in_channels}, h, w) of at least {size} x {size}, got {tuple(x.shape)}")
        out = PatchProduct.apply(x, weight, self.bias, stride)
        return out.view(len(x), -1, (x.shape[2] - size) // stride + 1, (x.shape[3] - size) // stride + 1)

    def extra_repr(self):
        "Its arguments."
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, scale={self.scale:g}"

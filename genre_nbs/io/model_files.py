"""Model files: a network as data, in one safetensors file that can be read without running anything.

The file is not trusted. A description may name only layers that are on a list; what each of them does to the shape of an example, and how
much work that is, is computed by arithmetic before anything is built; and every weight must have the shape that its layer expects.
"""

import inspect
import json
import math
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from genre_nbs.io.files import atomic_path

HEADER = "genre_nbs"  # the one key of ours in the metadata: safetensors writes several in any order, and the same model should be the same bytes
VERSION = 2
MOST_LAYERS = 500
MOST_ACTIVATIONS = 2**26  # numbers that a layer gives for one example: 256 MB
MOST_PRODUCTS = 5 * 10**9  # multiplications and other operations of all layers for one example; `picture-first` has 0.3 of them

ELEMENTWISE = (nn.ReLU, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.Tanh, nn.Dropout, nn.Dropout2d, nn.Identity)
NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d)
POOLING = (nn.MaxPool2d, nn.AvgPool2d)
ADAPTIVE = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
TORCH_LAYERS = {
    layer.__name__: layer for layer in (nn.Linear, nn.Conv2d, *NORMALIZATIONS, *ELEMENTWISE, *POOLING, *ADAPTIVE, nn.Flatten, nn.Unflatten)
}


class ModelError(ValueError):
    "A file that is no model of ours: cut short, of another version, or something else."


# --- a network as data


def layer_arguments(
    layer: nn.Module,  # one layer
) -> dict:  # constructor arguments that differ from their defaults, JSON-able
    "How a layer was made, read off its attributes (PyTorch's layers keep their arguments under the same names)."
    arguments = {}
    for name, parameter in inspect.signature(type(layer)).parameters.items():
        if name in ("device", "dtype") or not hasattr(layer, name):
            continue
        value = getattr(layer, name)
        if name == "bias":
            value = value is not None
        if value != parameter.default:
            arguments[name] = list(value) if isinstance(value, tuple) else value
    return arguments


def describe_network(
    network: nn.Sequential,  # layers one after the other; a Sequential inside is fine
    layers: dict = TORCH_LAYERS,  # name -> class of the layers that may be in it
) -> list:  # [[name, arguments], ...], JSON-able
    "A network as data. Raises `ValueError` for a layer that is not in `layers`."

    def describe(layer):
        if type(layer) is nn.Sequential:
            return ["Sequential", describe_network(layer, layers)]
        if layers.get(type(layer).__name__) is not type(layer):
            raise ValueError(f"a {type(layer).__name__} cannot be saved: only {', '.join(layers)} can")
        return [type(layer).__name__, layer_arguments(layer)]

    return [describe(layer) for layer in network]


def build_network(
    description: list,  # what `describe_network` gave
    layers: dict = TORCH_LAYERS,  # name -> class of the layers that may be in it
) -> nn.Sequential:  # the same layers, randomly initialised
    "A network of its description. Raises `ValueError` for an unknown layer, `TypeError` for arguments that it does not take."

    def build(name, arguments):
        if name == "Sequential":
            return build_network(arguments, layers)
        if name not in layers:
            raise ValueError(f"unknown layer {name!r}")
        if not isinstance(arguments, dict) or {"device", "dtype"} & set(arguments):  # as only a forger would write; memory would be taken
            raise ValueError(f"a {name} with arguments that it does not take")
        return layers[name](**arguments)

    return nn.Sequential(*(build(name, arguments) for name, arguments in description))


# --- shapes by arithmetic


def pair(value, what: str, least: int) -> tuple:
    "One whole number, or two, as two. Raises `ValueError` unless both are at least `least`."
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2 or any(type(n) is not int or n < least for n in values):
        raise ValueError(f"{what} {value!r} is no whole number of {least} or more")
    return values


def windowed(layer, shape, channels: int) -> tuple:
    "Behind a sliding window (the formulas of `nn.Conv2d` and `nn.MaxPool2d`): shape, and places of a window. Raises `ValueError` where it does not fit."
    if len(shape) != 3:
        raise ValueError(f"a {type(layer).__name__} does not fit on {shape}")
    kernel, dilation = pair(layer.kernel_size, "kernel size", 1), pair(getattr(layer, "dilation", 1), "dilation", 1)
    stride = pair(layer.kernel_size if layer.stride is None else layer.stride, "stride", 1)
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    around = reach if layer.padding == "same" else [2 * p for p in pair(0 if layer.padding == "valid" else layer.padding, "padding", 0)]
    padded, ceil, sizes = [n + a for n, a in zip(shape[1:], around, strict=True)], getattr(layer, "ceil_mode", False), []
    for n, whole, r, s in zip(shape[1:], padded, reach, stride, strict=True):
        size = (whole - r - 1 + (s - 1 if ceil else 0)) // s + 1
        sizes.append(size - bool(ceil and (size - 1) * s >= (n + whole) // 2))  # none that begins behind the picture
    if min(sizes) < 1:
        raise ValueError(f"a {type(layer).__name__} does not fit on {shape}")
    if shape[0] * math.prod(padded) > MOST_ACTIVATIONS and getattr(layer, "padding_mode", "zeros") != "zeros":
        raise ValueError(f"a {type(layer).__name__} on {shape} takes too much memory")  # PyTorch makes a padded copy
    return (channels, *sizes), math.prod(kernel)


def conv_shape(layer, shape) -> tuple:
    "Behind a convolution: shape, and multiplications."
    groups = layer.groups
    if type(groups) is not int or groups < 1 or layer.in_channels % groups or layer.out_channels % groups:
        raise ValueError(f"groups {groups!r} do not divide the channels")
    if not shape or shape[0] != layer.in_channels or not layer.out_channels:
        raise ValueError(f"a Conv2d of {layer.in_channels} channels does not fit on {shape}")
    out, places = windowed(layer, shape, layer.out_channels)
    return out, math.prod(out) * layer.in_channels // groups * places


def pool_shape(layer, shape) -> tuple:
    "Behind max-pooling or average pooling: shape, and work in multiplications of a convolution."
    if getattr(layer, "return_indices", False):
        raise ValueError("return_indices is not supported")
    kernel, padding = pair(layer.kernel_size, "kernel size", 1), pair(layer.padding, "padding", 0)
    out, places = windowed(layer, shape, shape[0] if shape else 0)
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ValueError(f"padding {layer.padding!r} is more than half of the kernel")
    return out, 4 * math.prod(out) * places  # measured: a comparison takes as long as four multiplications of a convolution


def normalized_shape(layer, shape) -> tuple:
    "Behind a normalisation, which keeps the shape. Raises `ValueError` where its size is another."
    if isinstance(layer, nn.LayerNorm):
        fits = shape[-len(layer.normalized_shape) :] == tuple(layer.normalized_shape)
    elif isinstance(layer, nn.GroupNorm):
        groups = layer.num_groups
        fits = type(groups) is int and groups > 0 and shape[0] == layer.num_channels and layer.num_channels % groups == 0
    else:
        dims = (1, 2) if isinstance(layer, nn.BatchNorm1d) else (3,)
        fits = len(shape) in dims and shape[0] == layer.num_features
    if not fits:
        raise ValueError(f"a {type(layer).__name__} does not fit on {shape}")
    return shape


def reshaped(layer, shape) -> tuple:
    "Behind Flatten or Unflatten, which count the batch as dimension 0."
    if isinstance(layer, nn.Flatten):
        first, last = (n - 1 if n > 0 else n + len(shape) for n in (layer.start_dim, layer.end_dim))
        if not 0 <= first <= last < len(shape):
            raise ValueError(f"a Flatten from {layer.start_dim} to {layer.end_dim} does not fit on {shape}")
        return (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])
    sizes, dim = list(layer.unflattened_size), layer.dim - 1 if layer.dim > 0 else layer.dim + len(shape)
    if sizes.count(-1) == 1 and 0 <= dim < len(shape):
        sizes[sizes.index(-1)] = shape[dim] // abs(math.prod(sizes) or 1)
    if not (sizes and 0 <= dim < len(shape)) or any(type(n) is not int or n < 1 for n in sizes) or math.prod(sizes) != shape[dim]:
        raise ValueError(f"an Unflatten to {sizes} does not fit on {shape}")
    return (*shape[:dim], *sizes, *shape[dim + 1 :])


def layer_shape(
    layer: nn.Module,  # one layer, on any device
    shape: tuple,  # of one example, without the batch
) -> tuple:  # (shape behind the layer, multiplications)
    "What a layer makes of a shape. Raises `ValueError` where it does not fit."
    if isinstance(layer, ELEMENTWISE):
        return shape, 0
    if isinstance(layer, nn.Linear):
        if not shape or shape[-1] != layer.in_features:
            raise ValueError(f"a Linear of {layer.in_features} inputs does not fit on {shape}")
        return (*shape[:-1], layer.out_features), math.prod(shape) * layer.out_features
    if isinstance(layer, nn.Conv2d):
        return conv_shape(layer, shape)
    if isinstance(layer, POOLING):
        return pool_shape(layer, shape)
    if isinstance(layer, ADAPTIVE):
        if len(shape) != 3:
            raise ValueError(f"a {type(layer).__name__} does not fit on {shape}")
        sizes = layer.output_size if isinstance(layer.output_size, (tuple, list)) else (layer.output_size,) * 2
        wanted = [n if size is None else size for n, size in zip(shape[1:], sizes, strict=True)]
        return (shape[0], *pair(wanted, "output size", 1)), 0
    if isinstance(layer, NORMALIZATIONS):
        return normalized_shape(layer, shape), 0
    if isinstance(layer, (nn.Flatten, nn.Unflatten)):
        return reshaped(layer, shape), 0
    statistics = tuple(layer.shape)  # a Standardize, whose statistics broadcast against an example
    aligned = shape[len(shape) - len(statistics) :]
    if len(statistics) > len(shape) or any(n not in (1, size) for n, size in zip(statistics, aligned, strict=True)):
        raise ValueError(f"a {type(layer).__name__} of shape {statistics} does not fit on {shape}")
    return shape, 0


def count_layers(description: list) -> int:
    "How many layers a description has, those inside of others and those around them included."
    return sum(1 + (count_layers(arguments) if name == "Sequential" else 0) for name, arguments in description)


def check_shapes(
    network: nn.Sequential,  # on the meta device, so it takes no memory
    shape: tuple,  # of one example
    outputs: int,  # how many numbers it must lead to
):
    "Follow one example through the layers by arithmetic. Raises `ValueError` where it does not fit, or would take too much work or memory."
    products = 0
    for layer in network.modules():
        if type(layer) is nn.Sequential:
            continue
        shape, more = layer_shape(layer, shape)
        products += more + math.prod(shape)
        if math.prod(shape) > MOST_ACTIVATIONS or products > MOST_PRODUCTS:
            raise ValueError(f"a {type(layer).__name__} with output {shape} takes too much memory or work")
    if shape != (outputs,):
        raise ValueError(f"it leads to {shape}, not to {outputs} genres")


# --- the file


def write_model(
    path,  # where to, usually `*.safetensors`
    header: dict,  # JSON-able: network, representation, genres, settings
    network: nn.Module,  # whose weights and buffers are written
):
    "Write a model to one file, atomically; the same model gives the same bytes. Raises `OSError` when it cannot be written."
    write_tensors(path, header, network.state_dict())


def write_tensors(
    path,  # where to
    header: dict,  # JSON-able
    tensors: dict,  # name -> tensor
):
    "Write a header and tensors to one file, as `write_model` does."
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as part:  # not by save_file, whose own half-written file would stay after a kill, and which forgets the umask
        part.write_bytes(save(tensors, {HEADER: json.dumps({"version": VERSION} | header)}))


def opened(path, tensors):
    "Metadata and, where asked, tensors of a file. Raises `ModelError` when it is no safetensors file, or is cut short."
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path}: is no model file, or is cut short") from error


def checked_description(path, metadata) -> dict:
    "The header of a model of ours. Raises `ModelError` when there is none, or another version's."
    if HEADER not in metadata:
        raise ModelError(f"{path}: is a safetensors file, but no model of genre_nbs")
    try:
        header = json.loads(metadata[HEADER])
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: its description cannot be read") from error
    if not isinstance(header, dict):
        raise ModelError(f"{path}: its description cannot be read")
    if header.get("version") != VERSION:
        raise ModelError(f"{path}: has version {header.get('version')!r}, this package reads version {VERSION}; train the model again")
    return header


def read_header(
    path,  # a model file
) -> dict:  # its header
    "What a model file says of itself, without its weights. Raises `ModelError` as `read_model` does."
    return checked_description(path, opened(path, tensors=False)[0])


def read_model(
    path,  # a file that `write_model` wrote
) -> tuple:  # header (dict), weights (dict of tensors, float16 as float32)
    "What stands in a model file. Raises `ModelError` when it is no model of ours, is cut short, or has another version."
    metadata, tensors = opened(path, tensors=True)
    header = checked_description(path, metadata)
    # a copy lies on a whole multiple of 64 bytes, where matrix products add up in the same order as those of a network just trained
    return header, {name: t.float() if t.dtype in (torch.float16, torch.bfloat16) else t.clone() for name, t in tensors.items()}


def check_header(
    genres,  # the header's genres: two names at least, each once
    representation,  # a `datasets.Representation` made of the header's settings
):
    "Raises `ValueError` for genres that are no names, and for settings that no song could be read with."
    names = isinstance(genres, list) and all(isinstance(name, str) and name.strip() for name in genres)
    if not names or not 1 < len(set(genres)) == len(genres):
        raise ValueError("its genres are not two or more different names")
    sr, seconds, pixels = representation.sr, representation.seconds, (*representation.size, representation.channels)
    if type(sr) is not int or not 1000 <= sr <= 384_000:
        raise ValueError(f"a sample rate of {sr!r} Hz is out of range")
    if type(seconds) not in (int, float) or not 0.1 <= seconds <= 3600:
        raise ValueError(f"examples of {seconds!r} s are out of range")
    if len(pixels) != 3 or any(type(n) is not int or not 1 <= n <= 10_000 for n in pixels):
        raise ValueError(f"pictures of size {pixels} are out of range")
    if math.prod(pixels) > MOST_ACTIVATIONS:
        raise ValueError(f"pictures of size {pixels} are too large")


def filled_network(
    description: list,  # of a network, from an untrusted header
    tensors: dict,  # its weights, name -> tensor
    shape: tuple,  # of one example
    outputs: int,  # how many numbers it must lead to
    layers: dict = TORCH_LAYERS,  # name -> class of the layers that may be in it
) -> nn.Sequential:  # on the CPU, in evaluation mode, with weights in float32 whatever they are in the file
    "The network of a description with its weights. Raises `ValueError`, `TypeError` or `RuntimeError` when they do not fit each other."
    if (n := count_layers(description)) > MOST_LAYERS:
        raise ValueError(f"{n} layers are too many")
    try:
        with torch.device("meta"), warnings.catch_warnings():  # shapes without memory
            warnings.simplefilter("ignore")
            network = build_network(description, layers).eval()
        check_shapes(network, shape, outputs)
        tensors = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
        network.load_state_dict(tensors, assign=True)
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise ValueError("some weights are not finite")
        with torch.no_grad():
            network(torch.zeros(1, *shape))  # whatever arithmetic does not see, such as a word where a number should be
    except (ArithmeticError, LookupError, AssertionError) as error:  # such as a division by 0 groups
        raise ValueError(f"a layer cannot be made or used: {error}") from error
    return network

"On a GPU: forward and backward pass captured as a CUDA graph and replayed, and independent work on streams of its own."

import warnings
from collections import Counter
from collections.abc import Callable

import torch
from torch import nn

WARMUP_ITERS = 3  # calls of a function that run eagerly before it is captured


class CUDAGraphed:
    """A function of tensors on a GPU, captured once as a CUDA graph and replayed from then on.

    Only for a function that does the same operations each time. What it returned is overwritten by the next call. A function that
    synchronises with the host (as `.item()` does) is not captured, but run eagerly.
    """

    def __init__(
        self,
        function: Callable,  # takes tensors, and other arguments that can be compared; returns tensors
    ):
        self.function, self.calls, self.graphs, self.stream = function, Counter(), {}, torch.cuda.Stream()

    def __call__(
        self,
        *arguments,  # of the function
    ):  # what the function returns
        "Other shapes, dtypes or values of arguments that are no tensors get a graph of their own."
        tensors = [a for a in arguments if torch.is_tensor(a)]
        key = tuple((a.shape, a.dtype, a.device) if torch.is_tensor(a) else a for a in arguments)
        if self.calls[key] < WARMUP_ITERS:
            outputs, synchronised = self.run_eager(*arguments)
            self.calls[key] += not synchronised
            return outputs
        if key not in self.graphs:
            self.graphs[key] = self.capture(*arguments)
        graph, inputs, outputs = self.graphs[key]
        for static, value in zip(inputs, tensors, strict=True):
            static.copy_(value)
        graph.replay()
        return outputs

    def run_eager(self, *arguments):
        "The function's result, computed on the stream used for capture; and whether the host had to wait for the GPU."
        here = torch.cuda.current_stream()
        self.stream.wait_stream(here)
        with warnings.catch_warnings(record=True) as caught, torch.cuda.stream(self.stream):
            warnings.simplefilter("always")
            before = torch.cuda.get_sync_debug_mode()
            torch.cuda.set_sync_debug_mode("warn")
            try:
                outputs = self.function(*arguments)
            finally:
                torch.cuda.set_sync_debug_mode(before)
        here.wait_stream(self.stream)
        others = [warning for warning in caught if "called a synchronizing" not in str(warning.message)]
        for warning in others:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        return outputs, len(others) < len(caught)

    def capture(self, *arguments):
        "The graph, its static inputs, and its outputs."
        graph, arguments = torch.cuda.CUDAGraph(), [a.clone() if torch.is_tensor(a) else a for a in arguments]
        with torch.cuda.graph(graph, stream=self.stream):
            outputs = self.function(*arguments)
        return graph, [a for a in arguments if torch.is_tensor(a)], outputs


def graphed_gradients(
    backward: Callable,  # (model, x, y, ...) -> logits; leaves gradients in `.grad`, such as `training.batch_gradients`
    model: nn.Module,  # on the GPU
) -> Callable:  # takes the place of `backward`, for this network alone
    "`backward` as a CUDA graph: forward and backward pass of a step by one launch."
    weights = list(model.parameters())

    def with_gradients(x, y, *others):
        return backward(model, x, y, *others), [weight.grad for weight in weights]

    graphed = CUDAGraphed(with_gradients)

    def replay(model, x, y, *others):
        logits, gradients = graphed(x, y, *others)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        return logits.clone()

    return replay


def run_on_streams(
    streams: list,  # of `torch.cuda.Stream`, one for each call
    function: Callable,  # of one item of each list
    *lists: list,  # tensors on a GPU, or what holds them; as many in each as there are streams
) -> list:  # what the function returns for the first of each, the second, ...
    "Like `map`, but the calls run concurrently on a GPU, each on its own stream."
    here, outputs = torch.cuda.current_stream(), []
    for stream, arguments in zip(streams, zip(*lists, strict=True), strict=True):
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            outputs.append(function(*arguments))
    for stream in streams:
        here.wait_stream(stream)
    return outputs

"Batches of a data set in shuffled order, gathered once an epoch where memory allows."

import torch

GATHER_BYTES = 2**26  # data up to this size is put in order once per epoch, larger data batch by batch


def index_rows(
    x: torch.Tensor,  # examples, (n, ...)
    rows: torch.Tensor,  # indices, any shape
) -> torch.Tensor:  # (*rows.shape, ...)
    "Some of the examples, in any order: `x[rows]`, but faster for large examples."
    return x.reshape(len(x), -1).index_select(0, rows.flatten()).view(*rows.shape, *x.shape[1:])


def batches(
    x: torch.Tensor,  # examples, (n, ...)
    y: torch.Tensor,  # labels, (n,)
    order: torch.Tensor,  # indices, (n,), on the device of `x`; or (networks, n), an order for each network
    batch_size: int,  # examples in a batch; the last one may be smaller
):  # yields (x, y)
    "One batch after the other; a lone last example joins the batch before it, since batch normalisation needs two."
    n, axis = order.shape[-1], order.dim() - 1
    edges = [*range(0, n, batch_size), n]
    if batch_size > 1 and n > batch_size and n % batch_size == 1:
        del edges[-2]
    gathered = x.nbytes * (order.numel() // n) <= GATHER_BYTES
    if gathered:
        x, y = index_rows(x, order), y[order]
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        if gathered:
            yield x.narrow(axis, start, stop - start), y.narrow(axis, start, stop - start)
        else:
            rows = order.narrow(axis, start, stop - start)
            yield index_rows(x, rows), y[rows]

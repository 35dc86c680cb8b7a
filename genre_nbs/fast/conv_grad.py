"The backward pass of a convolution, compiled: rows of numbers are added only where a gradient is not zero."

import numpy as np
from numba import njit


@njit(nogil=True, fastmath={"contract"})  # fused multiply-add; NaN stays NaN
def add_products(total, line_step, grads, table, position_step, run):
    """For all k: `total[k, line * line_step:][:run] += grads[line, position] * table[k, position * position_step:][:run]`.

    The sum is over those positions whose gradient is not zero, four at a time. total, table (k, ...); grads (lines, positions).
    """
    lines, positions = grads.shape
    where, grad = np.zeros(positions + 3, np.int64), np.zeros(positions + 3, np.float32)
    for line in range(lines):
        found = 0
        for position in range(positions):
            where[found], grad[found] = position * position_step, grads[line, position]
            found += grads[line, position] != 0
        grad[found : found + 3] = 0
        for k in range(len(total)):
            here, rows = total[k, line * line_step :], table[k]
            for i in range(0, found, 4):
                a, b, c, d = rows[where[i] :], rows[where[i + 1] :], rows[where[i + 2] :], rows[where[i + 3] :]
                s, t, u, v = grad[i], grad[i + 1], grad[i + 2], grad[i + 3]
                for j in range(run):
                    here[j] += s * a[j] + t * b[j] + u * c[j] + v * d[j]


@njit(nogil=True)
def conv_backward(x, weight, grad_output, grad_input, grad_weight, grad_bias):
    """Adds the gradients of a convolution's weight and bias, and writes those of its input (where `grad_input` is not empty).

    x, grad_input (n, h, w * c), padded on the left and on the right alone; weight, grad_weight (k, out * k * c); grad_output
    (n, rows, columns, out). Lines above and below x, of which there are rows + k - 1 - h, hold zeros: they are left out.
    """
    n, rows, columns, out = grad_output.shape
    k, run, above = len(weight), weight.shape[1] // out, (rows + len(weight) - 1 - x.shape[1]) // 2
    for i in range(n):
        if len(grad_input):
            grad_input[i] = 0
        for row in range(rows):
            for column in range(columns):
                grad_bias += grad_output[i, row, column]
            first, last = max(0, above - row), min(k, x.shape[1] + above - row)
            here = slice(row + first - above, row + last - above)
            add_products(grad_weight[first:last], run, grad_output[i, row].T, x[i, here], run // k, run)
            if len(grad_input):
                add_products(grad_input[i, here], run // k, grad_output[i, row], weight[first:last], run, run)

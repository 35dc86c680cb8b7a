"The way back through a convolution, compiled: rows of numbers are added only where a slope is not zero."

import numpy as np
from numba import njit


@njit(nogil=True, fastmath={"contract"})  # fused multiply-add; NaN stays NaN
def add_product(total, line_step, slopes, table, place_step, run):
    """For all k: `total[k, line * line_step:][:run] += slopes[line, place] * table[k, place * place_step:][:run]`.

    The sum is over those places whose slope is not zero, four at a time. total, table (k, ...); slopes (lines, places).
    """
    lines, places = slopes.shape
    where, slope = np.zeros(places + 3, np.int64), np.zeros(places + 3, np.float32)
    for line in range(lines):
        found = 0
        for place in range(places):
            where[found], slope[found] = place * place_step, slopes[line, place]
            found += slopes[line, place] != 0
        slope[found : found + 3] = 0
        for k in range(len(total)):
            here, rows = total[k, line * line_step :], table[k]
            for i in range(0, found, 4):
                a, b, c, d = rows[where[i] :], rows[where[i + 1] :], rows[where[i + 2] :], rows[where[i + 3] :]
                s, t, u, v = slope[i], slope[i + 1], slope[i + 2], slope[i + 3]
                for j in range(run):
                    here[j] += s * a[j] + t * b[j] + u * c[j] + v * d[j]


@njit(nogil=True)
def find_slopes(x, weight, slopes, x_slopes, weight_slopes, bias_slopes):
    """Adds the slopes of a convolution's weight and bias, and writes those of its input (where `x_slopes` is not empty).

    x, x_slopes (n, h, w * c), padded on the left and on the right alone; weight, weight_slopes (k, out * k * c); slopes of the
    answers (n, rows, columns, out). Lines above and below x, of which there are rows + k - 1 - h, hold zeros: they are left out.
    """
    n, rows, columns, out = slopes.shape
    k, run, above = len(weight), weight.shape[1] // out, (rows + len(weight) - 1 - x.shape[1]) // 2
    for i in range(n):
        if len(x_slopes):
            x_slopes[i] = 0
        for row in range(rows):
            for column in range(columns):
                bias_slopes += slopes[i, row, column]
            first, last = max(0, above - row), min(k, x.shape[1] + above - row)
            here = slice(row + first - above, row + last - above)
            add_product(weight_slopes[first:last], run, slopes[i, row].T, x[i, here], run // k, run)
            if len(x_slopes):
                add_product(x_slopes[i, here], run // k, slopes[i, row], weight[first:last], run, run)

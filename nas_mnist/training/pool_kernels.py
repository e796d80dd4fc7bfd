"""The anti-aliased pool as loops over maps, which lie as in `kernels`. Its squares are 2×2, one at
every place and over the edge by one: a row has one more of them than pixels."""

import numpy as np

from nas_mnist.training.kernels import get, inlined, jitted, put

# Which pixel of a square is the largest: 1 for the right one of a row, 2 for the lower row.
_NEITHER, _RIGHT, _LOWER, _BOTH = (np.uint8(code) for code in range(4))


@inlined
def _of_pairs(row, most, right, depth):
    """The largest of each two neighbours, and whether it is the right one: of equals the left one,
    as by torch. Those at the ends have no neighbour."""
    inner = row.shape[0] - depth
    for t in range(depth):
        most[t], right[t] = get(row[t]), _RIGHT
        most[row.shape[0] + t], right[row.shape[0] + t] = get(row[inner + t]), _NEITHER
    after, most, right = row[depth:], most[depth:], right[depth:]
    for t in range(inner):
        u, v = get(row[t]), get(after[t])
        most[t] = v if v > u else u
        right[t] = _RIGHT if v > u else _NEITHER


@inlined
def _of_rows(upper, lower, rights, lower_rights, most, which):
    """The largest of two pairs, one above the other, and which pixel it is."""
    for t in range(most.shape[0]):
        u, v = upper[t], lower[t]
        most[t] = v if v > u else u
        which[t] = lower_rights[t] | _LOWER if v > u else rights[t]


@inlined
def _blurred(row, out, depth):
    sixteenth = row.dtype.type(1 / 16)
    for w in range(out.shape[0] // depth):
        here, there = w * depth, 2 * w * depth
        for c in range(depth):
            middle = row[there + depth + c]
            v = row[there + c] + middle + middle + row[there + 2 * depth + c]
            out[here + c] = put(out[here + c], v * sixteenth)


@jitted
def forward(x, y, which, work, depth):
    """y: the largest values, blurred by 1, 2, 1 in both directions and thinned by two. `which`: of
    each square, for the gradient; `work`: (4, squares of a row x channels); `depth`: channels."""
    images, rows, _ = x.shape
    pairs, most, total = work[:2], work[2], work[3]
    rights = np.empty(pairs.shape, np.uint8)
    for n in range(images):
        pairs[1] = -np.inf
        for i in range(rows + 1):
            now, before = i % 2, 1 - i % 2
            if i < rows:
                _of_pairs(x[n, i], pairs[now], rights[now], depth)
            else:
                pairs[now] = -np.inf
            _of_rows(pairs[before], pairs[now], rights[before], rights[now], most, which[n, i])
            if now == 1:
                for t in range(most.shape[0]):
                    total[t] += most[t] + most[t]
                continue
            if i > 0:
                for t in range(most.shape[0]):
                    total[t] += most[t]
                _blurred(total, y[n, i // 2 - 1], depth)
            total[:] = most


@inlined
def _spread(row, out, depth):
    sixteenth = out.dtype.type(1 / 16)
    out[:] = 0
    for w in range(row.shape[0] // depth):
        here, there = w * depth, 2 * w * depth
        for c in range(depth):
            g = get(row[here + c]) * sixteenth
            out[there + c] += g
            out[there + depth + c] = g + g
            out[there + 2 * depth + c] = g


@inlined
def _to_chosen(gradient, which, upper, lower, upper_code, lower_code):
    zero = gradient.dtype.type(0)
    for t in range(gradient.shape[0]):
        g, code = gradient[t], which[t]
        upper[t] += g if code == upper_code else zero
        lower[t] += g if code == lower_code else zero


@jitted
def backward(dy, which, dx, work, depth):
    """dx: each square's gradient at its largest pixel. `work`: (5, a square more, x channels)."""
    images, rows, length = dx.shape
    squares = length + depth
    spread, gradient, sums = work[:2, :squares], work[2, :squares], work[3:]
    for n in range(images):
        work[:] = 0
        for i in range(rows + 1):
            o = i // 2
            if i % 2 == 1:
                for t in range(squares):
                    gradient[t] = spread[o % 2, t] + spread[o % 2, t]
            else:
                if o < dy.shape[1]:
                    _spread(dy[n, o], spread[o % 2], depth)
                else:
                    spread[o % 2] = 0
                for t in range(squares):
                    gradient[t] = spread[0, t] + spread[1, t]
            # Pixels stand one further right in the sums: the first square's left one is none.
            upper, lower = sums[i % 2], sums[1 - i % 2]
            lower[:] = 0
            _to_chosen(gradient, which[n, i], upper, lower, _NEITHER, _LOWER)
            _to_chosen(gradient, which[n, i], upper[depth:], lower[depth:], _RIGHT, _BOTH)
            if i > 0:
                out, done = dx[n, i - 1], upper[depth:]
                for t in range(length):
                    out[t] = put(out[t], done[t])

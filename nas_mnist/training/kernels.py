"""Loops over maps that torch takes many passes for, compiled by numba: arrays in, arrays out.

A map lies as (images, rows, pixels of a row x channels), float32, float64, or bfloat16 as uint16.
What differs from channel to channel is repeated for each pixel of a row, so that every inner loop
runs along a whole row: long enough to fill a processor's vectors, however few channels there are.
All arithmetic is in float32, or in float64 for float64 maps. `low` and `floor` are 0 for a ReLU
before and behind the affine map, and minus infinity for none.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload, register_jitable

# Sums may be taken in any order, and not-a-number is kept: it tells that a training diverged.
_HOW = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}
inlined = register_jitable


def jitted(function):
    """Compiled when first called, and kept for the next process where there is a place for it."""
    try:
        return njit(cache=True, **_HOW)(function)
    except RuntimeError:  # no folder that can be written to
        return njit(**_HOW)(function)


def _bitcast(signature, kind):
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], kind)

    return signature, codegen


@intrinsic
def _float_of(context, bits):
    return _bitcast(types.float32(types.uint32), ir.FloatType())


@intrinsic
def _bits_of(context, value):
    return _bitcast(types.uint32(types.float32), ir.IntType(32))


def get(stored):
    """A stored number, bfloat16 widened to float32."""


def put(like, value):
    """A number as `like` is stored, rounded to the nearest bfloat16, or even."""


@overload(get, inline="always")
def _(stored):
    if stored == types.uint16:
        return lambda stored: _float_of(np.uint32(stored) << np.uint32(16))
    return lambda stored: stored


@overload(put, inline="always")
def _(like, value):
    def rounded(like, value):
        bits = _bits_of(value)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        return np.uint16((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

    return rounded if like == types.uint16 else lambda like, value: value


@jitted
def moments(x, low, total, squares):
    """Add up each place of a row, and its square, over all rows."""
    images, rows, length = x.shape
    for n in range(images):
        for h in range(rows):
            row = x[n, h]
            for t in range(length):
                v = get(row[t])
                v = low if v < low else v
                total[t] += v
                squares[t] += v * v


# Random numbers of 16 bits; each row reads as many as it needs from a place of its own.
_READ = 2**16  # at most so many from one place
_RANDOM = np.random.default_rng(0).integers(2**16, size=2 * _READ, dtype=np.uint16)


@inlined
def _keep(buffer, line, drop):
    """Dropout of a row: a number stays, scaled, unless its random number is below the threshold.
    Where the row reads, and what it changes there, is a hash of its number (`lowbias32`, by
    C. Wellons: https://nullprogram.com/blog/2018/07/31/), so that each mask is drawn anew."""
    seed, threshold, scale = drop
    zero = buffer.dtype.type(0)
    for begin in range(0, buffer.shape[0], _READ):
        h = np.uint32(np.uint32(line) * np.uint32(0x9E3779B9) + np.uint32(begin)) ^ seed
        h = np.uint32(np.uint32(h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D))
        h = np.uint32(np.uint32(h ^ (h >> np.uint32(15))) * np.uint32(0x846CA68B))
        h = np.uint32(h ^ (h >> np.uint32(16)))
        key, drawn = np.uint16(h), _RANDOM[h >> np.uint32(16) :]
        part = buffer[begin : begin + _READ]
        for t in range(part.shape[0]):
            part[t] = part[t] * scale if np.uint16(drawn[t] ^ key) >= threshold else zero


@jitted
def forward(x, y, best, a, b, low, floor, drop, side, depth):
    """y = pool(dropout(max(a max(x, low) + b, floor))). `drop`: seed, threshold and scale; `side`
    of the pool's window, 1 for none; `depth`: channels; `best`: which of a window was largest."""
    images, _, length = x.shape
    _, rows, short = y.shape
    buffer, top = np.empty(length, a.dtype), np.empty(short, a.dtype)
    for n in range(images):
        for h in range(rows):
            out = y[n, h]
            for i in range(side):
                line = h * side + i
                row = x[n, line]
                for t in range(length):
                    v = get(row[t])
                    v = (low if v < low else v) * a[t] + b[t]
                    buffer[t] = floor if v < floor else v
                if drop[1] > 0:
                    _keep(buffer, n * x.shape[1] + line, drop)
                if side == 1:
                    for t in range(length):
                        out[t] = put(out[t], buffer[t])
                else:
                    _pool(buffer, top, best[n, h], i, side, depth)
            if side > 1:
                for t in range(short):
                    out[t] = put(out[t], top[t])


@inlined
def _pool(buffer, top, best, i, side, depth):
    """Take row i of a row of windows into account; of equals the first is kept, as by torch."""
    for j in range(side):
        code = np.uint8(i * side + j)
        for w in range(top.shape[0] // depth):
            here, there = w * depth, (w * side + j) * depth
            for c in range(depth):
                v, most = buffer[there + c], top[here + c]
                better = v > most or code == 0
                top[here + c] = v if better else most
                best[here + c] = code if better else best[here + c]


@inlined
def _arriving(buffer, dy, best, n, line, drop, side, depth, rows):
    """The gradient that a row gets through pool and dropout."""
    h, length = line // side, buffer.shape[0]
    if side == 1:
        row = dy[n, line]
        for t in range(length):
            buffer[t] = get(row[t])
    elif h >= dy.shape[1]:
        buffer[:] = 0
    else:
        row, which = dy[n, h], best[n, h]
        pixels = row.shape[0] // depth
        buffer[pixels * side * depth :] = 0
        for j in range(side):
            code = np.uint8((line - h * side) * side + j)
            for w in range(pixels):
                here, there = w * depth, (w * side + j) * depth
                for c in range(depth):
                    g = get(row[here + c])
                    buffer[there + c] = g if which[here + c] == code else buffer.dtype.type(0)
    if drop[1] > 0:
        _keep(buffer, n * rows + line, drop)


@jitted
def backward_moments(x, dy, best, a, b, low, floor, drop, side, depth, total, products):
    """Add up each place's gradient behind the affine map, and its product with the input."""
    images, rows, length = x.shape
    buffer = np.empty(length, a.dtype)
    for n in range(images):
        for line in range(rows):
            _arriving(buffer, dy, best, n, line, drop, side, depth, rows)
            row = x[n, line]
            for t in range(length):
                v = get(row[t])
                v = low if v < low else v
                g = buffer[t] if v * a[t] + b[t] > floor else a.dtype.type(0)
                total[t] += g
                products[t] += g * v


@jitted
def backward(x, dy, best, a, b, low, floor, drop, side, depth, slopes, dx):
    """dx = p g + q max(x, low) + r where x > low, with p, q, r = `slopes` of each place."""
    images, rows, length = x.shape
    buffer = np.empty(length, a.dtype)
    p, q, r = slopes[0], slopes[1], slopes[2]
    for n in range(images):
        for line in range(rows):
            _arriving(buffer, dy, best, n, line, drop, side, depth, rows)
            row, out = x[n, line], dx[n, line]
            for t in range(length):
                u = get(row[t])
                v = low if u < low else u
                g = buffer[t] if v * a[t] + b[t] > floor else a.dtype.type(0)
                d = p[t] * g + q[t] * v + r[t]
                out[t] = put(out[t], d if u > low else a.dtype.type(0))


@inlined
def _widen(source, line, multiple):
    """Repeat each number of a row for all channels that are made of it."""
    if multiple == 1:
        for t in range(source.shape[0]):
            line[t] = get(source[t])
    else:
        for p in range(source.shape[0]):
            line[p * multiple : (p + 1) * multiple] = get(source[p])


@inlined
def _next_lines(lines, x, h, multiple):
    """Widen the rows of `x` that row h of the output reads, and row h - 1 did not; row r is kept
    in lines[r % kernel]."""
    kernel = lines.shape[0]
    for row in range(h if h == 0 else h + kernel - 1, h + kernel):
        _widen(x[row], lines[row % kernel], multiple)


@jitted
def depthwise(x, y, weight, step):
    """A convolution of which each filter reads one channel: of `x`, a padded map, or of the image
    that all read. `weight`: (kernel, kernel, pixels of a row x channels); `step`: channels."""
    images, rows, length = y.shape
    kernel, multiple = weight.shape[0], length // step + weight.shape[0] - 1
    multiple = step * multiple // x.shape[2]
    lines = np.empty((kernel, x.shape[2] * multiple), weight.dtype)
    buffer = np.empty(length, weight.dtype)
    for n in range(images):
        for h in range(rows):
            _next_lines(lines, x[n], h, multiple)
            buffer[:] = 0
            for i in range(kernel):
                line, own = lines[(h + i) % kernel], weight[i]
                if kernel == 3:  # fewer passes over the sums
                    first, second, third = own[0], own[1], own[2]
                    right, far = line[step:], line[2 * step :]
                    for t in range(length):
                        partial = line[t] * first[t] + right[t] * second[t] + far[t] * third[t]
                        buffer[t] += partial
                else:
                    for j in range(kernel):
                        shifted, filters = line[j * step :], own[j]
                        for t in range(length):
                            buffer[t] += shifted[t] * filters[t]
            out = y[n, h]
            for t in range(length):
                out[t] = put(out[t], buffer[t])


@jitted
def depthwise_gradient(x, dy, weight, step):
    """Add to `weight` the gradient of the filters of each place."""
    images, rows, length = dy.shape
    kernel, multiple = weight.shape[0], length // step + weight.shape[0] - 1
    multiple = step * multiple // x.shape[2]
    lines = np.empty((kernel, x.shape[2] * multiple), weight.dtype)
    buffer = np.empty(length, weight.dtype)
    for n in range(images):
        for h in range(rows):
            _next_lines(lines, x[n], h, multiple)
            row = dy[n, h]
            for t in range(length):
                buffer[t] = get(row[t])
            for i in range(kernel):
                line = lines[(h + i) % kernel]
                for j in range(kernel):
                    shifted, own = line[j * step :], weight[i, j]
                    for t in range(length):
                        own[t] += shifted[t] * buffer[t]

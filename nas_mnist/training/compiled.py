"""Batched layers by kernels of this package's own, where numba is installed (`nas-mnist[fast]`) and
training is on a CPU: what torch does in many passes over memory is done in two."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nas_mnist.networks.layers import Layer
from nas_mnist.networks.layers.convolution import BatchNorm, Dropout, MaxPool, ReLU
from nas_mnist.networks.packing import PackedRun
from nas_mnist.training import kernels, pool_kernels

_EPSILON, _MOMENTUM = 1e-5, 0.1  # torch's of a norm
_LONG = 1024  # numbers of a row: longer ones are no faster, and leave a core's cache
_WIDEST_POOL = 16  # which of a window's values was largest is kept in eight bits
# What one pass does, in its order; each may be missing.
_STAGE = (ReLU, BatchNorm, ReLU, Dropout, MaxPool)


class Stage(NamedTuple):
    """What stands between two convolutions: activation, norm, dropout and pool, in this order."""

    layers: tuple[Layer, ...]  # as they stand in the network
    low: float  # 0 for a ReLU before the norm, else minus infinity
    norm: BatchNorm | None
    floor: float  # 0 for a ReLU behind the norm
    rate: float  # of dropout
    side: int  # of the pool's window, 1 for none

    @classmethod
    def of(cls, layers: Sequence[Layer]) -> "Stage | None":
        """The stage that the layers begin with, if there is any."""
        found: list[Layer | None] = []
        left = list(layers)
        for kind in _STAGE:
            fits = left and type(left[0]) is kind and getattr(left[0], "kernel", 1) <= _WIDEST_POOL
            found.append(left.pop(0) if fits else None)
        taken = tuple(layers[: len(layers) - len(left)])
        first, norm, second, dropout, pool = found
        rate = dropout.p if isinstance(dropout, Dropout) else 0.0
        side = pool.kernel if isinstance(pool, MaxPool) else 1
        low, floor = (0.0 if relu else -float("inf") for relu in (first, second))
        own = norm if isinstance(norm, BatchNorm) else None
        return cls(taken, low, own, floor, rate, side) if taken else None

    def run_packed(self, values: Tensor, run: PackedRun) -> Tensor:
        state = [next(run.running), next(run.running)] if self.norm else []
        trained = self.norm.trained(run) if self.norm else ()
        output: Tensor = _RunStage.apply(values, self, run, state, *trained)
        return output


class _Map:
    """A tensor of channels that lie side by side, as the kernels see it."""

    def __init__(self, values: Tensor) -> None:
        self.values = values.detach().permute(0, 2, 3, 1).contiguous()
        images, rows, pixels, depth = self.values.shape
        bits = self.values.view(torch.uint16) if values.dtype == torch.bfloat16 else self.values
        self.array = bits.numpy().reshape(images, rows, pixels * depth)
        self.kind: Any = np.float64 if values.dtype == torch.float64 else np.float32

    def joined(self, rows: int) -> Any:
        """The array with so many rows seen as one."""
        images, height, length = self.array.shape
        return self.array.reshape(1, images * height // rows, rows * length)

    @classmethod
    def empty(cls, like: Tensor, shape: Sequence[int]) -> "_Map":
        batch, channels, height, width = shape
        return cls(like.new_empty(batch, height, width, channels).permute(0, 3, 1, 2))

    @property
    def tensor(self) -> Tensor:
        return self.values.permute(0, 3, 1, 2)


class _RunStage(torch.autograd.Function):
    """A stage, with its gradient. Of what it makes on the way nothing is kept but which value of a
    pool's window was the largest."""

    @staticmethod
    @np.errstate(all="ignore")  # a training that diverges is told by its loss
    def forward(
        context: Any,
        values: Tensor,
        stage: Stage,
        run: PackedRun,
        state: list[Tensor],
        *own: Tensor | None,
    ) -> Tensor:
        x = _Map(values)
        batch, channels, height, width = values.shape
        context.rows = _rows_together(batch, width * channels) if stage.side == 1 else 0
        # Of what belongs to a channel, along what the kernels take for a row.
        context.repeats = width * run.folds * max(context.rows, 1)
        context.count = batch * run.folds * height * width
        low, floor = x.kind(stage.low), x.kind(stage.floor)
        if stage.norm:
            scales, shifts = own
            assert shifts is not None
            bias = shifts.detach().double().numpy()
            weight = np.ones_like(bias) if scales is None else scales.detach().double().numpy()
            running = [known.numpy() for known in state]
            mean, variance = (known.astype(np.float64) for known in running)
            if run.training:
                sums = np.zeros((2, context.repeats * len(weight)), x.kind)
                kernels.moments(_seen(x, context.rows), low, *sums)
                mean, squares = _by_channel(sums, len(weight)) / context.count
                variance = np.maximum(squares - mean**2, 0)
                unbiased = variance * (context.count / max(1, context.count - 1))
                for known, new in zip(running, (mean, unbiased), strict=True):
                    known += (_MOMENTUM * (new - known)).astype(known.dtype)
            inverse = 1 / np.sqrt(variance + _EPSILON)
            context.norm = weight, mean, inverse
            maps = np.stack((weight * inverse, bias - mean * weight * inverse))
        else:
            context.norm, maps = None, np.repeat([[1.0], [0.0]], channels // run.folds, axis=1)
        a, b = np.tile(maps.astype(x.kind), context.repeats)
        seed, threshold, scale = 0, 0, 1.0
        if stage.rate and run.training:
            seed, threshold = int(torch.randint(2**32, ())), round(stage.rate * (2**16 - 1))
            scale = 1 / (1 - stage.rate)
        drop = np.uint32(seed), np.uint16(threshold), x.kind(scale)
        side = stage.side
        y = _Map.empty(x.tensor, (batch, channels, height // side, width // side))
        best = np.empty(y.array.shape if side > 1 else (0, 0, 0), np.uint8)
        settings = best, a, b, low, floor, drop, side, channels
        kernels.forward(_seen(x, context.rows), _seen(y, context.rows), *settings)
        context.kept, context.trained = (x, settings), own
        return y.tensor

    @staticmethod
    @np.errstate(all="ignore")
    def backward(context: Any, gradient: Tensor) -> Any:
        x, settings = context.kept
        dx = _Map.empty(x.tensor, x.tensor.shape)
        seen, gradients = [_seen(own, context.rows) for own in (x, _Map(gradient), dx)], []
        length = seen[0].shape[2]
        if context.norm:
            weight, mean, inverse = context.norm
            sums = np.zeros((2, length), x.kind)
            kernels.backward_moments(*seen[:2], *settings, *sums)
            total, products = _by_channel(sums, len(weight))
            # With x̂ = (v - mean) inverse: dv = weight inverse (g - mean of g - x̂ mean of g x̂).
            along = inverse * (products - mean * total)
            p, q = weight * inverse, -weight * inverse**2 * along / context.count
            slopes = np.tile(
                np.stack((p, q, -p * total / context.count - q * mean)), context.repeats
            )
            for own, new in zip(context.trained, (along, total), strict=True):
                gradients.append(None if own is None else torch.from_numpy(new).to(own.dtype))
        else:
            slopes = np.repeat([[1.0], [0.0], [0.0]], length, axis=1)
        kernels.backward(*seen[:2], *settings, slopes.astype(x.kind), seen[2])
        return dx.tensor, None, None, None, *gradients


def _rows_together(images: int, length: int) -> int:
    """How many rows, of that length, the kernels take for one, so that their loops are long."""
    rows = 1
    while 2 * rows * length <= _LONG and images % (2 * rows) == 0:
        rows *= 2
    return rows


def _seen(values: _Map, rows: int) -> Any:
    """A map as the kernels take it: with so many rows joined, or as it is where a pool needs it."""
    return values.joined(rows) if rows else values.array


def _by_channel(sums: Any, channels: int) -> Any:
    """Sums along a row, (n, pixels x channels), as those of each channel, (n, channels)."""
    return sums.reshape(len(sums), -1, channels).sum(axis=1, dtype=np.float64)


@lru_cache
def stage(layers: tuple[Layer, ...]) -> Stage | None:
    """What the layers begin with that one pass does."""
    return Stage.of(layers)


class AntiAliased(torch.autograd.Function):
    """An anti-aliased pool, in two passes where torch has many, most of them over the whole map."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        x = _Map(values)
        batch, channels, height, width = context.shape = values.shape
        y = _Map.empty(x.tensor, (batch, channels, height // 2, width // 2))
        which = np.empty((batch, height + 1, (width + 1) * channels), np.uint8)
        work = np.empty((4, which.shape[2]), x.kind)
        pool_kernels.forward(x.array, y.array, which, work, channels)
        context.which, context.kind = which, x.kind
        return y.tensor

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        _, channels, _, width = context.shape
        dy, work = _Map(gradient), np.empty((5, (width + 2) * channels), context.kind)
        dx = _Map.empty(dy.tensor, context.shape)
        pool_kernels.backward(dy.array, context.which, dx.array, work, channels)
        return dx.tensor


def convolution(
    values: Tensor, weight: Tensor, bias: Tensor | None, padding: int = 0, groups: int = 1
) -> Tensor:
    """As torch's conv2d, with a gradient that takes less time where there is a shorter way."""
    kernel, fans_out = weight.shape[-1], weight.shape[1] == 1 and len(weight) > groups
    if fans_out and not values.requires_grad and kernel <= 16:  # the first: it reads the image
        output: Tensor = _FanOut.apply(values, weight, padding)
    else:
        kind = torch.bfloat16 if torch.is_autocast_enabled("cpu") else values.dtype
        values, weight = values.to(kind), weight.to(kind)
        if kernel == 1 and groups == 1 and not padding:
            output = _Pointwise.apply(values, weight)
        elif weight.shape[1] == 1 and len(weight) == groups:
            output = _Depthwise.apply(values, weight, padding)
        else:
            output = functional.conv2d(values, weight, padding=padding, groups=groups)
    return output if bias is None else output + bias.to(output.dtype).view(-1, 1, 1)


class _FanOut(torch.autograd.Function):
    """Several filters for each channel, without a gradient of the input."""

    @staticmethod
    def forward(context: Any, values: Tensor, weight: Tensor, padding: int) -> Tensor:
        x = _Map(functional.pad(values, [padding] * 4))
        images, _, height, width = x.tensor.shape
        kernel, channels = weight.shape[-1], len(weight)
        kind = torch.bfloat16 if torch.is_autocast_enabled("cpu") else values.dtype
        shape = images, channels, height - kernel + 1, width - kernel + 1
        y = _Map.empty(values.to(kind), shape)
        own = weight.detach().flatten(1).t().double().numpy().astype(x.kind)
        tiled = np.tile(own, shape[3]).reshape(kernel, kernel, -1)
        kernels.depthwise(x.array, y.array, tiled, channels)
        context.kept = x, weight
        return y.tensor

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Any:
        x, weight = context.kept
        return None, _filter_gradient(x, gradient, weight), None


def _filter_gradient(x: _Map, gradient: Tensor, weight: Tensor) -> Tensor:
    dy, kernel = _Map(gradient), weight.shape[-1]
    sums = np.zeros((kernel, kernel, dy.array.shape[2]), x.kind)
    kernels.depthwise_gradient(x.array, dy.array, sums, len(weight))
    own = _by_channel(sums.reshape(kernel**2, -1), len(weight)).T.reshape(weight.shape)
    return torch.from_numpy(own).to(weight.dtype)


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor, weight: Tensor) -> Tensor:
        x = values.permute(0, 2, 3, 1).contiguous()
        matrix = weight.flatten(1)
        context.save_for_backward(x, matrix)
        return (x.flatten(0, 2) @ matrix.t()).view(*x.shape[:3], -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Any:
        x, matrix = context.saved_tensors
        dy = gradient.permute(0, 2, 3, 1).contiguous().flatten(0, 2)
        dx = (dy @ matrix).view(x.shape).permute(0, 3, 1, 2)
        return dx, (dy.t() @ x.flatten(0, 2))[..., None, None]


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor, weight: Tensor, padding: int) -> Tensor:
        context.save_for_backward(values, weight)
        context.padding = padding
        return functional.conv2d(values, weight, padding=padding, groups=len(weight))

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Any:
        values, weight = context.saved_tensors
        padding, kernel = context.padding, weight.shape[-1]
        back = kernel - 1 - padding
        dx = functional.conv2d(gradient, weight.flip(2, 3), padding=back, groups=len(weight))
        x = _Map(functional.pad(values, [padding] * 4) if padding else values)
        return dx, _filter_gradient(x, gradient, weight), None

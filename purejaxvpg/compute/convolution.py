"""Convolutions as matrix products on a CPU.  On accelerators they are the plain convolution."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from purejaxvpg.compute.dense import dot
from purejaxvpg.compute.platform import on_cpu
from purejaxvpg.compute.rows import map_rows

_WINDOWS_BYTES = 2**22  # of the windows of some rows, which stay in a core's cache


def convolution(
    x: Array,
    kernel: Array,
    window_strides: Any,
    padding: Any,
    lhs_dilation: Any = None,
    rhs_dilation: Any = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    **options: Any,
) -> Array:
    """`lax.conv_general_dilated`, up to rounding, in a fraction of its time on a CPU.

    Inside a loop (and a run is one loop) XLA's convolution does not use the CPU's library: its
    gradient for the kernel takes 40 us a row of MinAtar (10 x 10 x 4, 16 channels out, 3 x 3),
    where the product of this function takes 2.  Under `vmap` over runs it gets slower still.

    Every window of x is a row of a matrix (nine slices, laid side by side, for 3 x 3), which the
    kernel multiplies.  The windows hold each number of x as often as it is in a window, so some
    rows at a time, and they are cut anew for the gradient rather than stored.

    Channels last, as flax calls it: x `[B, *size, C]`, kernel `[*window, C, O]`, one or more
    axes of size.  Dilations, groups, other layouts and precisions are left to XLA.
    """
    layout = lax.conv_dimension_numbers(x.shape, kernel.shape, dimension_numbers)
    dilations = (*(lhs_dilation or ()), *(rhs_dilation or ()))
    given = any(value is not None for value in options.values())
    plain = set(dilations) <= {1} and feature_group_count == 1 and not given
    if not (on_cpu() and plain and layout == _channels_last(x.ndim)):
        dilated = {"lhs_dilation": lhs_dilation, "rhs_dilation": rhs_dilation}
        return lax.conv_general_dilated(
            x, kernel, window_strides, padding, **dilated, dimension_numbers=layout,
            feature_group_count=feature_group_count, **options,
        )  # fmt: skip
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:-1], kernel.shape[:-2], window_strides, padding)
    edges = [(0, 0, 0), *((low, high, 0) for low, high in padding), (0, 0, 0)]
    x = lax.pad(x, jnp.zeros((), x.dtype), edges)  # a negative edge cuts
    places = [
        max(0, (n - k) // step + 1)
        for n, k, step in zip(x.shape[1:-1], kernel.shape[:-2], window_strides, strict=True)
    ]
    row_bytes = math.prod((*places, *kernel.shape[:-1])) * x.dtype.itemsize
    rows = max(1, _WINDOWS_BYTES // max(1, row_bytes))
    product = functools.partial(_by_product, kernel=kernel, places=places, steps=window_strides)
    total = x.shape[0]  # may be a symbol, where a program is exported for any number of rows
    if not isinstance(total, int) or total <= rows:
        return product(x)
    return map_rows(jax.checkpoint(product), x, rows)


def _channels_last(ndim: int) -> lax.ConvDimensionNumbers:
    """Layouts of x, kernel and result with the channels in the last axis."""
    axes = range(ndim - 2)
    rows = (0, ndim - 1, *(axis + 1 for axis in axes))
    return lax.ConvDimensionNumbers(rows, (ndim - 1, ndim - 2, *axes), rows)


def _by_product(x: Array, kernel: Array, places: Sequence[int], steps: Sequence[int]) -> Array:
    """The convolution without padding; places: how many windows along each axis."""

    def shifted(first: tuple[int, ...]) -> Array:
        """The number at `first` of every window: a slice of x."""
        axes = zip(first, places, steps, strict=True)
        return x[:, *(slice(start, start + n * step, step) for start, n, step in axes)]

    *window, channels, outputs = kernel.shape
    windows = jnp.concatenate([shifted(first) for first in np.ndindex(*window)], axis=-1)
    columns = math.prod(window) * channels
    y = dot(windows.reshape(-1, columns), kernel.reshape(columns, outputs))
    return y.reshape(x.shape[0], *places, outputs)

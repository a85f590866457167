"""What a CPU has to be told to be fast.  Each piece computes what the plain expression computes.

XLA leaves two things on the table there, and the rest of the package is written as if it did not.
On accelerators each is the plain expression.  (A third is rows.py: passes over rows in chunks that
fit the cache.)  Figures: one core of an Intel Xeon with AVX-512 and 2 MB of level-2 cache.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

# ----------------------------------------------------------------------------- one run at a time


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which `vmap` on a CPU applies to one run after the other.

    A layer's activations of one run (512 rows of 64 numbers: 128 KB) stay in a core's cache from
    one operation to the next; those of all runs together do not.  1.3x for 29 runs of 4 x 128,
    1.4x for 64 of 64 x 128; no gain at 128 rows a batch, and 0.85x at 16.
    """
    alone = jax.custom_batching.sequential_vmap(function)
    batched = jax.custom_batching.custom_vmap(function)

    @batched.def_vmap
    def rule(axis_size: int, in_batched: Any, *args: Any) -> tuple[Any, Any]:
        axes = jax.tree.map(lambda batched: 0 if batched else None, tuple(in_batched))
        # (`axis_size`: nothing of a function without arguments would be batched.)
        out = lax.platform_dependent(
            *args,
            cpu=jax.vmap(alone, axes, axis_size=axis_size),
            default=jax.vmap(function, axes, axis_size=axis_size),
        )
        return out, jax.tree.map(lambda _: True, out)

    return batched


# ------------------------------------------------------------------------ the gradient of a layer


@jax.custom_vjp
def dot(x: Array, kernel: Array) -> Array:
    """x `[B, I]` times kernel `[I, O]`, whose gradient for the kernel is fast on a CPU.

    That gradient, x^T d, is a sum over B rows.  Eigen, which multiplies there, takes 2 to 9 times
    as long over it as over the product itself; `_kernel_gradient` does not.  (Forward-mode
    differentiation is the price: `jax.jvp` does not go through here.)
    """
    return x @ kernel


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ kernel, (x, kernel)


def _backward(saved: tuple[Array, Array], d: Array) -> tuple[Array, Array]:
    x, kernel = saved
    plain = lambda x, d: x.T @ d  # noqa: E731
    return d @ kernel.T, lax.platform_dependent(x, d, cpu=_kernel_gradient, default=plain)


dot.defvjp(_forward, _backward)

_BLOCK = 128  # rows
_NARROW, _WIDE = 8, 128 * 128


def _kernel_gradient(x: Array, d: Array) -> Array:
    """x^T d `[I, O]` from x `[B, I]` and d `[B, O]`.

    Few columns: as (d^T x)^T, d turned round beforehand (8 ns a row instead of 110, for I = 64 and
    O = 2; the barriers keep XLA from turning it back).  Small kernels: a sum over blocks of rows,
    each a product of its own (110 ns a row instead of 155, for 64 x 64, and the blocks are shared
    among the cores).  Wide ones, where the sums of the blocks are the larger part: plainly.
    """
    rows, inputs, outputs = *x.shape, d.shape[1]
    if outputs < _NARROW:
        return lax.optimization_barrier(lax.optimization_barrier(d.T) @ x).T
    blocks = rows // _BLOCK
    if inputs < _NARROW or inputs * outputs > _WIDE or blocks < 2:
        return x.T @ d
    whole = blocks * _BLOCK
    in_blocks = (y[:whole].reshape(blocks, _BLOCK, -1) for y in (x, d))
    total = jnp.einsum("kbi,kbo->kio", *in_blocks).sum(0)
    return total + x[whole:].T @ d[whole:] if whole < rows else total

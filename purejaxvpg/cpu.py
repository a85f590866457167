"""What a CPU has to be told to be fast.  Each piece computes what the plain expression computes.

XLA leaves two things on the table there, and the rest of the package is written as if it did not.
On accelerators each is the plain expression.  (A third is rows.py: passes over rows in chunks that
fit the cache.)  Figures: one core of an Intel Xeon with AVX-512 and 2 MB of level-2 cache.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
from jax import Array, lax


def on_cpu() -> bool:
    """Whether what is being traced will run on a CPU, as far as is known while it is traced.

    A wrong guess costs time and nothing else, for either way computes the same.  (It would be
    right always with `lax.platform_dependent`, which traces both ways: seconds, once nested.)
    """
    return jax.default_backend() == "cpu"


# ----------------------------------------------------------------------------- one run at a time


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which `vmap` on a CPU applies to one run after the other.

    A layer's activations of one run (512 rows of 64 numbers: 128 KB) stay in a core's cache from
    one operation to the next; those of all runs together do not.  1.3x for 29 runs of 4 x 128,
    1.4x for 64 of 64 x 128; no gain at 128 rows a batch, and 0.85x at 16.
    """

    def called(*args: Any) -> Any:
        if not on_cpu():
            return function(*args)
        # `sequential_vmap` traces what it is given again for every loop and `vmap` around it; a
        # jaxpr takes a fifth of the time that the Python which it was made from takes.
        jaxpr, out = jax.make_jaxpr(function, return_shape=True)(*args)
        structure, flat = jax.tree.structure(out), jax.extend.core.jaxpr_as_fun(jaxpr)

        @jax.custom_batching.sequential_vmap
        def replayed(*args: Any) -> Any:
            return jax.tree.unflatten(structure, flat(*jax.tree.leaves(args)))

        return replayed(*args)

    return called


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
    return d @ kernel.T, _kernel_gradient(x, d) if on_cpu() else x.T @ d


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

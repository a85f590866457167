"""What a CPU has to be told to be fast.  Each piece computes what the plain expression computes.

XLA leaves two things on the table there, and the rest of the package is written as if it did not.
On accelerators each is the plain expression.  (A third is rows.py: passes over rows in chunks that
fit the cache.)  Figures: one core of an Intel Xeon with AVX-512 and 2 MB of level-2 cache.
"""

import functools
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

    What is traced has to be among the arguments: of what a function closes over, `vmap` and
    derivatives would not know.
    """

    def called(*args: Any) -> Any:
        if not on_cpu():
            return function(*args)
        # `sequential_vmap` traces what it is given again for every loop and `vmap` around it; a
        # jaxpr takes a fifth of the time that the Python which it was made from takes.
        jaxpr, out = jax.make_jaxpr(function, return_shape=True)(*args)
        structure, flat = jax.tree.structure(out), jax.extend.core.jaxpr_as_fun(jaxpr)

        def replayed(*args: Any) -> Any:
            return jax.tree.unflatten(structure, flat(*jax.tree.leaves(args)))

        # What is batched by a rule of its own cannot be differentiated; its derivative is that of
        # the plain function.
        in_turn = jax.custom_jvp(jax.custom_batching.sequential_vmap(replayed))
        in_turn.defjvp(functools.partial(jax.jvp, replayed))
        return in_turn(*args)

    return called


# ------------------------------------------------------------------------ the gradient of a layer

_SMALLEST_BLOCK, _LARGEST_BLOCK = 64, 256  # rows
_NARROW, _WIDE = 8, 128 * 128


@jax.custom_jvp
def dot(x: Array, kernel: Array) -> Array:
    """x `[B, I]` times kernel `[I, O]`, whose gradient for the kernel is fast on a CPU.

    That gradient, x^T d, is a sum over B rows.  Eigen, which multiplies there, takes 2 to 9 times
    as long over it as over the product itself.
    """
    return x @ kernel


@dot.defjvp
def _tangent(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    """Written for its transpose, for in reverse mode that alone is run."""
    (x, kernel), (dx, dkernel) = primals, tangents
    (rows, inputs), outputs = x.shape, kernel.shape[1]
    size = _block_size(rows)
    if on_cpu() and outputs < _NARROW:
        tangent = _turned(dx, kernel) + _turned(x, dkernel)
    elif on_cpu() and inputs >= _NARROW and inputs * outputs <= _WIDE and size:
        tangent = dx @ kernel + _in_blocks(x, dkernel, size)
    else:
        tangent = dx @ kernel + x @ dkernel
    return dot(x, kernel), tangent


def _turned(x: Array, kernel: Array) -> Array:
    """x kernel, by the kernel's transpose: for few columns.

    Then x^T d is taken as (d^T x)^T, 8 ns a row instead of 110, for I = 64 and O = 2; the gradient
    for x takes 6 ns instead of 87.  The barrier keeps XLA from turning the kernel back.
    """
    return lax.dot_general(x, lax.optimization_barrier(kernel.T), (((1,), (1,)), ((), ())))


def _in_blocks(x: Array, kernel: Array, size: int) -> Array:
    """x kernel, by blocks of `size` rows with a copy of the kernel each: for small kernels.

    What undoes the copying is a sum: of the blocks' products x^T d, each of few rows.  110 ns a row
    instead of 155, for 64 x 64, and the blocks are shared among the cores.  (Of large kernels the
    copies would be the larger part.)
    """
    blocks = x.reshape(-1, size, x.shape[1])
    return (blocks @ jnp.broadcast_to(kernel, (len(blocks), *kernel.shape))).reshape(len(x), -1)


def _block_size(rows: int) -> int | None:
    """The divisor of `rows` that is nearest to 128, if there is one about as large."""
    sizes = [size for size in range(_SMALLEST_BLOCK, _LARGEST_BLOCK + 1) if rows % size == 0]
    return min(sizes, key=lambda size: abs(size - 128), default=None)

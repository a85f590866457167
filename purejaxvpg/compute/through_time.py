"""A recurrent cell over T steps, whose derivative does its work outside the loop.

    a_t = h_{t-1} U + c          m_t = gates(m_{t-1}, p_t, a_t)          h = hidden(m)

Only the memories need the loop.  With those of all steps at hand, a_t and the factors of the gates'
derivatives are computed for all steps at once, the gradient of U is one large product, and the
loop back through time holds the product with U alone.  Differentiated step by step, the loop has
a small product for U in every step and reads more factors from memory.  (64 x 128, M = 128, two
cores of an AMD EPYC: a gradient takes a third of the time.)

The memories may be given, by who acted with the same parameters; then nothing is replayed.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from purejaxvpg.compute.compute import Compute
from purejaxvpg.compute.dense import dot
from purejaxvpg.compute.rows import flatten, select

Gates = Callable[[Any, Array, Array], Any]


def unroll(
    gates: Gates,
    hidden: Callable[[Any], Array],
    recurrent: tuple[Array, Array],
    memory: Any,
    inputs: tuple[Array, Array],
    after: Any = None,
) -> Any:
    """Memories after each of T steps of n environments.

    Args:
      gates: (m, p `[n, P]`, a `[n, K]`) -> m', row by row.  hidden: m -> h `[n, M]`.
      recurrent: U `[M, K]`, c `[K]`.
      memory: m before the first step, a pytree `[n, ...]`; it is zero where an episode begins.
      inputs: p `[T, n, P]`, and `[T, n]` bool: the step is the first of its episode.
      after: the result, if it is at hand for these very arguments.

    Returns: m after each step, a pytree `[T, n, ...]`.
    """

    @jax.custom_jvp
    def run(recurrent: Any, memory: Any, projected: Array, starts: Array, after: Any) -> Any:
        if after is not None:
            return after

        def one_step(memory: Any, now: tuple[Array, Array]) -> tuple[Any, Any]:
            projected, starts = now
            memory = select(starts, _zeros(memory), memory)
            a = dot(hidden(memory), recurrent[0]) + recurrent[1][None]
            memory = gates(memory, projected, a)
            return memory, memory

        return Compute().scan(one_step, memory, (projected, starts))[1]

    @run.defjvp
    def tangent(primals: Any, tangents: Any) -> tuple[Any, Any]:
        recurrent, memory, projected, starts, _ = primals
        after = run(*primals)
        before = jax.tree.map(lambda m, x: jnp.concatenate([m[None], x[:-1]]), memory, after)
        before = select(starts, _zeros(before), before)  # [T, n, ...]
        steps = before, projected, starts
        return after, _tangent(gates, hidden, recurrent, steps, tangents[:3])

    return run(recurrent, memory, *inputs, after)


def _tangent(
    gates: Gates, hidden: Callable[[Any], Array], recurrent: Any, steps: Any, tangents: Any
) -> Any:
    """Derivative of `unroll`.

    Args:
      steps: m_{t-1} `[T, n, ...]`, p `[T, n, P]`, starts `[T, n]`.
      tangents: of (U, c), of m before the first step, and of p.
    """
    before, projected, starts = steps
    d_recurrent, d_memory, d_projected = tangents

    def products(recurrent: tuple[Array, Array]) -> Array:  # of all steps, [T, n, K]
        a = dot(flatten(hidden(before)), recurrent[0]) + recurrent[1][None]
        return a.reshape(*starts.shape, -1)

    a, d_a = jax.jvp(products, (recurrent,), (d_recurrent,))
    # m_t changes by L_t(m_{t-1}, p_t, a_t), linear, and a_t by h_{t-1} U: what of it comes from
    # p_t, U and c is summed for all steps before the loop.
    linear = jax.vmap(lambda *x: jax.linearize(gates, *x)[1])(before, projected, a)
    added = jax.vmap(lambda linear, *d: linear(*d))(linear, _zeros(before), d_projected, d_a)
    # Back through time U is multiplied from its other side: turned once, the product takes a
    # third of the time on a CPU.
    turned = lax.optimization_barrier(recurrent[0].T)
    goes_on = (~starts).astype(jnp.float32)

    def loop(d_memory: Any, added: Any) -> Any:  # linear
        def one_step(d_memory: Any, now: Any) -> tuple[Any, Any]:
            added, goes_on, linear, projected = now
            d_memory = jax.tree.map(lambda d: d * goes_on[:, None], d_memory)
            d_a = lax.dot_general(hidden(d_memory), turned, (((1,), (1,)), ((), ())))
            change = linear(d_memory, jnp.zeros_like(projected), d_a)
            d_memory = jax.tree.map(jnp.add, change, added)
            return d_memory, d_memory

        return Compute().scan(one_step, d_memory, (added, goes_on, linear, projected))[1]

    # The derivative of a linear function is the function.  Asked for in this way, jax knows that
    # the loop is linear, and can transpose it.
    return jax.jvp(loop, _zeros((d_memory, added)), (d_memory, added))[1]


def _zeros(tree: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, tree)

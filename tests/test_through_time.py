"""Recurrent cells over time: the derivative that is taken outside the loop is the derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.probes import quick_jit

from purejaxvpg.agent.cells import GRU, LSTM
from purejaxvpg.compute import unroll

STEPS, ROWS, SIZE = 6, 3, 4
KEY = jax.random.key(0)


def some(seed, *shape):
    return jax.random.normal(jax.random.fold_in(KEY, seed), shape)


@pytest.fixture(scope="module", params=[GRU, LSTM])
def problem(request):
    """gates, hidden, what `unroll` is given, and the same loop in plain jax."""
    cell = request.param(SIZE)
    width = (3 if request.param is GRU else 4) * SIZE
    memory = jax.tree.map(lambda x: some(3, *x.shape), cell.zero(ROWS))
    starts = jnp.zeros((STEPS, ROWS), bool).at[0, 1].set(True).at[3, 2].set(True)
    arguments = ((some(1, SIZE, width), some(2, width)), memory, some(4, STEPS, ROWS, width))

    def plain(recurrent, memory, projected):
        def one_step(memory, now):
            projected, starts = now
            memory = jax.tree.map(lambda m: jnp.where(starts[:, None], 0, m), memory)
            memory = by_name(
                cell, memory, projected, cell.hidden(memory) @ recurrent[0] + recurrent[1]
            )
            return memory, memory

        return jax.lax.scan(one_step, memory, (projected, starts))[1]

    def ours(recurrent, memory, projected, after=None):
        inputs = (projected, starts)
        return unroll(cell.gates, cell.hidden, recurrent, memory, inputs, after)

    return arguments, plain, ours


def by_name(cell, memory, p, a):
    """The gates as the papers have them, differentiated by jax."""
    sigma = jax.nn.sigmoid
    if isinstance(cell, GRU):
        (x_r, x_z, x_n), (h_r, h_z, h_n) = jnp.split(p, 3, -1), jnp.split(a, 3, -1)
        z = sigma(x_z + h_z)
        return (1 - z) * jnp.tanh(x_n + sigma(x_r + h_r) * h_n) + z * memory
    i, f, g, o = jnp.split(p + a, 4, -1)
    c = sigma(f) * memory[0] + sigma(i) * jnp.tanh(g)
    return c, sigma(o) * jnp.tanh(c)


def loss(function):
    def of(*arguments):
        out = jax.tree.leaves(function(*arguments))
        return sum((x * some(10 + i, *x.shape)).sum() for i, x in enumerate(out))

    return of


def same(ours, theirs, rtol=1e-4):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * 0.1)


def test_memories_and_gradients_are_those_of_the_loop(problem):
    arguments, plain, ours = problem
    after = plain(*arguments)
    same(ours(*arguments), after)
    grad = lambda f: quick_jit(jax.grad(loss(f), (0, 1, 2)))(*arguments)  # noqa: E731
    expected = grad(plain)
    assert all(np.abs(g).max() > 0.1 for g in jax.tree.leaves(expected))
    same(grad(ours), expected)
    same(grad(lambda *x: ours(*x, after)), expected)  # nothing is replayed


def test_given_memories_are_taken_as_they_are(problem):
    arguments, plain, ours = problem
    after = jax.tree.map(lambda x: x + 1, plain(*arguments))
    same(ours(*arguments, after), after, rtol=0)
    loops = str(jax.make_jaxpr(lambda *x: ours(*x, after))(*arguments))
    assert "scan" not in loops
    assert "dot_general" not in loops


def test_derivatives_forward_and_of_second_order(problem):
    arguments, plain, ours = problem
    tangents = jax.tree.map(lambda x: some(7, *x.shape), arguments)
    both = [
        quick_jit(lambda x, d, f=f: jax.jvp(f, x, d))(arguments, tangents) for f in (ours, plain)
    ]
    same(*both)

    def second(f):
        squares = lambda *x: sum(  # noqa: E731
            jnp.square(g).sum() for g in jax.tree.leaves(jax.grad(loss(f), (0, 2))(*x))
        )
        return quick_jit(jax.grad(squares, 0))(*arguments)

    same(second(ours), second(plain), rtol=1e-3)

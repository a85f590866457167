"""Matrix products and runs in turn: a CPU gets a form of its own, with the same numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from purejaxvpg.compute.dense import dot
from purejaxvpg.compute.turns import one_by_one

# ------------------------------------------------------------------------------------------ dot


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("rows", [1, 127, 256, 300])  # blocks: none, 127, 2 x 128, 2 x 150
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 12), (4, 12), (16, 2), (130, 130), (520, 9)])
def test_dot_and_its_gradients(rows, inputs, outputs):
    """Every form of the kernel's gradient: blocks, plain, turned round, and so for a tall one."""
    rng = np.random.default_rng(0)
    x, kernel, weight = (
        jnp.asarray(rng.normal(size=shape))
        for shape in ((rows, inputs), (inputs, outputs), (rows, outputs))
    )

    def loss(product):
        return lambda x, kernel: (weight * jnp.tanh(product(x, kernel))).sum()

    actual = jax.jit(jax.value_and_grad(loss(dot), argnums=(0, 1)))(x, kernel)
    expected = jax.value_and_grad(loss(jnp.matmul), argnums=(0, 1))(x, kernel)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
    jax.tree.map(close, actual, expected)


@pytest.mark.usefixtures("x64")
def test_dot_under_vmap_and_twice_differentiated():
    """Forward over reverse, and forward alone."""
    rng = np.random.default_rng(0)
    x, kernel = jnp.asarray(rng.normal(size=(3, 256, 9))), jnp.asarray(rng.normal(size=(9, 8)))

    def curvature(product):
        grad = jax.grad(lambda kernel, x: jnp.tanh(product(x, kernel)).sum())
        return jax.vmap(jax.grad(lambda kernel, x: jnp.sin(grad(kernel, x)).sum()), (None, 0))

    def hessian(product):
        return jax.hessian(lambda kernel: jnp.tanh(product(x[0], kernel)).sum())

    def directional(product):
        return lambda kernel, x: jax.jvp(product, (x[0], kernel), (x[1], -kernel))

    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
    close(curvature(dot)(kernel, x), curvature(jnp.matmul)(kernel, x))
    close(hessian(dot)(kernel), hessian(jnp.matmul)(kernel))
    jax.tree.map(close, directional(dot)(kernel, x), directional(jnp.matmul)(kernel, x))


def traced(function, *args):
    """The program as it is traced, whatever was traced before."""
    return str(jax.make_jaxpr(lambda *args: function(*args))(*args))


def test_blocks_are_for_a_cpu_alone(monkeypatch):
    grad = jax.grad(lambda kernel, x: dot(x, kernel).sum())
    args = jnp.ones((16, 16)), jnp.ones((512, 16))
    assert "4,128,16" in traced(grad, *args)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "4,128,16" not in traced(grad, *args)


def test_the_gradient_of_a_tall_kernel_is_turned_round():
    """(d^T x)^T, whose product has the shape of the kernel's transpose."""
    grad = jax.grad(lambda kernel, x: dot(x, kernel).sum())
    tall, wide = (traced(grad, jnp.ones(shape), jnp.ones((256, shape[0]))) for shape in
                  ((512, 64), (512, 65)))  # fmt: skip
    assert "optimization_barrier" in tall
    assert "optimization_barrier" not in wide


# ------------------------------------------------------------------------------------ one by one


def scaled(x, y):
    """Two results of two arguments, one of them a tree."""
    return {"sum": (x["a"] * y).sum(), "all": x["a"] - x["b"]}, y * 2


ARGS = ({"a": np.arange(12.0).reshape(4, 3), "b": np.ones((4, 3))}, np.arange(1.0, 4.0))


def test_one_by_one_computes_the_same():
    alone = jax.tree.map(lambda x: x[0], ARGS)
    jax.tree.map(np.testing.assert_array_equal, one_by_one(scaled)(*alone), scaled(*alone))


# An argument that is the same for all, and one of which only a part is.
@pytest.mark.parametrize("axes", [(0, None), ({"a": 0, "b": None}, None)])
def test_one_by_one_under_vmap(axes):
    x, y = ARGS
    x = x if axes[0] == 0 else {**x, "b": x["b"][0]}
    actual = jax.jit(jax.vmap(one_by_one(scaled), axes))(x, y)
    jax.tree.map(np.testing.assert_allclose, actual, jax.vmap(scaled, axes)(x, y))


def test_one_by_one_under_two_vmaps():
    """Settings and seeds, as in a sweep."""
    x, y = ARGS

    def both(function):
        return jax.vmap(jax.vmap(function, (0, None)), (None, 0))(x, np.stack([y, 2 * y]))

    jax.tree.map(np.testing.assert_allclose, both(one_by_one(scaled)), both(scaled))


def test_one_run_is_at_work_at_a_time_on_a_cpu(monkeypatch):
    """The program holds a matrix of one run on a CPU, and of all four elsewhere."""
    run = jax.vmap(one_by_one(lambda x: jnp.tanh(x @ x.T)))
    assert "f32[5,5] = tanh" in traced(run, jnp.ones((4, 5, 3)))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "f32[4,5,5] = tanh" in traced(run, jnp.ones((4, 5, 3)))


def test_it_is_traced_once():
    """Tracing takes time too: once is enough for all runs and for the loops around them."""
    calls = []

    def run(x):
        calls.append(x)
        return x * 2

    all_runs = jax.vmap(one_by_one(run))
    jax.jit(lambda x: lax.scan(lambda x, _: (all_runs(x), None), x, length=2))(jnp.ones(3))
    assert len(calls) == 1


def test_one_by_one_is_differentiated_as_the_function_is():
    """Forward and reverse mode, also under vmap.  (`custom_vmap` functions have no derivative.)"""
    x, y = jnp.arange(6.0).reshape(3, 2), jnp.arange(3.0)

    def both(function):
        forward = jax.jvp(function, (x[0], y[0]), (x[1], y[1]))
        return forward, jax.vmap(jax.grad(lambda x, y: function(x, y).sum(), (0, 1)))(x, y)

    actual, expected = (both(f(lambda x, y: jnp.sin(x * y))) for f in (one_by_one, lambda f: f))
    jax.tree.map(np.testing.assert_allclose, actual, expected)

"""Convolutions: products of matrices on a CPU, with the numbers of XLA's convolution."""

import functools
import importlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.assertions import assert_same_bits
from support.networks import networks_of
from support.slow import slow_but

import purejaxvpg
from purejaxvpg import Conv, VPGConfig
from purejaxvpg.agent.encoding import of_array
from purejaxvpg.agent.networks import param_shapes

# The module: the package shows the function of the same name.
module = importlib.import_module("purejaxvpg.compute.convolution")


def layers(window, **fields):
    """A layer of flax's, and ours."""
    return nn.Conv(6, window, **fields), Conv(6, window, **fields)


def traced(function, *args):
    """The program as it is traced, whatever was traced before."""
    return str(jax.make_jaxpr(lambda *args: function(*args))(*args))


GEOMETRY = {
    "minatar": ((9, 10, 10, 4), (3, 3), {"padding": "VALID"}),
    "same, other steps": ((5, 10, 9, 3), (3, 2), {"strides": (2, 3)}),
    "pads, three axes": ((3, 6, 5, 4, 2), (2, 2, 3), {"padding": [(1, 0), (2, 1), (0, 0)]}),
    "one axis": ((5, 12, 3), (5,), {}),
    "circular": ((4, 7, 7, 2), (3, 3), {"padding": "CIRCULAR"}),
    "no batch": ((12, 12, 2), (4, 4), {"strides": 4}),
    "two batches": ((2, 3, 8, 8, 2), (4, 4), {"strides": 2}),
    "smaller than its window": ((4, 2, 2, 3), (3, 3), {"padding": "VALID"}),
    "dilated": ((4, 9, 9, 2), (3, 3), {"kernel_dilation": 2}),
    "groups": ((4, 6, 6, 2), (3, 3), {"feature_group_count": 2}),
}
QUICK = ("minatar", "pads, three axes", "circular", "no batch", "groups")


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("name", "parts"),
    slow_but(
        [*((name, False) for name in QUICK), ("minatar", True)],
        [*((name, False) for name in GEOMETRY), ("minatar", True), ("same, other steps", True)],
    ),
)
def test_numbers_and_gradients_are_those_of_flax(name, parts, monkeypatch):
    """For x and for every parameter; also where the windows are cut some rows at a time."""
    shape, window, fields = GEOMETRY[name]
    if parts:
        monkeypatch.setattr(module, "_WINDOWS_BYTES", 8 * 2000)
    theirs, ours = layers(window, **fields, param_dtype=jnp.float64)
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape))
    variables = theirs.init(jax.random.key(0), x)
    assert_same_bits(ours.init(jax.random.key(0), x), variables)

    def numbers(layer):
        def loss(variables, x):
            y = layer.apply(variables, x)
            return jnp.sin(y).sum(), y

        grad = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        return jax.jit(lambda variables, x: grad(variables, x))(variables, x)

    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-11)
    jax.tree.map(close, numbers(ours), numbers(theirs))


@pytest.mark.usefixtures("x64")
def test_under_vmap_over_kernels():
    """Runs side by side have kernels of their own."""
    theirs, ours = layers((3, 3), param_dtype=jnp.float64)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 5, 5, 3)))
    variables = jax.vmap(theirs.init)(jax.random.split(jax.random.key(0)), x)
    outputs = [jax.vmap(layer.apply)(variables, x) for layer in (theirs, ours)]
    np.testing.assert_allclose(*outputs, rtol=1e-9, atol=1e-11)


def test_only_a_part_of_the_windows_is_there_at_a_time():
    """4,096 rows of MinAtar have 37 MB of windows; neither pass lays out more than 4."""
    _, layer = layers((3, 3), padding="VALID")
    x = jnp.zeros((4096, 10, 10, 4))
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)
    loss = lambda variables: layer.apply(variables, x).sum()  # noqa: E731
    jaxpr = jax.make_jaxpr(jax.grad(loss))(variables)
    shapes = [v.aval.shape for eqn in every_equation(jaxpr.jaxpr) for v in eqn.outvars]
    windows = [shape for shape in shapes if shape[-1:] == (36,)]
    assert windows
    assert max(4 * np.prod(shape) for shape in windows) <= 2**22


def every_equation(jaxpr):
    """Equations, and those inside them."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in jax.core.jaxprs_in_params(eqn.params):
            yield from every_equation(inner)


def test_the_packages_cnn_has_no_convolution_on_a_cpu(monkeypatch):
    """Neither forward nor backward; on an accelerator all are XLA's."""
    networks = networks_of(VPGConfig(hidden_sizes=(8,)), (10, 10, 4), 3, False)
    params, obs = param_shapes(networks, of_array((10, 10, 4))).policy, jnp.zeros((5, 10, 10, 4))
    grad = jax.grad(lambda params, obs: networks.policy(params, obs).sum())
    assert "conv_general_dilated" not in traced(grad, params, obs)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert traced(grad, params, obs).count("= conv_general_dilated") == 2


def test_other_layouts_are_left_to_xla():
    """Channels first, by the function itself."""
    x, kernel = jnp.ones((2, 3, 8, 8)), jnp.ones((6, 3, 3, 3))
    numbers = ("NCHW", "OIHW", "NCHW")
    apply = functools.partial(
        module.convolution, window_strides=(1, 1), padding="VALID", dimension_numbers=numbers
    )
    assert "conv_general_dilated" in traced(apply, x, kernel)
    assert (apply(x, kernel) == 27).all()


def test_the_layer_is_public():
    assert purejaxvpg.Conv is Conv

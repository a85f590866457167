"""Small runs, the rollout that an update learns from, and comparisons of pytrees."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from purejaxvpg import VPGConfig, vpg
from purejaxvpg.agent import make_setup
from support import probes

KEY = jax.random.key(0)

# Episodes of 1 to 5 steps, cut after 4: terminations, truncations and a cut end in each batch.
SMALL = VPGConfig(
    env=probes.RandomLength(5), max_episode_steps=4, total_steps=4 * 32, num_envs=4, num_steps=8,
    hidden_sizes=(8,), value_iterations=3,
)  # fmt: skip
ALL_NORMALIZERS = {"normalize_obs": True, "normalize_rewards": True, "normalize_advantages": True}


def change(config, **fields):
    """The config with other values of some fields."""
    return dataclasses.replace(config, **fields)


def collect(config, state, hp):
    """The rollout that an update of `state` learns from: (batch, episode sums)."""
    return vpg.collect(make_setup(config), state, hp)[1:]


def member(tree, index):
    """One run of a vmapped pytree."""
    return jax.tree.map(lambda x: x[index], tree)


def assert_close(x, y, tolerance=1e-5):
    """Equal pytrees of numbers, up to a relative and an absolute tolerance."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, tolerance, tolerance), x, y)


def smallest_change(x, y):
    """Over the arrays of two pytrees, the least of the largest differences."""
    return min(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.abs(a - b).max(), x, y)))


def primitives(jaxpr):
    """Names of all primitives in a jaxpr and in those within it."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for inner in inner_jaxprs(equation):
            yield from primitives(inner)


def inner_jaxprs(equation):
    """Jaxprs among the parameters of an equation: a loop's body, a branch, a jitted function."""
    for parameter in jax.tree.leaves(
        list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
    ):
        inner = getattr(parameter, "jaxpr", parameter)
        if hasattr(inner, "eqns"):
            yield inner


def loops(jaxpr, name):
    """Bodies of the outermost loops called `name` ("scan" or "while") in a jaxpr, jitted functions
    included."""
    bodies = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "while":
            inner = [equation.params["body_jaxpr"].jaxpr]
        else:
            inner = inner_jaxprs(equation)
        for body in inner:
            bodies += [body] if equation.primitive.name == name else loops(body, name)
    return bodies

"""Torsos of flax.nnx in a module of the user's."""

import jax.numpy as jnp
from flax import nnx


class Deep(nnx.Module):
    """Two layers of four in a list, statistics, integers, and a Dropout that is off."""

    def __init__(self, width: int = 4, inputs: int = 3, *, rngs: nnx.Rngs):
        self.layers = nnx.List(
            [nnx.Linear(inputs, width, rngs=rngs), nnx.Linear(width, width, rngs=rngs)]
        )
        self.norm = nnx.BatchNorm(width, use_running_average=True, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, deterministic=True, rngs=rngs)
        self.order = nnx.Variable(jnp.arange(width)[::-1])

    def __call__(self, obs):
        x = obs.reshape(len(obs), -1)
        for layer in self.layers:
            x = nnx.tanh(layer(x))
        return self.dropout(self.norm(x))[:, self.order.get_value()]


def deep(rngs):
    """The same for four numbers, and wider."""
    return Deep(5, 4, rngs=rngs)


class Flat(nnx.Module):
    """A torso without variables."""

    def __call__(self, obs):
        return obs.reshape(len(obs), -1)


made = Flat()

"""Objects of a user's module, for tests of what is kept and imported by `module:Name`."""

import flax.linen as nn
import jax.numpy as jnp
import optax

from support.probes import Identity

TEN = 10  # no function, no network


class Wide(nn.Module):
    """A torso; of other widths in files only if it has a name of its own."""

    width: int = 16

    @nn.compact
    def __call__(self, obs):
        return nn.relu(nn.Dense(self.width)(obs.reshape(len(obs), -1)))


class Needy(nn.Module):
    """A torso whose class alone makes none."""

    width: int

    @nn.compact
    def __call__(self, obs):
        return nn.Dense(self.width)(obs)


wide = Wide(24)
by_hand = Identity()


def psi(trajectory, discounts):
    """An estimator."""
    return trajectory.rewards


def rule(learning_rate):
    """An optimizer."""
    return optax.sgd(learning_rate)


def init(key, shape, dtype=float):
    """An initializer."""
    return optax.tree.zeros_like(nn.initializers.zeros(key, shape, dtype))


class Sorting(nn.Module):
    """A torso with an operation that ONNX programs do not get."""

    @nn.compact
    def __call__(self, obs):
        return nn.Dense(4)(jnp.sort(obs.reshape(obs.shape[0], -1)))


sorting = Sorting()

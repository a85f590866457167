"""Environments that show their parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces

from support.probes import Probe


@struct.dataclass
class Params:
    level: float = 1.0
    count: int = 3  # steps of an episode
    bound: float = 1.0
    branch: bool = False
    pair: Any = struct.field(default_factory=lambda: np.zeros(2))
    max_steps_in_episode: int = 1_000


class Shown(Probe):
    """Observes (level, count, noise of the reset), pays `level`, and terminates after `count`."""

    @property
    def default_params(self):
        return Params()

    def reset_env(self, key, params):
        _, state = super().reset_env(key, params)
        return self.look(state, params), state

    def draw(self, key):
        return jax.random.uniform(key)

    def look(self, state, params):
        return jnp.stack([params.level, params.count * 1.0, state.x])

    def step_env(self, key, state, action, params):
        state = state.replace(time=state.time + 1)
        done = state.time >= params.count
        return self.look(state, params), state, params.level, done, {}

    def observation_space(self, params=None):
        return spaces.Box(-jnp.inf, jnp.inf, (3,))


class Bounded(Shown):
    """Its actions are in [-bound, bound]."""

    def action_space(self, params=None):
        bound = 1.0 if params is None else params.bound
        return spaces.Box(-bound, bound, (1,))


class Branching(Shown):
    """Its code branches on a parameter."""

    def step_env(self, key, state, action, params):
        if params.branch:
            raise AssertionError("never with the default")
        return super().step_env(key, state, action, params)

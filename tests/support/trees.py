"""Environments whose observations and actions are trees, some of them with masks."""

import jax
import jax.numpy as jnp
from gymnax.environments import spaces

from purejaxvpg.envs.protocol import Environment, Step
from purejaxvpg.envs.spaces import MultiDiscrete

CARDS, LENGTH = 3, 4


def bare(name, **fields):
    """An `Environment` that ends after LENGTH steps; its state counts them."""
    parts = {
        "reset": lambda key, params: (jnp.zeros(1), jnp.zeros((), jnp.int32)),
        "action_space": lambda params: spaces.Discrete(2),
        "observation_space": lambda params: spaces.Box(0, 1, (1,)),
        "default_params": None,
    }
    return Environment(name=name, **(parts | fields))


def _observe(time):
    picture = jnp.full((4, 4, 1), 51 * time, jnp.uint8)
    inner = {"kind": time % CARDS, "where": jnp.stack([time, -time]).astype(jnp.int32)}
    return {"picture": picture, "inner": inner, "late": (time > 2,)}


def house():
    """A dict of a picture, a kind, a place and a flag; acts with a number, a pair and a force.

    The reward is -1 unless the three actions are dict items of the types that the space says.
    """
    observation_space = spaces.Dict(
        {
            "picture": spaces.Box(0, 255, (4, 4, 1), jnp.uint8),
            "inner": spaces.Dict(
                {"kind": spaces.Discrete(CARDS), "where": spaces.Box(-9, 9, (2,), jnp.int32)}
            ),
            "late": spaces.Tuple([spaces.Box(0, 1, (), jnp.bool_)]),
        }
    )
    action_space = spaces.Dict(
        {
            "move": spaces.Discrete(3),
            "pair": MultiDiscrete([2, 4]),
            "force": spaces.Box(-2.0, 2.0, (2,)),
        }
    )

    def step(key, time, action, params):
        types = [(action[name].shape, str(action[name].dtype)) for name in action_space.spaces]
        right = types == [((), "int32"), ((2,), "int32"), ((2,), "float32")]
        bounded = (jnp.abs(action["force"]) <= 2).all() & (action["pair"] < jnp.array([2, 4])).all()
        reward = jnp.where(right & bounded, action["move"], -1)
        obs = _observe(time + 1)
        return Step(time + 1, obs, obs, reward, time + 1 >= LENGTH, False)

    return bare(
        "House",
        reset=lambda key, params: (_observe(jnp.zeros((), jnp.int32)), jnp.zeros((), jnp.int32)),
        step=step,
        action_space=lambda params: action_space,
        observation_space=lambda params: observation_space,
    )


def rooms(space=None, mask=None):
    """One step in the dark: action a pays a, and -100 where the mask forbids it.

    By default room t of 5 allows the actions {t mod 4, 3}.
    """
    space = space or spaces.Discrete(4)

    def default_mask(time, params):
        return (jnp.arange(4) == time % 4) | (jnp.arange(4) == 3)

    mask = mask or default_mask

    def legal(mask, action):
        if mask is None:
            return True
        if isinstance(mask, dict):
            return jnp.stack([legal(mask[name], action[name]) for name in mask]).all()
        return jnp.take_along_axis(mask, jnp.asarray(action)[..., None], -1).all()

    def step(key, time, action, params):
        after = (time + 1) % 5
        right = legal(mask(time, params), action)
        paid = jnp.sum(jnp.stack([jnp.sum(x) for x in jax.tree.leaves(action)])).astype(float)
        obs = after[None].astype(jnp.float32)
        return Step(after, obs, obs, jnp.where(right, paid, -100.0), after == 0, False)

    return bare(
        "Rooms",
        step=step,
        action_space=lambda params: space,
        observation_space=lambda params: spaces.Box(0, 4, (1,)),
        action_mask=mask,
    )

"""A trained policy that travels, without the environment it was trained in.

    policy.safetensors   parameters of the policy's network, and statistics of observations
    card.json            their description: shapes, network, actions, environment, versions, scores

`load_policy` needs this package's networks and policies and no environment; the program that
`compiled` returns needs jax alone.  No pickle; both files have sums.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from purejaxvpg.agent import init_stats, make_agent
from purejaxvpg.agent.networks import make_networks
from purejaxvpg.agent.normalize import normalize
from purejaxvpg.agent.policy import describe_actions, policy_for
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment.files import (
    first_line,
    read_bytes,
    read_described,
    write_described,
    write_whole,
)
from purejaxvpg.experiment.policies import leaves_of, restore
from purejaxvpg.experiment.record import versions
from purejaxvpg.extras import require
from purejaxvpg.serialize import config_from_json, config_to_json, plain
from purejaxvpg.state import RunningStats

FORMAT = 1
PLATFORMS = ("cpu", "cuda", "tpu")


class SavedPolicy(NamedTuple):
    """A policy that acts, and its card."""

    act: Callable[..., Array]  # (obs [*obs_shape] or [B, *obs_shape], key=None) -> action(s)
    card: dict[str, Any]


def save_policy(
    folder: str | os.PathLike,
    config: VPGConfig,
    params: Any,
    obs_stats: RunningStats | None = None,
    hp: Hyperparams | None = None,
    scores: dict[str, Any] | None = None,
) -> None:
    """Write one policy, without a leading axis of seeds.

    Args:
      params: `state.params.policy` of one run.  obs_stats: `state.obs_stats`; needed with
        `normalize_obs`.
      hp: the bounds of actions may depend on `hp.env_params`.
      scores: for the card.

    Raises: TypeError for a config that holds objects rather than names; ValueError for parameters
    of another shape than the config says; ImportError without the extra `cli`; OSError.
    """
    safetensors = require("safetensors.numpy", "cli")
    agent = make_agent(config)
    env_params = agent.env_params(Hyperparams() if hp is None else hp)
    card = {
        "format": FORMAT,
        "config": config_to_json(config),
        "env_params": plain(None if hp is None else hp.env_params),
        "obs_shape": list(agent.env.obs_shape),
        "actions": describe_actions(agent.env.action_space(env_params)),
        "versions": versions(),
        "scores": plain(scores or {}),
    }
    leaves = leaves_of(params, obs_stats or init_stats(agent.env.obs_shape))
    arrays = {name: np.asarray(leaf) for name, leaf in leaves.items()}
    _restore(arrays, config, card)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = safetensors.save(arrays)
    write_whole(folder / "policy.safetensors", data)
    write_described(folder / "card.json", card | {"policy": hashlib.sha256(data).hexdigest()})


def load_policy(folder: str | os.PathLike) -> SavedPolicy:
    """Read a policy.  It acts as it did in training: the mode, or with a key a draw.

    `act` takes observations as this package's environments give them (float32; Discrete ones as
    one-hot), and gives actions as the environment takes them.  It raises ValueError, in one line,
    for observations of another shape.

    Raises: FileNotFoundError or ValueError, in one line, if the folder holds no policy or a damaged
    one; OSError, in one line, if it cannot be read now; ImportError without the extra `cli`.
    """
    safetensors = require("safetensors.numpy", "cli")
    folder = Path(folder)
    for name in ("card.json", "policy.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} holds no policy: it has no {name}")
    try:
        card = read_described(folder / "card.json", [FORMAT])
        data = read_bytes(folder / "policy.safetensors")
        if card["policy"] != hashlib.sha256(data).hexdigest():
            raise ValueError("policy.safetensors was changed or damaged: its sum is wrong")
        config = config_from_json(card["config"])
        params, stats = _restore(safetensors.load(data), config, card)
    except OSError:
        raise
    except Exception as error:  # of json, safetensors or the config: all mean damage
        raise ValueError(f"the policy in {folder} cannot be read: {first_line(error)}") from error
    return SavedPolicy(_actor(config, card, params, stats), card)


def compiled(policy: SavedPolicy, platforms: tuple[str, ...] = PLATFORMS) -> bytes:
    """The greedy policy as a program for any number of observations, that needs jax alone.

    `jax.export.deserialize(bytearray(data)).call(obs [B, *obs_shape])` gives the actions, with jax
    and flatbuffers.

    Raises: ImportError without the extra `cli`.
    """
    from jax import export

    require("flatbuffers", "cli")  # jax writes programs with it, and does not bring it
    (batch,) = export.symbolic_shape("B")
    obs = jax.ShapeDtypeStruct((batch, *policy.card["obs_shape"]), jnp.float32)
    exported = export.export(jax.jit(lambda obs: policy.act(obs)), platforms=platforms)(obs)
    return bytes(exported.serialize())


def _actor(
    config: VPGConfig, card: dict[str, Any], params: Any, stats: RunningStats
) -> Callable[..., Array]:
    policy, shape = policy_for(config, card["actions"]), tuple(card["obs_shape"])
    networks = make_networks(config, shape, policy.num_outputs, policy.free_std)

    @jax.jit
    def rows(obs: Array, key: Array | None) -> Array:  # [B, *obs_shape]
        seen = normalize(stats, obs, config.obs_clip) if config.normalize_obs else obs
        outputs = networks.policy(params, seen)
        if key is None:
            return policy.to_env(policy.mode(outputs))
        return policy.to_env(policy.sample(outputs, policy.noise(key, (obs.shape[0],))))

    def act(obs: Any, key: Array | None = None) -> Array:
        obs = jnp.asarray(obs, jnp.float32)
        if obs.shape == shape:
            return rows(obs[None], key)[0]
        if obs.ndim != len(shape) + 1 or obs.shape[1:] != shape:
            raise ValueError(f"obs has shape {obs.shape}; accepted: {shape}, or [B, ...] of them")
        return rows(obs, key)

    return act


def _restore(
    arrays: dict[str, np.ndarray], config: VPGConfig, card: dict[str, Any]
) -> tuple[Any, RunningStats]:
    """The arrays in the structure that the config's network has.  Raises: ValueError."""
    policy, shape = policy_for(config, card["actions"]), tuple(card["obs_shape"])
    networks = make_networks(config, shape, policy.num_outputs, policy.free_std)
    return restore(arrays, networks, shape)

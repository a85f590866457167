"""A trained policy that travels, without the environment it was trained in.

    policy.safetensors   parameters of the policy's network, and statistics of observations
    card.json            their description: shapes, network, actions, environment, versions, scores

`load_policy` needs this package's networks and policies and no environment; the program that
`compiled` returns needs jax alone.  No pickle; both files have sums.
"""

import contextlib
import hashlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from purejaxvpg.agent import check_policy, init_stats, make_agent, with_imported
from purejaxvpg.agent.encoding import Encoder, of_array
from purejaxvpg.agent.networks import Networks, make_networks
from purejaxvpg.agent.normalize import normalize
from purejaxvpg.agent.policy import Policy, describe_actions, policy_for
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.envs import without_ranges
from purejaxvpg.experiment.acting import describe_observations, make_act
from purejaxvpg.experiment.files import (
    read_bytes,
    read_described,
    write_described,
    write_whole,
)
from purejaxvpg.experiment.paths import expanded
from purejaxvpg.experiment.policies import leaves_of, restore
from purejaxvpg.experiment.record import versions
from purejaxvpg.extras import require
from purejaxvpg.fields import first_line
from purejaxvpg.serialize import config_from_json, config_to_json, plain
from purejaxvpg.state import RunningStats

FORMAT = 1
PLATFORMS = ("cpu", "cuda", "tpu")


class SavedPolicy(NamedTuple):
    """A policy that acts, and its card."""

    act: Callable[..., Any]  # (obs, key=None) -> action(s), see `load_policy`
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
      params: `state.params.policy` of one run.  obs_stats: `state.obs_stats`; a config with
        `normalize_obs` is refused without.
      hp: the bounds of actions may depend on `hp.env_params`.
      scores: for the card.

    Raises: TypeError for a config with objects that no `module:Name` gives back; ValueError for
    parameters of another shape than the config says, or statistics that are missing; ImportError
    without the extra `cli`; FileExistsError for a folder of other files; OSError.
    """
    safetensors = require("safetensors.numpy", "cli")
    _check_place(expanded(folder))
    agent = make_agent(config)
    check_policy(config, agent, params, obs_stats)
    env_params = without_ranges(agent.env_params(Hyperparams() if hp is None else hp))
    card = {
        "format": FORMAT,
        "config": config_to_json(config),
        "env_params": plain(None if hp is None else hp.env_params),
        "obs_shape": list(agent.encoder.shapes),
        "observations": describe_observations(agent.encoder),
        "encoder": agent.encoder.to_json(),
        "actions": describe_actions(agent.env.action_space(env_params)),
        "versions": versions(),
        "scores": plain(scores or {}),
    }
    leaves = leaves_of(params, obs_stats or init_stats(agent.encoder.shapes))
    arrays = {name: np.asarray(leaf) for name, leaf in leaves.items()}
    _restore(arrays, config, card)
    folder = expanded(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = safetensors.save(arrays)
    write_whole(folder / "policy.safetensors", data)
    write_described(folder / "card.json", card | {"policy": hashlib.sha256(data).hexdigest()})


def load_policy(folder: str | os.PathLike) -> SavedPolicy:
    """Read a policy.  `act(obs, key=None)` is greedy, the distribution's mode; with a key it draws,
    as in training.

    `act` takes what its environment gives: an array of numbers `[*obs_shape]`, or `[B, *obs_shape]`
    of them; of a Discrete observation an integer, `[B]` integers, or one-hot floats.  It gives
    numpy, as `gymnasium.Env.step` takes it and within the bounds of the action space: an int64 or
    float32 `[*action_shape]`, or `[B]` and `[B, *action_shape]` of them.  Where obs or key are
    traced (in `jax.jit`, `jax.vmap`, `jax.lax.scan`) it is a pure function and gives jax arrays.

    It raises ValueError or TypeError, in one line, for observations of another shape or type, for
    integers that are out of range, and for a key that is none.

    Raises: FileNotFoundError or ValueError, in one line, if the folder holds no policy or a damaged
    one; OSError, in one line, if it cannot be read now; ImportError without the extra `cli`, or if
    a network that is kept as `module:Name` cannot be imported (no other code is named by a policy's
    files and run).
    """
    safetensors = require("safetensors.numpy", "cli")
    folder = expanded(folder)
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
    except ImportError as error:  # of a network of the user's
        raise ImportError(f"the policy in {folder} needs a module: {error}") from None
    except Exception as error:  # of json, safetensors or the config: all mean damage
        raise ValueError(f"the policy in {folder} cannot be read: {first_line(error)}") from error
    if config.normalize_obs and not float(stats.count):  # versions before this one allowed it
        warnings.warn(
            f"the policy in {folder} normalises observations, and was saved without statistics of "
            f"them: it acts on the observations as they are",
            stacklevel=2,
        )
    return SavedPolicy(_actor(config, card, params, stats), card)


def compiled(
    policy: SavedPolicy, platforms: tuple[str, ...] = PLATFORMS, sampled: bool = False
) -> bytes:
    """The policy as a program for any number of observations, that needs jax alone.

    `jax.export.deserialize(bytearray(data)).call(obs [B, *obs_shape])` gives the greedy actions,
    with jax and flatbuffers.  With `sampled` the program takes `jax.random.key_data(key)` as well,
    uint32 `[2]`, and draws.  Observations are float32; Discrete ones are one-hot.

    Raises: ImportError without the extra `cli`.
    """
    from jax import export

    require("flatbuffers", "cli")  # jax writes programs with it, and does not bring it
    (batch,) = export.symbolic_shape("B")
    obs = jax.ShapeDtypeStruct((batch, *policy.card["obs_shape"]), jnp.float32)
    arguments = (obs, jax.ShapeDtypeStruct((2,), jnp.uint32)) if sampled else (obs,)

    def act(obs: Array, *key: Array) -> Array:
        keys = [jax.random.wrap_key_data(data, impl="threefry2x32") for data in key]
        return policy.act(obs, *keys)

    exported = export.export(jax.jit(act), platforms=platforms)(*arguments)
    return bytes(exported.serialize())


def _actor(
    config: VPGConfig, card: dict[str, Any], params: Any, stats: RunningStats
) -> Callable[..., Any]:
    policy, networks = _policy_and_networks(config, card)

    @jax.jit
    def rows(obs: Array, key: Array | None) -> Array:  # [B, *obs_shape]
        seen = normalize(stats, obs, config.obs_clip) if config.normalize_obs else obs
        outputs = networks.policy(params, seen)
        if key is None:
            return policy.to_env(policy.mode(outputs))
        return policy.to_env(policy.sample(outputs, policy.noise(key, (obs.shape[0],))))

    return make_act(rows, card)


def _check_place(folder: Path) -> None:
    """FileExistsError where a policy would mix with other files; one of ours is replaced."""
    card = folder / "card.json"
    with contextlib.suppress(FileNotFoundError, ValueError):
        read_described(card, [FORMAT])
        return
    if card.exists() or any((folder / face).exists() for face in ("run.json", "study.json")):
        raise FileExistsError(f"{folder} holds files that are no policy's; choose another folder")


def _restore(
    arrays: dict[str, np.ndarray], config: VPGConfig, card: dict[str, Any]
) -> tuple[Any, RunningStats]:
    """The arrays in the structure that the config's network has.  Raises: ValueError."""
    return restore(arrays, _policy_and_networks(config, card)[1], _encoder(card))


def _policy_and_networks(config: VPGConfig, card: dict[str, Any]) -> tuple[Policy, Networks]:
    """Made of the card alone, without the environment.  Raises: ImportError, as `with_imported`."""
    policy = policy_for(config, card["actions"])
    return policy, make_networks(with_imported(config), _encoder(card), policy)


def _encoder(card: dict[str, Any]) -> Encoder:
    """The encoder of a card; those of before have none, and their observations are one array."""
    if "encoder" in card:
        return Encoder.from_json(card["encoder"])
    return of_array(tuple(card["obs_shape"]))

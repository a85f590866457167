"""A trained policy that travels, without the environment it was trained in.

    policy.safetensors   parameters of the policy's network, and statistics of observations
    card.json            their description (cards.py): how to use it, observations, actions, scores
    card.md              the same, to read
    policy.onnx          if asked for: a program for onnxruntime (programs.py)

`load_policy` needs this package's networks and policies and no environment, and reads the first
two.  No pickle; both have sums.
"""

import contextlib
import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from purejaxvpg.agent import check_policy, init_stats, make_agent, with_imported
from purejaxvpg.agent.encoding import Encoder
from purejaxvpg.agent.networks import Networks, make_networks, num_rows
from purejaxvpg.agent.normalize import normalize
from purejaxvpg.agent.policy import Policy, policy_for
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.envs.protocol import Masked
from purejaxvpg.experiment.acting import SavedPolicy, make_act, make_distribution
from purejaxvpg.experiment.card_page import card_page
from purejaxvpg.experiment.cards import (
    FORMATS,
    accepted_of,
    completed_card,
    encoder_of,
    make_card,
)
from purejaxvpg.experiment.files import (
    read_bytes,
    read_described,
    write_described,
    write_whole,
)
from purejaxvpg.experiment.paths import expanded
from purejaxvpg.experiment.policies import leaves_of, restore
from purejaxvpg.experiment.programs import compiled as compiled
from purejaxvpg.experiment.programs import onnx_program
from purejaxvpg.extras import require
from purejaxvpg.fields import first_line
from purejaxvpg.serialize import config_from_json
from purejaxvpg.state import RunningStats

PROGRAMS = ("policy.jax", "policy.onnx")


def save_policy(
    folder: str | os.PathLike,
    config: VPGConfig,
    params: Any,
    obs_stats: RunningStats | None = None,
    hp: Hyperparams | None = None,
    scores: dict[str, Any] | None = None,
    *,
    onnx: bool = False,
) -> None:
    """Write one policy, without a leading axis of seeds.

    Args:
      params: `state.params.policy` of one run.  obs_stats: `state.obs_stats`; a config with
        `normalize_obs` is refused without.
      hp: the bounds of actions may depend on `hp.env_params`.
      scores: for the card.
      onnx: also write policy.onnx (programs.py).

    Raises: TypeError for a config with objects that no `module:Name` gives back; ValueError for
    parameters of another shape than the config says, or statistics that are missing; ImportError
    without the extra `cli`, and with `onnx` without the extra of that name; Untranslatable, a
    ValueError, for a network that ONNX cannot have; FileExistsError for a folder of other files;
    OSError.
    """
    safetensors = require("safetensors.numpy", "cli")
    _check_place(expanded(folder))
    agent = make_agent(config)
    check_policy(config, agent, params, obs_stats)
    card = make_card(config, agent, hp, scores)
    leaves = leaves_of(params, obs_stats or init_stats(agent.encoder.shapes))
    arrays = {name: np.asarray(leaf) for name, leaf in leaves.items()}
    restored = _restore(arrays, config, card)
    program = onnx_program(_saved(config, card, *restored)) if onnx else b""
    folder = expanded(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:  # of the policy that was here before
        (folder / name).unlink(missing_ok=True)
    data = safetensors.save(arrays)
    write_whole(folder / "policy.safetensors", data)
    if onnx:
        write_whole(folder / "policy.onnx", program)
    write_described(folder / "card.json", card | {"policy": hashlib.sha256(data).hexdigest()})
    write_whole(folder / "card.md", card_page(card).encode())


def load_policy(folder: str | os.PathLike) -> SavedPolicy:
    """Read a policy.  `act(obs, key=None, *, mask=None)` is greedy, the distribution's mode; with a
    key it draws, as in training.  With memory it is
    `act(obs, memory=None, key=None, *, mask=None) -> (action, memory)`; None begins an episode.

    obs     as the environment gives it: an array, or a dict, tuple, dataclass or other pytree of
            arrays; or a dict of them by dotted name (`agent.position`).  With `policy_obs`, the
            parts of its names are enough.  Of a Discrete part an integer or one-hot floats; of a
            picture bytes, or floats from 0 to 1 (they count as encoded: bytes divided by 255).
    mask    of an environment that masks actions, which needs one: True or 1 for possible ones, in
            the structure of the actions (or obs is a `Masked`, with the mask in it)

    All are of one observation, or all have a leading axis `[B]`.  Actions are numpy in the space's
    structure, as `gymnasium.Env.step` takes them, within its bounds: int64 or float32, a dict or a
    tuple.  Where an argument is traced (in `jax.jit`, `jax.vmap`, `jax.lax.scan`) `act` is a pure
    function and gives jax arrays; it cannot look at ranges then.

    `distribution(obs, *, mask=None)` (with memory `(obs, memory=None, *, mask=None)`) gives, in
    place of an action, the greedy action and the parameters of the distribution by name: `logits`
    `[A]`, or `mean` and `log_std` of the action's shape, of raw actions (`Policy.parameters`).

    It raises ValueError or TypeError, in one line that names the part, for what has another shape
    or type or is missing, for integers and pictures out of range, for a mask that is not needed,
    and for a key that is none.

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
        card = completed_card(read_described(folder / "card.json", FORMATS))
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
    return _saved(config, card, params, stats)


def _saved(
    config: VPGConfig, card: dict[str, Any], params: Any, stats: RunningStats
) -> SavedPolicy:
    policy, networks = _policy_and_networks(config, card)

    def zero(rows: Any) -> Any:
        return networks.no_memory(rows).policy

    accepted = accepted_of(card, zero)
    stats = _of_parts(stats, accepted.encoder)

    def outputs_of(obs: Any, mask: Any, memory: Any) -> tuple[Any, Array]:
        seen = normalize(stats, obs, config.obs_clip) if config.normalize_obs else obs
        seen = seen if mask is None else Masked(seen, mask)
        return networks.act(params, seen, memory)

    def act_rows(obs: Any, mask: Any, memory: Any, key: Array | None) -> tuple[Any, Any]:
        memory, outputs = outputs_of(obs, mask, memory)
        if key is None:
            return policy.to_env(policy.mode(outputs)), memory
        noise = policy.noise(key, (num_rows(obs),))
        return policy.to_env(policy.sample(outputs, noise)), memory

    def distribution_rows(obs: Any, mask: Any, memory: Any, _: Any) -> tuple[Any, Any]:
        memory, outputs = outputs_of(obs, mask, memory)
        return (policy.to_env(policy.mode(outputs)), policy.parameters(outputs)), memory

    def initial_memory(batch: int | None = None) -> Any:
        memory = jax.tree.map(np.array, zero(1 if batch is None else batch))
        return jax.tree.map(lambda x: x[0], memory) if batch is None else memory

    distribution = make_distribution(distribution_rows, accepted)
    return SavedPolicy(make_act(act_rows, accepted), card, initial_memory, distribution)


def _of_parts(stats: RunningStats, encoder: Encoder) -> RunningStats:
    """Statistics of the parts that an encoder has."""
    if not isinstance(stats.mean, dict):
        return stats
    mean, var = ({name: x[name] for name, _ in encoder.parts} for x in (stats.mean, stats.var))
    return RunningStats(mean, var, stats.count)


def _check_place(folder: Path) -> None:
    """FileExistsError where a policy would mix with other files; one of ours is replaced."""
    card = folder / "card.json"
    with contextlib.suppress(FileNotFoundError, ValueError):
        read_described(card, FORMATS)
        return
    faces = ("card.json", "card.md", "run.json", "study.json")
    if any((folder / face).exists() for face in faces):
        raise FileExistsError(f"{folder} holds files that are no policy's; choose another folder")


def _restore(
    arrays: dict[str, np.ndarray], config: VPGConfig, card: dict[str, Any]
) -> tuple[Any, RunningStats]:
    """The arrays in the structure that the config's network has.  Raises: ValueError."""
    return restore(arrays, _policy_and_networks(config, card)[1], encoder_of(card))


def _policy_and_networks(config: VPGConfig, card: dict[str, Any]) -> tuple[Policy, Networks]:
    """Made of the card alone, without the environment.  Raises: ImportError, as `with_imported`."""
    policy = policy_for(config, card["actions"])
    return policy, make_networks(with_imported(config), encoder_of(card), policy)

"""`card.json`: a saved policy in words and numbers.

Format 3, beside config, environment parameters, versions and scores:

    use            how to use it elsewhere (deployment.py)
    obs_shape      of observations of one array, as networks see them; null of several
    observations   kind: box, discrete (and its number), or several
    encoder        each part of an observation: name, shape, dtype, categories, bytes
    actions        the action space (`describe_actions`)
    mask           shape of the mask, in the structure of the actions; null: no mask is taken
    memory         kind, and shapes and dtypes of its arrays, zero where an episode begins; or null
    call           arguments of `policy.jax`, in order, and what it returns

Format 2 has no `use`.  Format 1 has obs_shape, actions and, lately, observations: one array, no
mask and no memory.
"""

from collections.abc import Callable
from typing import Any

import jax

from purejaxvpg.agent import Agent
from purejaxvpg.agent.encoding import Encoder, Part, of_array
from purejaxvpg.agent.policy import describe_actions
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.envs import without_ranges
from purejaxvpg.envs.spaces import children, kind_of
from purejaxvpg.experiment.accepted import Accepted
from purejaxvpg.experiment.deployment import make_use
from purejaxvpg.experiment.program_arguments import call_of
from purejaxvpg.experiment.record import versions
from purejaxvpg.serialize import config_to_json, plain

FORMAT = 3
FORMATS = [1, 2, FORMAT]  # that are read


def make_card(
    config: VPGConfig, agent: Agent, hp: Hyperparams | None, scores: dict[str, Any] | None
) -> dict[str, Any]:
    """The card of a policy, less the sum of its arrays.

    Raises: TypeError for a config with objects that no `module:Name` gives back.
    """
    env_params = without_ranges(agent.env_params(Hyperparams() if hp is None else hp))
    space, encoder = agent.env.action_space(env_params), agent.encoder
    key = jax.eval_shape(lambda: jax.random.key(0))
    mask = None
    if agent.env.action_mask is not None:
        mask = jax.eval_shape(lambda key: agent.env.reset(key, env_params)[0].mask, key)
    card = {
        "config": config_to_json(config),
        "env_params": plain(None if hp is None else hp.env_params),
        "obs_shape": None if _is_several(encoder) else list(encoder.shapes),
        "observations": describe_observations(encoder),
        "encoder": encoder.to_json(),
        "actions": describe_actions(space),
        "mask": describe_mask(space, mask),
        "versions": versions(),
        "scores": plain(scores or {}),
    }
    accepted = accepted_of(card, lambda rows: agent.networks.no_memory(rows).policy)
    card |= {"memory": _memory(config, accepted.memory), "call": call_of(accepted)}
    policy, observed = agent.policy(env_params), agent.env.observation_space(env_params)
    return {"format": FORMAT, "use": make_use(card, accepted, policy, observed), **card}


def completed_card(card: dict[str, Any]) -> dict[str, Any]:
    """A card of any format that is read, with the fields of this one."""
    if card["format"] > 1:
        return card
    number = card.get("observations", {}).get("number")
    if "encoder" in card:
        encoder = encoder_of(card)
    elif number is not None:
        encoder = Encoder((("", Part((), "int32", number)),))
    else:
        encoder = of_array(tuple(card["obs_shape"]))
    added = {
        "observations": describe_observations(encoder),
        "encoder": encoder.to_json(),
        "mask": None,
        "memory": None,
    }
    return added | card | {"call": call_of(Accepted(encoder, ("",)))}


def encoder_of(card: dict[str, Any]) -> Encoder:
    """The encoder of a card's observations, all of its parts."""
    return Encoder.from_json(card["encoder"])


def accepted_of(card: dict[str, Any], zero: Callable[[Any], Any] = lambda rows: ()) -> Accepted:
    """Arguments that the policy of a card takes.  zero: B -> memory where an episode begins."""
    encoder = encoder_of(card)
    chosen = card.get("config", {}).get("policy_obs")
    needed = encoder.choose(None if chosen is None else tuple(chosen), "policy_obs")
    return Accepted(needed, tuple(name for name, _ in encoder.parts), card["mask"], zero)


def describe_observations(encoder: Encoder) -> dict[str, Any]:
    """Observations as JSON has them: integers that networks see one-hot, numbers, or several."""
    if _is_several(encoder):
        return {"kind": "several"}
    (part,) = [part for _, part in encoder.parts]
    if part.categories is not None and not part.shape:
        return {"kind": "discrete", "number": part.categories}
    return {"kind": "box"}


def _is_several(encoder: Encoder) -> bool:
    return isinstance(encoder.shapes, dict)


def describe_mask(space: Any, mask: Any) -> Any:
    """Shapes of a mask, in the structure of the actions: a list, None for a part without one, or a
    dict as `describe_actions` has it."""
    kind = kind_of(space)
    if mask is None:
        return None
    if kind not in ("dict", "tuple"):
        return list(mask.shape)
    parts = [[str(key), describe_mask(x, mask[key])] for key, x in children(space).items()]
    return {"kind": kind, "parts": parts}


def _memory(config: VPGConfig, memory: Any) -> dict[str, Any] | None:
    leaves = jax.tree.leaves(memory)
    if not leaves:
        return None
    kind = config.memory if isinstance(config.memory, str) else type(config.memory).__name__
    dtypes = [str(x.dtype) for x in leaves]
    return {"kind": kind, "shapes": [list(x.shape) for x in leaves], "dtypes": dtypes}

"""Parameters and states that a user hands in: of this config, or refused when traced."""

from typing import Any

import jax
import jax.numpy as jnp

from purejaxvpg.agent.encoding import unmasked
from purejaxvpg.agent.networks import param_shapes
from purejaxvpg.agent.optimize import make_optimizer
from purejaxvpg.agent.setup import Agent, Setup
from purejaxvpg.compute import memoized
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.state import Params, RunningStats, TrainState
from purejaxvpg.variables import trained


def check_policy(config: VPGConfig, agent: Agent, params: Any, stats: Any) -> None:
    """Refuse a policy that is not one run's of the config.

    Args: stats: of observations; None is one where nothing is normalised.
    Raises: ValueError for parameters of other names or shapes, and for statistics that are missing
      or of other observations; TypeError for statistics that are no RunningStats.
    """
    _check_stats(config, agent, stats)
    expected = param_shapes(agent.networks, agent.encoder).policy
    _check_alike("the policy's parameters", params, expected, "state.params.policy")


def check_state(setup: Setup, state: Any) -> None:
    """Refuse a state that is not one run's of the config.

    Raises: TypeError for no TrainState; ValueError for arrays of other names or shapes.
    """
    if not isinstance(state, TrainState):
        raise TypeError(f"state is a {type(state).__name__}; pass a TrainState, as init returns it")
    for place, expected in _shapes(setup).items():
        _check_alike(f"state.{place}", getattr(state, place), expected, "the state")
    given = _shapes_by_name(unmasked(state.obs))
    expected = {
        name: (setup.num_envs, *shape)
        for name, shape in _shapes_by_name(setup.agent.env.observed).items()
    }
    if given != expected:
        shapes = [x[""] if list(x) == [""] else x for x in (given, expected)]
        raise ValueError(
            f"state.obs has shape {shapes[0]}; accepted: {shapes[1]}, which is num_envs "
            f"observations of this config's environment"
        )
    memory = jax.eval_shape(lambda: setup.agent.networks.no_memory(setup.num_envs))
    _check_alike("state.memory", state.memory, memory, "the state")


def _check_stats(config: VPGConfig, agent: Agent, stats: Any) -> None:
    """Refuse statistics through which the policy would see other numbers than in training."""
    if stats is None and config.normalize_obs:
        raise ValueError(
            "obs_stats is missing, and with normalize_obs=True the policy acts on observations "
            "that they normalise; pass obs_stats=state.obs_stats"
        )
    if stats is not None and not isinstance(stats, RunningStats):
        raise TypeError(f"obs_stats is a {type(stats).__name__}; pass state.obs_stats")
    if stats is not None and config.normalize_obs:
        given = jax.tree.map(jnp.shape, stats.mean)
        if given != agent.encoder.shapes:
            raise ValueError(
                f"obs_stats are of observations {given}; accepted: of this config's, "
                f"{agent.encoder.shapes}"
            )


@memoized(64)
def _shapes(setup: Setup) -> dict[str, Params]:
    """Parameters and states of optimizers, as the config makes them."""
    params = param_shapes(setup.agent.networks, setup.agent.encoder)
    optimizer = make_optimizer(setup.config, Hyperparams(), learning_rate=0.0, update=0)
    states = [jax.eval_shape(optimizer.init, trained(network)) for network in params]
    return {"params": params, "opt_state": Params(*states)}


def _check_alike(what: str, given: Any, expected: Any, remedy: str) -> None:
    """ValueError that names the first array which is missing, of another shape, or too many."""
    shapes, accepted = _shapes_by_name(given), _shapes_by_name(expected)
    for name in [*accepted, *shapes]:
        have, need = shapes.get(name), accepted.get(name)
        if have != need:
            raise ValueError(
                f"{what} are not those of one run of this config: {name} "
                f"{'is missing' if have is None else f'has shape {have}'}; accepted: "
                f"{'none of that name' if need is None else f'shape {need}'}; pass {remedy} of a "
                f"run of the same config (several runs: jax.vmap)"
            )


def _shapes_by_name(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): jnp.shape(leaf)
        for path, leaf in leaves
    }

"""Evaluation of the policies that a study keeps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purejaxvpg.agent import make_agent
from purejaxvpg.compute import STUDY_KEYS, memoized
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.evaluate import make_evaluate
from purejaxvpg.experiment.design import ENV_PARAMS
from purejaxvpg.experiment.groups import apply
from purejaxvpg.experiment.policies import restore
from purejaxvpg.experiment.study import Study
from purejaxvpg.ranges import Range
from purejaxvpg.state import Evaluation, RunningStats

EVALUATION = 0xE7A1  # a branch of a seed's key that its training never splits off


def evaluate_setting(
    study: Study,
    setting: int = 0,
    seeds: Sequence[int] | np.ndarray | None = None,
    num_episodes: int = 32,
    greedy: bool = True,
    seed: int = 0,
    env_params: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Evaluate the policies of a setting, with the environment parameters it trained on, and the
    environment's defaults in place of ranges.

    Args:
      setting: its place in the design.  seeds: training seeds, `[S]`; None: all of the study.
      num_episodes: E of each.  greedy: the policy's mode, or else draws from it.
      seed: of the evaluation.
      env_params: parameters to evaluate under instead, name -> value.

    Returns: `[S, E]` each.

    Raises: ValueError for a policy that is not kept, or parameters that the environment does not
    have or that are ranges; else as `make_evaluate`.
    """
    config, hp = under(*study.setting(setting), env_params)
    seeds = study.seeds if seeds is None else np.asarray(seeds)
    evaluate = _over_seeds(config, num_episodes, greedy)
    params, obs_stats = policies_of(study, setting, seeds)
    return evaluate(evaluation_keys(seeds, seed), params, obs_stats, hp)


def under(
    config: VPGConfig, hp: Hyperparams, env_params: Mapping[str, Any] | None
) -> tuple[VPGConfig, Hyperparams]:
    """A setting with other environment parameters.  Raises: ValueError, TypeError."""
    for name, span in (env_params or {}).items():
        if isinstance(span, Range):
            raise ValueError(
                f"env_params.{name} ~ {span} is drawn in training alone, and evaluations are under "
                f"fixed values; give one, or several ({name}=8,10,12)"
            )
    if not env_params:
        return config, hp
    return apply({f"{ENV_PARAMS}{name}": x for name, x in env_params.items()}, config, hp)


@memoized(64)
def _over_seeds(config: VPGConfig, num_episodes: int, greedy: bool) -> Callable[..., Evaluation]:
    """`make_evaluate` over seeds: one program for all settings of a config."""
    function = make_evaluate(config, num_episodes, greedy)
    return jax.jit(jax.vmap(function, in_axes=(0, 0, 0, None)))


def policies_of(study: Study, setting: int, seeds: np.ndarray) -> tuple[object, RunningStats]:
    """Policy parameters and observation statistics of a setting's runs, `[len(seeds), ...]`.

    Raises: ValueError for a seed that is not in the study, or a policy that is not kept.
    """
    if missing := sorted(set(np.asarray(seeds).tolist()) - set(study.seeds.tolist())):
        first, last = study.seeds[0], study.seeds[-1]
        raise ValueError(f"seed={missing[0]} is not in the study; accepted: {first} to {last}")
    runs = study.index.of_settings([setting])[np.searchsorted(study.seeds, seeds)]
    agent = make_agent(study.setting(setting)[0])
    arrays = study.policies.arrays(runs)
    return restore(arrays, agent.networks, agent.encoder, rows=len(runs))


def evaluation_keys(seeds: np.ndarray, seed: int = 0) -> jax.Array:
    """Keys to evaluate these training seeds with, apart from all that trained them.  `[S]`

    `fold_in(key, i)` is the key that `split(key, n)` gives at place i, so evaluating with
    `fold_in(seed's key, 1)` would draw the numbers again that the networks were made of.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(
            f"seed={seed} of the evaluation is out of range; accepted: 0 to {2**32 - 1}"
        )
    base = jax.random.fold_in(jax.random.key(seed, impl=STUDY_KEYS), EVALUATION)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(base, jnp.asarray(seeds, jnp.uint32))

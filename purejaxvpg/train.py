"""A whole run: `init`, then `update` U times, as one pure function."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import Array, lax

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.evaluate import make_evaluate
from purejaxvpg.spread import ALONE, Spread
from purejaxvpg.state import Metrics, TrainResult, TrainState
from purejaxvpg.vpg import make_learner


@functools.lru_cache(maxsize=256)
def make_train(config: VPGConfig) -> Callable[..., TrainResult]:
    """A whole run as one pure function, `train(key, hp=None) -> TrainResult`.

    `jax.jit(train)`; `jax.vmap(train)` over keys, over hyperparameters, over both.

    Raises: as `make_learner`.
    """
    init = make_learner(config).init
    all_updates = make_segment(config, config.num_updates)

    def train(key: Array, hp: Hyperparams | None = None) -> TrainResult:
        return all_updates(init(key, hp), hp)

    return train


@functools.lru_cache(maxsize=256)
def make_segment(
    config: VPGConfig, num_updates: int, spread: Spread = ALONE
) -> Callable[..., TrainResult]:
    """`num_updates` updates of a run, `segment(state, hp=None) -> TrainResult`.

    Over several devices (`spread`) it is a function for `jax.shard_map`, see spread.py.
    Segments laid end to end give the numbers of one call of `train`, up to rounding.

    Raises: ValueError if `eval_every` does not divide `num_updates`; else as `make_learner`.
    """
    learner = make_learner(config, spread)
    every = config.eval_every or num_updates
    if num_updates % every:
        raise ValueError(f"eval_every={every} does not divide a segment of {num_updates} updates")
    evaluate = make_evaluate(config) if config.eval_every else None

    def segment(state: TrainState, hp: Hyperparams | None = None) -> TrainResult:
        def updates(state: TrainState, _: None) -> tuple[TrainState, tuple[Metrics, Any]]:
            state, metrics = lax.scan(lambda s, _: learner.update(s, hp), state, length=every)
            if evaluate is None:
                return state, (metrics, None)
            key, eval_key = jax.random.split(state.key)
            evaluation = evaluate(eval_key, state.params.policy, state.obs_stats, hp)
            return state._replace(key=key), (metrics, evaluation)

        state, (metrics, evaluations) = lax.scan(updates, state, length=num_updates // every)
        return TrainResult(state, jax.tree.map(_join, metrics), evaluations)

    return segment


def _join(x: Array) -> Array:
    """`[blocks, every]` -> `[blocks * every]`."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])

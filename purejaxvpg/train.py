"""A whole run: `init`, then `update` U times, as one pure function."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from purejaxvpg.compute import flatten, memoized, vary_like, with_key
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.evaluate import make_evaluate
from purejaxvpg.fields import MOST, check_count
from purejaxvpg.state import Evaluation, Metrics, TrainResult, TrainState
from purejaxvpg.vpg import make_learner


@memoized(256)
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


@memoized(256)
def make_segment(
    config: VPGConfig, num_updates: int, devices: int = 1
) -> Callable[..., TrainResult]:
    """`num_updates` updates of a run, `segment(state, hp=None) -> TrainResult`.

    Segments laid end to end give the numbers of one call of `train`, up to rounding: a loop of
    another length is another program.

    Args: devices: as in `make_learner`.

    Raises: ValueError if `eval_every` does not divide `num_updates`; else as `make_learner`.
    """
    check_count("num_updates", num_updates, MOST)
    learner = make_learner(config, devices)
    every = config.eval_every or num_updates
    if num_updates % every:
        raise ValueError(f"eval_every={every} does not divide a segment of {num_updates} updates")
    evaluate: Any = _make_evaluation(config) if config.eval_every else None

    def segment(state: TrainState, hp: Hyperparams | None = None) -> TrainResult:
        def updates(state: TrainState, _: None) -> tuple[TrainState, tuple[Metrics, Any]]:
            state, metrics = lax.scan(lambda s, _: learner.update(s, hp), state, length=every)
            if not config.eval_every:
                return state, (metrics, None)
            state, evaluation = evaluate(state, hp)
            return state, (metrics, evaluation)

        start = vary_like(state, (state, hp))
        state, (metrics, evaluations) = lax.scan(updates, start, length=num_updates // every)
        return TrainResult(state, jax.tree.map(flatten, metrics), evaluations)

    return segment


@memoized(256)
def make_span(config: VPGConfig, capacity: int, devices: int = 1) -> Callable[..., TrainResult]:
    """As many updates as are asked for, `span(state, hp, start, count) -> TrainResult`.

    A host loop over spans is a run that can be looked at, kept and stopped between any two
    updates: one program serves every count, so the numbers do not depend on where spans end.
    The loop has no derivative in reverse mode; `make_segment` has one.

    Args:
      capacity: the most updates of one call; the result has so many rows, and those from `count`
        on mean nothing.
      devices: as in `make_learner`.

    `start`, the updates done before, and `count` are scalars, the same for all runs under `vmap`.
    """
    learner, every = make_learner(config, devices), config.eval_every
    evaluate: Any = _make_evaluation(config) if every else None

    def span(state: TrainState, hp: Hyperparams | None, start: Array, count: Array) -> TrainResult:
        def one_update(index: Array, result: TrainResult) -> TrainResult:
            state, numbers = learner.update(result.state, hp)
            metrics = _with_row(result.metrics, numbers, index)
            result = TrainResult(state, metrics, result.evaluations)
            if not every:
                return result
            done = start + index + 1  # unbatched under vmap, so that `cond` stays one
            return lax.cond(
                done % every == 0, with_evaluation, lambda result, _: result, result, done
            )

        def with_evaluation(result: TrainResult, done: Array) -> TrainResult:
            state, evaluation = evaluate(result.state, hp)
            place = done // every - start // every - 1
            evaluations = _with_row(result.evaluations, evaluation, place)
            return result._replace(state=state, evaluations=evaluations)

        numbers: Any = {name: jnp.zeros(capacity, jnp.float32) for name in Metrics._fields}
        numbers |= {"finite": jnp.zeros(capacity, bool)} | dict.fromkeys(config.unmeasured)
        metrics = Metrics(**numbers)
        shape = (-(-capacity // (every or 1)), config.eval_episodes)
        types = (jnp.float32, jnp.int32, bool)
        evaluations = Evaluation(*[jnp.zeros(shape, dtype) for dtype in types]) if every else None
        begin = vary_like(TrainResult(state, metrics, evaluations), (state, hp))
        return lax.fori_loop(0, count, one_update, begin)

    return span


def _make_evaluation(
    config: VPGConfig,
) -> Callable[[TrainState, Hyperparams | None], tuple[TrainState, Evaluation]]:
    """Evaluate the policy with a key of its own, split off that of the state."""
    evaluate = make_evaluate(config)

    def evaluation(state: TrainState, hp: Hyperparams | None) -> tuple[TrainState, Evaluation]:
        key, eval_key = jax.random.split(state.key)
        outcome = evaluate(eval_key, state.params.policy, state.obs_stats, hp)
        return with_key(state, key), outcome

    return evaluation


def _with_row(rows: Any, row: Any, index: Array) -> Any:
    """`rows` `[length, ...]` with `row` at `index`.  Pytrees."""

    def put(x: Array, y: Array) -> Array:
        return lax.dynamic_update_index_in_dim(x, y.astype(x.dtype), index, 0)

    return jax.tree.map(put, rows, row)

"""A host loop over compiled segments of a run: progress for people, the numbers unchanged.

`train` is one compiled call that is silent until it ends.  Here the same updates go through one
compiled segment again and again, with a look at the metrics in between.  The segments give the
numbers of the one call, up to rounding: a loop of another length is another program.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purejaxvpg.agent import check_episodes_fit, make_agent
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.evaluate import Evaluation
from purejaxvpg.state import Metrics, TrainResult, TrainState
from purejaxvpg.train import make_segment
from purejaxvpg.vpg import make_learner

EVALUATION = 0xE7A1  # a branch of a seed's key that its training never splits off


class Progress(NamedTuple):
    """How far a run is."""

    updates: int  # done, of each seed
    num_updates: int  # U
    steps: int  # done, of all seeds together
    steps_per_second: float  # of all seeds together, compilation excluded
    mean_return: float  # mean over seeds of the episodes that ended in the last segment, or NaN


class Run(NamedTuple):
    """What a run of S seeds leaves.  Metrics and evaluations are numpy arrays."""

    config: VPGConfig
    hyperparams: Hyperparams
    seeds: np.ndarray  # [S]
    state: TrainState  # [S, ...]
    metrics: Metrics  # [S, U]
    evaluations: Evaluation | None  # [S, U / eval_every, E]
    seconds: float  # compilation excluded
    compile_seconds: float


def seed_keys(seeds: np.ndarray) -> jax.Array:
    """The key of each seed: `jax.random.key(seed)`, whatever its place among the seeds.  [S]"""
    return jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))


def evaluation_keys(seeds: np.ndarray, seed: int = 0) -> jax.Array:
    """Keys to evaluate these training seeds with, apart from all that trained them.  [S]

    `fold_in(key, i)` is the key that `split(key, n)` gives at place i, so evaluating with
    `fold_in(seed's key, 1)` would draw the numbers again that the networks were made of.
    """
    base = jax.random.fold_in(jax.random.key(seed), EVALUATION)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(base, jnp.asarray(seeds, jnp.uint32))


def run(
    config: VPGConfig,
    hp: Hyperparams | None = None,
    num_seeds: int = 1,
    first_seed: int = 0,
    on_progress: Callable[[Progress], None] | None = None,
    reports: int = 50,
) -> Run:
    """Train S = `num_seeds` seeds side by side in one compiled program.

    Args:
      hp: one set of hyperparameters for all seeds.
      first_seed: the seeds are first_seed, first_seed + 1, ...
      on_progress: called after every segment.  reports: at least so many segments, if the
        number of updates can be divided so.

    Raises: ValueError for a `num_seeds` below 1; else as `make_learner`.
    """
    if num_seeds < 1:
        raise ValueError(f"num_seeds={num_seeds} is out of range; accepted: an integer >= 1")
    hp = Hyperparams() if hp is None else hp
    agent = make_agent(config)
    check_episodes_fit(config, agent.env, agent.env_params(hp))
    seeds = np.arange(first_seed, first_seed + num_seeds)
    length = segment_length(config, reports if on_progress else 1)
    start = time.perf_counter()
    state, compiled = _compile(config, hp, seeds, length)
    compile_seconds = time.perf_counter() - start

    parts, seconds = [], 0.0
    for done in range(length, config.num_updates + 1, length):
        start = time.perf_counter()
        state, metrics, evaluations = jax.block_until_ready(compiled(state, hp))
        seconds += time.perf_counter() - start
        parts.append(jax.tree.map(np.asarray, (metrics, evaluations)))
        if on_progress:
            on_progress(_progress(config, num_seeds, done, seconds, parts[-1][0]))

    metrics, evaluations = jax.tree.map(lambda *x: np.concatenate(x, axis=1), *parts)
    return Run(config, hp, seeds, state, metrics, evaluations, seconds, compile_seconds)


def segment_length(config: VPGConfig, segments: int) -> int:
    """Updates per segment: the longest that divides the run into at least so many segments.

    One length for all, so that one compilation serves; a multiple of `eval_every`.
    """
    unit = config.eval_every or 1
    blocks = config.num_updates // unit
    most = max(blocks // segments, 1)
    return unit * max(length for length in range(1, most + 1) if blocks % length == 0)


def _compile(
    config: VPGConfig, hp: Hyperparams, seeds: np.ndarray, length: int
) -> tuple[TrainState, Callable[[TrainState, Hyperparams], TrainResult]]:
    """The first state of every seed `[S, ...]`, and the compiled segment."""
    init = jax.jit(jax.vmap(make_learner(config).init, in_axes=(0, None)))
    segment = jax.vmap(make_segment(config, length), in_axes=(0, None))
    state = jax.block_until_ready(init(seed_keys(seeds), hp))
    # The old state is given up to the new one: without that, two would be held at once.
    return state, jax.jit(segment, donate_argnums=0).lower(state, hp).compile()


def _progress(
    config: VPGConfig, num_seeds: int, done: int, seconds: float, metrics: Any
) -> Progress:
    steps = done * config.num_envs * config.num_steps * num_seeds
    sums, counts = metrics.episode_return_sum.sum(1), metrics.episode_count.sum(1)  # [S]
    means = sums[counts > 0] / counts[counts > 0]  # seeds weigh the same, however long episodes are
    mean = float(means.mean()) if len(means) else float("nan")
    return Progress(done, config.num_updates, steps, steps / seconds, mean)

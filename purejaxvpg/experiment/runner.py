"""A host loop over compiled segments of a run: progress for people, the numbers unchanged.

`train` is one compiled call that is silent until it ends.  Here the same updates go through one
compiled segment again and again, with a look at the metrics in between.  The segments give the
numbers of the one call, up to rounding: a loop of another length is another program.
"""

import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purejaxvpg.agent import check_episodes_fit, make_agent
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.evaluate import Evaluation
from purejaxvpg.experiment.checkpoint import Checkpoint, Checkpoints
from purejaxvpg.experiment.segments import run_segments, segment_length
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
    checkpoints: Checkpoints | None = None,
    on_start: Callable[[Checkpoint | None], None] | None = None,
    on_divergence: Callable[[TrainState], None] | None = None,
) -> Run:
    """Train S = `num_seeds` seeds side by side in one compiled program.

    Args:
      hp: one set of hyperparameters for all seeds.
      first_seed: the seeds are first_seed, first_seed + 1, ...
      on_progress: called after every segment.  reports: at least so many segments, if the
        number of updates can be divided so.
      checkpoints: where the run is kept from time to time, and from where it goes on.  It goes
        on to the same bits, with the same versions, device, S and `reports`.
      on_start: called with the checkpoint that it goes on from, or None.
      on_divergence: called with the state of all seeds, [S, ...], after every segment at whose
        end some are not finite.

    Raises: ValueError for a `num_seeds` below 1; Stopped if `checkpoints.stop` is set, or OSError
    if it could not be kept then; else as `make_learner`.
    """
    if num_seeds < 1:
        raise ValueError(f"num_seeds={num_seeds} is out of range; accepted: an integer >= 1")
    hp = Hyperparams() if hp is None else hp
    agent = make_agent(config)
    check_episodes_fit(config, agent.env, agent.env_params(hp))
    seeds = np.arange(first_seed, first_seed + num_seeds)
    length = segment_length(config, reports if on_progress or checkpoints else 1)
    start = time.perf_counter()
    init, advance = _compile(config, hp, num_seeds, length)
    compile_seconds = time.perf_counter() - start

    def on_segment(done: int, seconds: float, state: TrainState, metrics: Metrics) -> None:
        if on_progress:
            on_progress(_progress(config, num_seeds, done, seconds, metrics))
        if on_divergence and not np.asarray(metrics.finite)[:, -1].all():
            on_divergence(state)

    outcome = run_segments(
        lambda state: advance(state, hp),
        jax.block_until_ready(init(seed_keys(seeds), hp)),
        (0, config.num_updates),
        length,
        compile_seconds,
        checkpoints,
        on_start,
        on_segment,
    )
    return Run(config, hp, seeds, *outcome)


def _compile(
    config: VPGConfig, hp: Hyperparams, num_seeds: int, length: int
) -> tuple[Callable[..., TrainState], Callable[..., TrainResult]]:
    """The compiled `init(keys [S], hp)` and `segment(state [S, ...], hp)`, which takes the state's
    memory.  The same arguments but for the values in `hp` give the same programs again."""
    leaves, structure = jax.tree.flatten(hp)
    return _compiled(config, num_seeds, length, structure, tuple(map(jax.typeof, leaves)))


@functools.lru_cache(maxsize=32)
def _compiled(
    config: VPGConfig, num_seeds: int, length: int, structure: Any, types: tuple[Any, ...]
) -> tuple[Callable[..., TrainState], Callable[..., TrainResult]]:
    leaves = [jax.ShapeDtypeStruct(t.shape, t.dtype, weak_type=t.weak_type) for t in types]
    hp = jax.tree.unflatten(structure, leaves)
    keys = jax.eval_shape(seed_keys, jax.ShapeDtypeStruct((num_seeds,), np.uint32))
    init = jax.jit(jax.vmap(make_learner(config).init, in_axes=(0, None)))
    segment = jax.vmap(make_segment(config, length), in_axes=(0, None))
    with ThreadPoolExecutor(1) as pool:  # the one is compiled while the other is traced
        compiled_init = pool.submit(init.lower(keys, hp).compile)
        # The old state is given up to the new one: without that, two would be held at once.
        advance = jax.jit(segment, donate_argnums=0).lower(jax.eval_shape(init, keys, hp), hp)
        compiled_advance = advance.compile()
        return compiled_init.result(), compiled_advance


def _progress(
    config: VPGConfig, num_seeds: int, done: int, seconds: float, metrics: Any
) -> Progress:
    steps = done * config.num_envs * config.num_steps * num_seeds
    sums, counts = metrics.episode_return_sum.sum(1), metrics.episode_count.sum(1)  # [S]
    means = sums[counts > 0] / counts[counts > 0]  # seeds weigh the same, however long episodes are
    mean = float(means.mean()) if len(means) else float("nan")
    return Progress(done, config.num_updates, steps, steps / seconds, mean)

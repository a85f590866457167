"""Compiled segments of a run, or of a chunk of runs, one after the other, kept on the way."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from purejaxvpg.config import VPGConfig
from purejaxvpg.evaluate import Evaluation
from purejaxvpg.experiment.checkpoint import Checkpoint, Checkpoints, Stopped
from purejaxvpg.experiment.placement import fetch, fetched_like, restore
from purejaxvpg.experiment.record import compiler_flags, versions
from purejaxvpg.state import Metrics, TrainResult, TrainState


class Outcome(NamedTuple):
    """Rows after their segments.  S of them, or those of this process."""

    state: TrainState  # [S, ...]
    metrics: Metrics  # [S, end - start], numpy
    evaluations: Evaluation | None  # [S, V, E], numpy
    seconds: float  # running, before an interruption included
    compile_seconds: float  # of all starts


def segment_length(config: VPGConfig, segments: int) -> int:
    """Updates per segment: the longest that divides the run into at least so many segments.

    One length for all, so that one compilation serves; a multiple of `eval_every`.
    """
    unit = config.eval_every or 1
    blocks = config.num_updates // unit
    most = max(blocks // segments, 1)
    return unit * max(length for length in range(1, most + 1) if blocks % length == 0)


def run_segments(
    advance: Callable[[TrainState], TrainResult],
    state: TrainState,
    span: tuple[int, int],
    length: int,
    compile_seconds: float = 0.0,
    checkpoints: Checkpoints | None = None,
    on_start: Callable[[Checkpoint | None], None] | None = None,
    on_segment: Callable[[int, float, TrainState, Metrics], None] | None = None,
) -> Outcome:
    """From update `span[0]` to `span[1]`, or from where it was kept on the way.

    Args:
      advance: one segment of `length` updates.  state: at `span[0]`.
      on_start: told the checkpoint that it goes on from, or None.
      on_segment: told the updates done, the seconds they took, and the segment's outcome.

    Raises: Stopped if `checkpoints.stop` is set, or OSError if it could not be kept then.
    """
    start, end = span
    found, seconds = [], 0.0
    kept = checkpoints.newest(jax.tree.leaves(fetched_like(state))) if checkpoints else None
    if on_start:
        on_start(kept)
    if kept is not None:
        state = restore(state, jax.tree.unflatten(jax.tree.structure(state), kept.state))
        found, start, seconds = [(kept.metrics, kept.evaluations)], kept.update, kept.seconds
        compile_seconds += kept.compile_seconds
    for done in range(start + length, end + 1, length):
        begun = time.perf_counter()
        state, metrics, evaluations = jax.block_until_ready(advance(state))
        found.append(fetch((metrics, evaluations)))
        seconds += time.perf_counter() - begun
        if on_segment:
            on_segment(done, seconds, state, found[-1][0])
        if checkpoints and done < end and checkpoints.due(done):
            found = [_joined(found)]
            leaves = jax.tree.leaves(fetch(state))  # now: the next segment takes its memory
            checkpoints.save(
                Checkpoint(done, leaves, *found[0], seconds, compile_seconds, made_with())
            )
            if checkpoints.stop:
                checkpoints.wait()
                raise Stopped(done)
    if checkpoints:
        checkpoints.settle()
    return Outcome(state, *_joined(found), seconds, compile_seconds)


def _joined(parts: list[tuple[Metrics, Any]]) -> tuple[Metrics, Any]:
    """Metrics and evaluations of spans of updates, laid end to end."""
    return jax.tree.map(lambda *x: np.concatenate(x, axis=1), *parts)


def made_with() -> dict[str, str]:
    """What the bits of a run depend on beside its settings."""
    device = jax.devices()[0]
    return {
        **versions(),
        "device": device.device_kind,
        "platform": device.platform,
        "XLA_FLAGS": " ".join(sorted(compiler_flags().split())),
    }

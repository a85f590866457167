"""One chunk of a study: the rows of one program, from their seeds or kept states to a part."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from purejaxvpg.config import Hyperparams
from purejaxvpg.experiment.checkpoint import Checkpoint, Checkpoints
from purejaxvpg.experiment.parts import Part
from purejaxvpg.experiment.placement import Program, fetch, restore
from purejaxvpg.experiment.segments import run_segments
from purejaxvpg.state import TrainState


class Chunk(NamedTuple):
    """k runs to compute together, k <= W rows of the program."""

    runs: np.ndarray  # [k] int, h * S + s
    seeds: np.ndarray  # [k]
    hp: Hyperparams  # [k, ...]
    start: int  # updates [start, end)
    end: int
    state: Sequence[np.ndarray] | None  # leaves [k, ...] at `start`; None at 0
    goes_on: bool  # a later part will, from the state at `end`


def run_chunk(
    program: Program,
    chunk: Chunk,
    length: int,
    checkpoints: Checkpoints | None,
    on_segment: Callable[[int, float], None],
) -> Part | None:
    """Its part, of the rows that this process computed; None if it has none of them.

    The part's seconds are those that the chunk ran before it was interrupted.

    Args:
      length: updates of a segment.  on_segment: told updates and seconds so far, after each.

    Raises: as `run_segments`.
    """
    k = len(chunk.runs)
    rows = np.concatenate([np.arange(k), np.zeros(program.rows - k, int)])  # padding comes last

    def padded(tree: Any) -> Any:
        return jax.tree.map(lambda x: np.asarray(x)[rows], tree)

    before = [0.0]

    def on_start(kept: Checkpoint | None) -> None:
        _warn_of_unusable(checkpoints)
        before[0] = kept.seconds if kept else 0.0

    hp = program.place(padded(chunk.hp))
    if chunk.state is None:
        state: TrainState = program.init(padded(chunk.seeds).astype(np.uint32), hp)
    else:
        structure = jax.tree.structure(program.state_like)
        state = restore(program.state_like, jax.tree.unflatten(structure, padded(chunk.state)))
    found = run_segments(
        lambda state: program.advance(state, hp),
        state,
        (chunk.start, chunk.end),
        length,
        checkpoints=checkpoints,
        on_start=on_start,
        on_segment=lambda done, seconds, state, metrics: on_segment(done, seconds),
    )
    own = program.own_rows[program.own_rows < k]
    if not len(own):
        return None
    kept = slice(0, len(own))  # padding comes last, and so do its rows
    metrics, evaluations = jax.tree.map(lambda x: x[kept], (found.metrics, found.evaluations))
    leaves = [x[kept] for x in jax.tree.leaves(fetch(found.state))] if chunk.goes_on else None
    span, width = (chunk.start, chunk.end), program.width
    return Part(chunk.runs[own], *span, metrics, evaluations, leaves, width, before[0])


def _warn_of_unusable(checkpoints: Checkpoints | None) -> None:
    for path, reason in checkpoints.unusable if checkpoints else ():
        warnings.warn(f"{path} is not used: {reason}", stacklevel=2)

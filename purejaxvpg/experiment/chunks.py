"""One chunk of a study: the rows of one program, from their seeds or kept states to a part."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from purejaxvpg.compute.layout import completed, fetch, fetched_like, restore
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment.checkpoints import Checkpoint, Checkpoints, check_fits
from purejaxvpg.experiment.parts import Part
from purejaxvpg.experiment.policies import of_state
from purejaxvpg.experiment.program import Program
from purejaxvpg.experiment.segments import Segment, run_segments
from purejaxvpg.state import TrainResult, TrainState


class Chunk(NamedTuple):
    """k runs to compute together, k <= W rows of the program."""

    runs: np.ndarray  # [k] int, their numbers
    seeds: np.ndarray  # [k]
    settings: np.ndarray  # [k] places in the design
    values: Sequence[Mapping[str, Any]]  # [k] what varies of each setting
    config: VPGConfig
    hp: Hyperparams  # [k, ...]
    start: int  # updates [start, end)
    end: int
    num_updates: int  # U
    eval_every: int
    most: int  # updates of a segment
    state: Sequence[np.ndarray] | None  # leaves [k, ...] at `start`; None at 0
    keep_policies: bool
    keep_states: bool = False  # also of runs that are done, which may train longer

    @property
    def goes_on(self) -> bool:
        """Whether a later part goes on from the state at `end`."""
        return self.end < self.num_updates

    def segment(
        self, rows: np.ndarray, updates: int, seconds: float, result: TrainResult
    ) -> Segment:
        """A segment of some rows, as hooks see it.  Args: result: metrics of these rows, numpy."""
        return Segment(
            runs=self.runs[rows],
            updates=updates,
            num_updates=self.num_updates,
            seconds=seconds,
            metrics=result.metrics,
            evaluations=result.evaluations,
            state=result.state,
            config=self.config,
            hp=jax.tree.map(lambda x: np.asarray(x)[rows], self.hp),
            seeds=self.seeds[rows],
            settings=self.settings[rows],
            values=[self.values[row] for row in rows],
            start=self.start,
        )


def run_chunk(
    program: Program,
    chunk: Chunk,
    checkpoints: Checkpoints | None,
    on_start: Callable[[Checkpoint | None], None],
    on_segment: Callable[[Segment], bool],
) -> Part | None:
    """The part of the rows that this process computed; None if it has none of them.

    The part ends before `chunk.end` if `on_segment` stopped it.

    Raises: as `run_segments`.
    """
    state, hp = first_rows(program, chunk)
    k = len(chunk.runs)
    local = program.local_rows[program.local_rows < k]
    here = slice(0, len(local))  # padding comes last, and so do its rows

    def after_segment(done: int, seconds: float, result: TrainResult) -> bool:
        metrics, evaluations = jax.tree.map(lambda x: x[here], (result.metrics, result.evaluations))
        result = TrainResult(result.state, metrics, evaluations)
        return on_segment(chunk.segment(local, done, seconds, result))

    def before_segments(checkpoint: Checkpoint | None) -> None:
        for path, reason, _ in checkpoints.unusable if checkpoints else ():
            warnings.warn(f"{path} is not used: {reason}", stacklevel=2)
        on_start(checkpoint)

    outcome = run_segments(
        lambda state, done, count: program.advance(state, hp, done, count),
        state,
        (chunk.start, chunk.end),
        chunk.most,
        chunk.eval_every,
        checkpoints,
        before_segments,
        after_segment,
    )
    if not len(local):
        return None
    metrics, evaluations = jax.tree.map(lambda x: x[here], (outcome.metrics, outcome.evaluations))
    leaves = policies = None
    if chunk.goes_on or chunk.keep_states:
        leaves = [x[here] for x in jax.tree.leaves(fetch(outcome.state))]
    if chunk.keep_policies and not chunk.goes_on:
        policies = {name: x[here] for name, x in fetch(of_state(outcome.state)).items()}
    return Part(
        runs=chunk.runs[local],
        start=chunk.start,
        end=outcome.updates,
        metrics=metrics,
        evaluations=evaluations,
        state=leaves,
        width=program.width,
        seconds=outcome.seconds * len(local) / k,
        policies=policies,
    )


def first_rows(program: Program, chunk: Chunk) -> tuple[TrainState, Any]:
    """State and hyperparameters of all rows where the chunk starts."""
    k = len(chunk.runs)
    rows = np.concatenate([np.arange(k), np.zeros(program.rows - k, int)])  # padding comes last

    def padded(tree: Any) -> Any:
        return jax.tree.map(lambda x: np.asarray(x)[rows], tree)

    hp = program.place(padded(chunk.hp))
    if chunk.state is None:
        return program.init(padded(chunk.seeds).astype(np.uint32), hp), hp
    structure = jax.tree.structure(program.state_like)
    leaves = padded(list(completed(chunk.state, program.state_like)))
    like = fetched_like(program.state_like)
    check_fits(f"the part that ends at update {chunk.start}", leaves, jax.tree.leaves(like))
    return restore(program.state_like, jax.tree.unflatten(structure, leaves)), hp

"""The work of a study, in its order: rungs, groups, chunks; what is done stays done."""

import contextlib
import dataclasses
import math
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from purejaxvpg.config import Hyperparams
from purejaxvpg.experiment.checkpoint import Checkpoints, Stopped
from purejaxvpg.experiment.chunks import Chunk, run_chunk
from purejaxvpg.experiment.devices import all_of_processes
from purejaxvpg.experiment.files import locked
from purejaxvpg.experiment.grid import Group
from purejaxvpg.experiment.memory import is_out_of_memory, return_freed_memory
from purejaxvpg.experiment.placement import Program, Shard, compile_program, stack_hyperparams
from purejaxvpg.experiment.planning import SEGMENTS, GroupPlan, plan_group
from purejaxvpg.experiment.pruning import (
    SuccessiveHalving,
    survivors,
)
from purejaxvpg.experiment.record import plain
from purejaxvpg.experiment.segments import segment_length
from purejaxvpg.experiment.store import Spec, Store, assemble, measured, write_cube
from purejaxvpg.experiment.study import Study


class SweepProgress(NamedTuple):
    """How far a study is."""

    runs_done: int
    num_runs: int  # of this process or shard; fewer after each rung of a pruned study
    steps_done: int  # environment steps, of this call
    steps_left: int
    steps_per_second: float  # compilation excluded; 0 while the first program is compiled
    status: str


@dataclasses.dataclass
class Sweep:
    """One call of `sweep`: what it was asked, and how far it is."""

    spec: Spec
    store: Store
    groups: list[Group]
    devices: list[Any]
    shard: Shard
    part: tuple[int, int]
    pruning: SuccessiveHalving | None
    chunk_size: int | Literal["auto"]
    memory_limit: int | None
    on_progress: Callable[[SweepProgress], None]
    begun: dict[str, Any]

    checkpoint_seconds: float = 60.0

    plans: list[GroupPlan | None] = dataclasses.field(default_factory=list)  # of each group
    running: Checkpoints | None = None  # of the chunk that runs
    stopped: bool = False
    seconds: float = 0.0  # running
    compile_seconds: float = 0.0
    steps_done: int = 0
    steps_left: int = 0
    runs_done: int = 0
    num_runs: int = 0

    def __post_init__(self):
        self.alive = np.arange(sum(len(group.settings) for group in self.groups))  # settings

    def plan(self) -> None:
        """Choose the width of every group, before anything runs."""
        begun = time.perf_counter()
        for group in self.groups:
            own = self._own(group, self.alive)
            if not len(own):
                self.plans.append(None)
                continue
            # A study that goes on keeps the width it began with: another width rounds otherwise.
            every = self._runs(group, self.alive)
            known = self.store.width(every) if self.chunk_size == "auto" else 0
            if self.chunk_size == "auto" and not known:
                self._tell("measuring memory")
            hps = stack_hyperparams(group.config, group.hyperparams)
            asked = known or self.chunk_size
            # All shares plan alike; and a chunk is not wider than what is left after pruning.
            last = self.pruning.smallest(len(group.settings)) if self.pruning else None
            number = len(every) if last is None else last * len(self.spec.seeds)
            number = math.ceil(number / self.part[1])
            args = (number, self.devices, self.shard, asked, self.memory_limit)
            found = plan_group(group, hps, *args)
            chunks = math.ceil(len(own) / (found.width * found.num_devices))
            self.plans.append(found._replace(num_runs=len(own), chunks=chunks))
        self.compile_seconds += time.perf_counter() - begun

    def run(self) -> Study:
        """Train what is not done yet.

        Raises: Stopped after `stop()`; OSError if another process runs the same share in the same
        folder, or if a part cannot be written.
        """
        with self._alone():
            return self._run()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """In the folder, or in this share of it."""
        (index, of), folder = self.part, self.store.folder
        share = "" if of == 1 else f"-{index}-of-{of}"
        if folder is None or jax.process_index() > 0:
            yield
            return
        with locked(folder, share):
            yield

    def _run(self) -> Study:
        num_rungs = self.pruning.rungs if self.pruning else 1
        for rung in range(num_rungs):
            todo = [self._todo(group, rung) for group in self.groups]
            self.num_runs = sum(len(turn.own) for turn in todo)
            self.runs_done = self.num_runs - sum(len(turn.left) for turn in todo)
            self.steps_left = sum(
                len(turn.left) * (turn.end - turn.start) * group.config.steps_per_update
                for group, turn in zip(self.groups, todo, strict=True)
            )
            for place, turn in enumerate(todo):
                if len(turn.left):
                    self._run_group(place, rung, turn)
            if self.pruning and rung < num_rungs - 1:
                self.alive = self._survivors(rung)
        self.store.join_others(self.part[1] > 1 or jax.process_count() > 1)
        return self._finish()

    def _survivors(self, rung: int) -> np.ndarray:
        """Settings that go on after a rung, judged by what was known at its end: a study that is
        resumed further on must choose as it did."""
        ends = {h: self._bounds(g)[rung + 1] for g in self.groups for h in g.settings}
        num_seeds = len(self.spec.seeds)
        known = [p for p in self.store.parts if p.end <= ends[int(p.runs[0]) // num_seeds]]
        seen = assemble(self.spec, known, {})
        assert self.pruning is not None
        return survivors(seen.scores(), self.alive, self.pruning.keep, seen.diverged)

    def _bounds(self, group: Group) -> list[int]:
        """Updates between which the rungs lie; [0, U] without pruning."""
        updates = group.config.num_updates
        length = segment_length(group.config, SEGMENTS)
        return [0, *(self.pruning.ends(updates, length) if self.pruning else [updates])]

    def _runs(self, group: Group, settings: np.ndarray) -> np.ndarray:
        """Runs, h * S + s, of those settings of the group that are named."""
        num_seeds = len(self.spec.seeds)
        chosen = np.intersect1d(group.settings, settings)
        return (chosen[:, None] * num_seeds + np.arange(num_seeds)).ravel()

    def _own(self, group: Group, settings: np.ndarray) -> np.ndarray:
        """Those of them that this share computes."""
        runs, (index, of) = self._runs(group, settings), self.part
        total = sum(len(g.settings) for g in self.groups) * len(self.spec.seeds)
        return runs[(runs >= total * index // of) & (runs < total * (index + 1) // of)]

    def _todo(self, group: Group, rung: int) -> "Turn":
        own = self._own(group, self.alive)
        start, end = self._bounds(group)[rung : rung + 2]
        done = all_of_processes(self.store.done(start, end))
        left = own[[int(run) not in done for run in own]] if start < end else own[:0]
        return Turn(own, left, start, end)

    def _run_group(self, place: int, rung: int, turn: "Turn") -> None:
        """All that is left of a group.  A width that does not fit after all is halved."""
        group = self.groups[place]
        while True:
            found = self.plans[place]
            assert found is not None
            try:
                self._run_width(group, found.width, turn)
                return
            except jax.errors.JaxRuntimeError as error:
                if not is_out_of_memory(error) or found.width == 1 or jax.process_count() > 1:
                    raise
                narrower = math.ceil(found.width / 2)
                warnings.warn(
                    f"{found.width} runs a device do not fit in its memory; going on with "
                    f"{narrower} (another width rounds otherwise)",
                    stacklevel=5,
                )
                self.plans[place] = found._replace(width=narrower)
                turn = self._todo(group, rung)  # what was done before stays done

    def _run_width(self, group: Group, width: int, turn: "Turn") -> None:
        begun = time.perf_counter()
        self._tell(f"compiling for {len(turn.left)} runs")
        hps = stack_hyperparams(group.config, group.hyperparams)
        length = segment_length(group.config, SEGMENTS)
        program = compile_program(group.config, length, width, self.devices, hps, self.shard)
        return_freed_memory()
        self.compile_seconds += time.perf_counter() - begun
        for first in range(0, len(turn.left), program.rows):
            begun = time.perf_counter()
            chunk = self._chunk(group, hps, turn, turn.left[first : first + program.rows])
            at = [turn.start]  # a chunk that was kept begins further on

            def on_segment(done: int, running: float, at: list = at, k: int = len(chunk.runs)):
                steps = k * (done - at[0]) * group.config.steps_per_update
                self.steps_done, self.steps_left = self.steps_done + steps, self.steps_left - steps
                at[0] = done
                self._tell("running", running)
                if self.stopped and self.running is None:  # nowhere to be kept
                    raise Stopped(done)

            with self._kept(chunk, program) as checkpoints:
                part = run_chunk(program, chunk, length, checkpoints, on_segment)
                seconds = time.perf_counter() - begun
                self.seconds += seconds
                self.runs_done += len(chunk.runs)
                if part is not None:
                    share = len(part.runs) / len(chunk.runs)
                    self.store.add(part._replace(seconds=share * (part.seconds + seconds)))
            self._tell("running")

    def _chunk(self, group: Group, hps: Hyperparams, turn: "Turn", runs: np.ndarray) -> Chunk:
        num_seeds = len(self.spec.seeds)
        rows = np.searchsorted(group.settings, runs // num_seeds)
        return Chunk(
            runs=runs,
            seeds=self.spec.seeds[runs % num_seeds],
            hp=jax.tree.map(lambda x: x[rows], hps),
            start=turn.start,
            end=turn.end,
            state=self.store.states(runs, turn.start) if turn.start else None,
            goes_on=self.pruning is not None and turn.end < group.config.num_updates,
        )

    @contextlib.contextmanager
    def _kept(self, chunk: Chunk, program: Program) -> Iterator[Checkpoints | None]:
        """Where the chunk is kept while it runs, until its part is there."""
        if self.store.folder is None or jax.process_count() > 1:
            yield None
            return
        folder = self.store.chunk_folder(chunk.runs, chunk.start, chunk.end)
        of = {"part": self.store.mark(chunk.runs), "rows": program.rows, "shard": self.shard}
        self.running = Checkpoints(folder, of, self.checkpoint_seconds, keep_best=False)
        self.running.stop = self.stopped
        try:
            yield self.running
        finally:
            self.running = None
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # of other chunks, if there are any
            folder.parent.rmdir()

    def stop(self) -> None:
        """End the study after the segment that is running, and keep it: `run` raises Stopped."""
        self.stopped = True
        if self.running is not None:
            self.running.stop = True

    def _tell(self, status: str, running: float = 0.0) -> None:
        seconds = self.seconds + running
        rate = self.steps_done / seconds if seconds else 0.0
        self.on_progress(
            SweepProgress(
                self.runs_done, self.num_runs, self.steps_done, self.steps_left, rate, status
            )
        )

    def _finish(self) -> Study:
        plans = [found for found in self.plans if found is not None]
        record = {
            **self.begun,
            **self.store.record(),  # of a study that goes on: how it began
            "num_devices": len(self.devices),
            "num_processes": jax.process_count(),
            **measured(self.spec, self.store.parts),
            "program_widths": [found.width for found in plans],
            "chunks": [found.chunks for found in plans],
            "compilations": len(plans),
            "compilations_to_measure_memory": sum(found.measuring for found in plans),
            "compile_seconds": self.compile_seconds,
            "settings_at_the_end": self.alive.tolist(),
            "complete": False,
        }
        if record["versions"] != self.begun["versions"]:
            record["versions_at_the_end"] = self.begun["versions"]
        study = assemble(self.spec, self.store.parts, record)
        whole = study.done.all() if not self.pruning else study.done[self.alive].all()
        record["complete"] = bool(whole)
        study = assemble(self.spec, self.store.parts, record)
        if self.store.folder is not None and jax.process_index() == 0:
            if whole or self.part == (0, 1):
                self.store.describe({**self.spec.to_json(), "record": plain(record)})
            if whole:
                write_cube(self.store, study)
        return study


class Turn(NamedTuple):
    """What a group has to do in one rung."""

    own: np.ndarray  # this share's runs
    left: np.ndarray  # those of them that are still to do
    start: int  # updates [start, end)
    end: int

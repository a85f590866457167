"""Sweeps: settings x seeds, in chunks of one compiled program, on all devices there are.

    design     the settings: grid, zip, sample                              grid.py
    groups     settings that share a program                                grid.py
    width      runs at a time, by the memory they need                      memory.py
    program    one chunk, compiled once for a group                         placement.py
    parts      results of each chunk, kept as soon as they are there        store.py
    rungs      after each, the worse settings stop (prune=)                 pruning.py

Every setting runs the same seeds, and a run's key is `jax.random.key(seed)`: its numbers depend
neither on its place in the study nor on the chunk, the device or the shard it falls into.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment.checks import (
    check_as_begun,
    check_combination,
    check_group,
    make_seeds,
)
from purejaxvpg.experiment.devices import all_of_processes, use_every_core
from purejaxvpg.experiment.grid import Group, Range, Sampler, make_design, resolve
from purejaxvpg.experiment.memory import return_freed_memory
from purejaxvpg.experiment.placement import (
    Program,
    Shard,
    compile_program,
    fetch,
    restore,
    stack_hyperparams,
)
from purejaxvpg.experiment.planning import SEGMENTS, GroupPlan, plan_group
from purejaxvpg.experiment.pruning import (
    SuccessiveHalving,
    make_pruning,
    pruning_from_json,
    pruning_to_json,
    survivors,
)
from purejaxvpg.experiment.record import plain, versions
from purejaxvpg.experiment.runner import segment_length
from purejaxvpg.experiment.store import Part, Spec, Store, assemble, measured, write_cube
from purejaxvpg.experiment.study import Study


class SweepProgress(NamedTuple):
    """How far a study is."""

    runs_done: int
    num_runs: int  # of this process or shard; fewer after each rung of a pruned study
    steps_done: int  # environment steps, of this call
    steps_left: int
    steps_per_second: float  # compilation excluded; 0 while the first program is compiled
    status: str


def sweep(
    config: VPGConfig,
    grid: Mapping[str, Sequence[Any]] | None = None,
    num_seeds: int = 1,
    *,
    zip: Mapping[str, Sequence[Any]] | None = None,
    sample: Mapping[str, Range] | None = None,
    num_samples: int = 0,
    sampler: Sampler = "sobol",
    sample_seed: int = 0,
    hp: Hyperparams | None = None,
    first_seed: int = 0,
    chunk_size: int | Literal["auto"] = "auto",
    memory_limit: int | None = None,
    devices: Sequence[Any] | None = None,
    shard: Shard = "runs",
    part: tuple[int, int] | None = None,
    prune: Literal["successive_halving"] | None = None,
    rungs: int = 3,
    keep: float = 1 / 3,
    folder: Any = None,
    resume: bool = False,
    on_progress: Callable[[SweepProgress], None] | None = None,
    command: str = "",
) -> Study:
    """Train every setting with every seed.

    Args:
      grid, zip, sample, num_samples, sampler, sample_seed: the settings (see `make_design`).
      num_seeds: S; the seeds are first_seed, first_seed + 1, ...
      hp: hyperparameters of all settings but for what varies.
      chunk_size: runs at a time on each device; auto: the widest that fits (see memory.py).
      memory_limit: bytes that a chunk may take on a device; None: what is free (on a CPU: the
        cache, beyond which wider is slower).
      devices: those to use; None for all (of all processes, after `devices.join_cluster`).
      shard: runs: a run stays on one device.  envs: one run at a time, its environments split
        over the devices, the same numbers but for rounding.
      part: (i, n): compute the i-th of n shares of the runs, i from 0; see `store.merge`.
      prune: stop the worse settings at each of `rungs` rungs; `keep` of them go on.
      folder: keep parts there as they are done; None: in memory only.
      resume: go on with the study in `folder`.
      on_progress: called before compiling and after every segment.

    Raises: ValueError or TypeError, in one line, for settings, sizes or limits that cannot be,
    before anything runs; FileExistsError or OSError for the folder.
    """
    hp = Hyperparams() if hp is None else hp
    design = make_design(grid, zip, sample, num_samples, sampler, sample_seed)
    pruning = make_pruning(prune, rungs, keep)
    spec = Spec(config, hp, design, make_seeds(num_seeds, first_seed), pruning_to_json(pruning))
    prepared = prepare(
        spec,
        chunk_size=chunk_size,
        memory_limit=memory_limit,
        devices=devices,
        shard=shard,
        part=part,
        folder=folder,
        resume=resume,
        on_progress=on_progress,
        command=command,
    )
    return prepared.run()


def prepare(
    spec: Spec,
    *,
    chunk_size: int | Literal["auto"] = "auto",
    memory_limit: int | None = None,
    devices: Sequence[Any] | None = None,
    shard: Shard = "runs",
    part: tuple[int, int] | None = None,
    folder: Any = None,
    resume: bool = False,
    on_progress: Callable[[SweepProgress], None] | None = None,
    command: str = "",
) -> "Sweep":
    """A study that is checked, has its folder and its widths, and only waits for `run()`.

    Args and Raises: as `sweep`.
    """
    if devices is None:
        use_every_core()
    devices = list(jax.devices() if devices is None else devices)
    pruning = pruning_from_json(spec.prune)
    check_combination(chunk_size, memory_limit, shard, part, pruning, folder, resume)
    groups = resolve(spec.design, spec.config, spec.hyperparams)
    for group in groups:
        check_group(group, shard, len(devices))
    if pruning and len({group.config.eval_every > 0 for group in groups}) > 1:
        raise ValueError(
            "prune compares scores, and some settings would score by evaluations (eval_every > 0) "
            "and some by training episodes; give all of them the same"
        )
    begun = {
        "command": command,
        "versions": versions(),
        "device": devices[0].device_kind,
        "shard": shard,
    }
    study = Sweep(
        spec=spec,
        store=Store(spec, None, join=False),
        groups=groups,
        devices=devices,
        shard=shard,
        part=part or (0, 1),
        pruning=pruning,
        chunk_size=chunk_size,
        memory_limit=memory_limit,
        on_progress=on_progress or (lambda _: None),
        begun=begun,
    )
    fresh = folder is None or not (Path(folder) / "study.json").exists()
    if fresh:  # what does not fit leaves no folder
        study.plan()
    together = part is not None or jax.process_count() > 1
    study.store = Store(spec, folder, join=resume or together, begun=begun)
    if not fresh:
        check_as_begun(study.store.record(), begun)
        study.plan()
    return study


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

    plans: list[GroupPlan | None] = dataclasses.field(default_factory=list)  # of each group
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
        """Train what is not done yet.  An interrupt loses the chunks that are running."""
        num_rungs = self.pruning.rungs if self.pruning else 1
        for rung in range(num_rungs):
            todo = [self._todo(group, rung) for group in self.groups]
            self.num_runs = sum(len(turn.own) for turn in todo)
            self.runs_done = self.num_runs - sum(len(turn.left) for turn in todo)
            self.steps_left = sum(
                len(turn.left) * (turn.end - turn.start) * group.config.steps_per_update
                for group, turn in zip(self.groups, todo, strict=True)
            )
            for group, found, turn in zip(self.groups, self.plans, todo, strict=True):
                if found is not None and len(turn.left):
                    self._run_group(group, found.width, turn)
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

    def _run_group(self, group: Group, width: int, turn: "Turn") -> None:
        begun = time.perf_counter()
        self._tell(f"compiling for {len(turn.left)} runs")
        hps = stack_hyperparams(group.config, group.hyperparams)
        length = segment_length(group.config, SEGMENTS)
        program = compile_program(group.config, length, width, self.devices, hps, self.shard)
        return_freed_memory()
        self.compile_seconds += time.perf_counter() - begun
        for first in range(0, len(turn.left), program.rows):
            begun = time.perf_counter()
            chunk = turn.left[first : first + program.rows]
            part = self._run_chunk(program, group, hps, chunk, turn)
            seconds = time.perf_counter() - begun
            self.seconds += seconds
            self.runs_done += len(chunk)
            if part is not None:
                share = seconds * len(part.runs) / len(chunk)
                self.store.add(part._replace(width=width, seconds=share))
            self._tell("running")

    def _run_chunk(
        self, program: Program, group: Group, hps: Hyperparams, chunk: np.ndarray, turn: "Turn"
    ) -> Part | None:
        num_seeds = len(self.spec.seeds)
        padded = np.concatenate([chunk, np.full(program.rows - len(chunk), chunk[0])])
        rows = np.searchsorted(group.settings, padded // num_seeds)
        hp = program.place(jax.tree.map(lambda x: x[rows], hps))
        if turn.start == 0:
            seeds = self.spec.seeds[padded % num_seeds].astype(np.uint32)
            state = program.init(seeds, hp)
        else:
            leaves = self.store.states(padded, turn.start)
            structure = jax.tree.structure(program.state_like)
            state = restore(program.state_like, jax.tree.unflatten(structure, leaves))
        found, length = [], segment_length(group.config, SEGMENTS)
        begun = time.perf_counter()
        for _ in range(turn.start, turn.end, length):
            state, metrics, evaluations = program.advance(state, hp)
            found.append(fetch((metrics, evaluations)))
            self.steps_done += len(chunk) * length * group.config.steps_per_update
            self.steps_left -= len(chunk) * length * group.config.steps_per_update
            self._tell("running", time.perf_counter() - begun)
        own = program.own_rows[program.own_rows < len(chunk)]
        if not len(own):
            return None
        kept = slice(0, len(own))  # padding comes last, and so do its rows
        metrics, evaluations = jax.tree.map(lambda *x: np.concatenate(x, 1)[kept], *found)
        goes_on = self.pruning is not None and turn.end < group.config.num_updates
        leaves = [x[kept] for x in jax.tree.leaves(fetch(state))] if goes_on else None
        return Part(chunk[own], turn.start, turn.end, metrics, evaluations, leaves)

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

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

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from purejaxvpg.config import Hyperparams, VPGConfig
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
from purejaxvpg.experiment.planning import SEGMENTS, GroupPlan, check_group, plan_group
from purejaxvpg.experiment.pruning import SuccessiveHalving, make_pruning, survivors
from purejaxvpg.experiment.record import plain, versions
from purejaxvpg.experiment.runner import segment_length
from purejaxvpg.experiment.store import Part, Spec, Store, assemble, write_cube
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
    seeds = make_seeds(num_seeds, first_seed)
    pruning = make_pruning(prune, rungs, keep)
    devices = list(jax.devices() if devices is None else devices)
    _check_combination(chunk_size, memory_limit, shard, part, pruning, folder, resume)
    groups = resolve(design, config, hp)
    for group in groups:
        check_group(group, shard, len(devices))
    spec = Spec(config, hp, design, seeds, pruning.to_json() if pruning else None)
    store = Store(spec, folder, join=resume or part is not None or jax.process_count() > 1)
    study = _Sweep(
        spec=spec,
        store=store,
        groups=groups,
        devices=devices,
        shard=shard,
        part=part or (0, 1),
        pruning=pruning,
        chunk_size=chunk_size,
        memory_limit=memory_limit,
        on_progress=on_progress or (lambda _: None),
        command=command,
    )
    return study.run()


class _Sweep:
    """One call of `sweep`: what it was asked, and how far it is."""

    def __init__(self, **asked: Any):
        self.spec: Spec
        self.store: Store
        self.groups: list[Group]
        self.devices: list[Any]
        self.shard: Shard
        self.part: tuple[int, int]
        self.pruning: SuccessiveHalving | None
        self.chunk_size: int | Literal["auto"]
        self.memory_limit: int | None
        self.on_progress: Callable[[SweepProgress], None]
        self.command: str
        self.__dict__.update(asked)
        self.alive = np.arange(sum(len(group.settings) for group in self.groups))  # settings
        self.seconds = self.compile_seconds = 0.0
        self.steps_done = self.steps_left = self.runs_done = self.num_runs = 0
        self.plans: dict[VPGConfig, GroupPlan] = {}

    def run(self) -> Study:
        num_rungs = self.pruning.rungs if self.pruning else 1
        for rung in range(num_rungs):
            todo = [(group, *self._todo(group, rung)) for group in self.groups]
            self.num_runs = sum(len(own) for _, own, *_ in todo)
            self.runs_done = self.num_runs - sum(len(left) for _, _, left, *_ in todo)
            self.steps_left = sum(
                len(left) * (end - start) * group.config.num_envs * group.config.num_steps
                for group, _, left, start, end in todo
            )
            for group, own, left, start, end in todo:
                if len(left):
                    self._run_group(group, own, left, start, end)
            if self.pruning and rung < num_rungs - 1:
                scores = assemble(self.spec, self.store.parts, {}).scores()
                self.alive = survivors(scores, self.alive, self.pruning.keep)
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices("study")
            again = Store(self.spec, self.store.folder, join=True)  # the others' parts too
            self.store = again
        return self._finish()

    def _todo(self, group: Group, rung: int) -> tuple[np.ndarray, np.ndarray, int, int]:
        """Runs of this group in this rung, those of them still to do, and the span."""
        num_seeds = len(self.spec.seeds)
        alive = [h for h in group.settings if h in set(self.alive.tolist())]
        runs = np.asarray([h * num_seeds + s for h in alive for s in range(num_seeds)], np.int64)
        index, of = self.part
        total = sum(len(g.settings) for g in self.groups) * num_seeds
        own = runs[(runs >= total * index // of) & (runs < total * (index + 1) // of)]
        length = segment_length(group.config, SEGMENTS)
        updates = group.config.num_updates
        ends = self.pruning.ends(updates, length) if self.pruning else [updates]
        bounds = [0, *ends]
        if rung >= len(ends):  # a short run may have fewer rungs: it is through already
            return own, own[:0], updates, updates
        start, end = bounds[rung], bounds[rung + 1]
        done = _agreed(self.store.done(start, end))
        return own, np.asarray([r for r in own if int(r) not in done], np.int64), start, end

    def _run_group(
        self, group: Group, own: np.ndarray, left: np.ndarray, start: int, end: int
    ) -> None:
        begun = time.perf_counter()
        self._tell(f"compiling for {len(left)} runs")
        hps = stack_hyperparams(group.config, group.hyperparams)
        length = segment_length(group.config, SEGMENTS)
        if group.config not in self.plans:
            # By all the runs of this share, so that a resumed study has the width it began with.
            args = (self.devices, self.shard, self.chunk_size, self.memory_limit)
            self.plans[group.config] = plan_group(group, hps, len(own), *args)
        width = self.plans[group.config].width
        program = compile_program(group.config, length, width, self.devices, hps, self.shard)
        return_freed_memory()
        self.compile_seconds += time.perf_counter() - begun
        for first in range(0, len(left), program.rows):
            begun = time.perf_counter()
            chunk = left[first : first + program.rows]
            part = self._run_chunk(program, group, hps, chunk, (start, end, length))
            if part is not None:
                self.store.add(part)
            self.runs_done += len(chunk)
            self.seconds += time.perf_counter() - begun

    def _run_chunk(
        self,
        program: Program,
        group: Group,
        hps: Hyperparams,
        chunk: np.ndarray,
        span: tuple[int, int, int],
    ) -> Part | None:
        start, end, length = span
        num_seeds = len(self.spec.seeds)
        padded = np.concatenate([chunk, np.full(program.rows - len(chunk), chunk[0])])
        rows = np.searchsorted(group.settings, padded // num_seeds)
        hp = program.place(jax.tree.map(lambda x: x[rows], hps))
        if start == 0:
            seeds = self.spec.seeds[padded % num_seeds].astype(np.uint32)
            state = program.init(seeds, hp)
        else:
            leaves = self.store.states(padded, start)
            structure = jax.tree.structure(program.state_like)
            state = restore(program, jax.tree.unflatten(structure, leaves))
        found, steps = [], len(chunk) * length * group.config.num_envs * group.config.num_steps
        begun = time.perf_counter()
        for _ in range(start, end, length):
            state, metrics, evaluations = program.advance(state, hp)
            found.append(fetch((metrics, evaluations)))
            self.steps_done += steps
            self.steps_left -= steps
            self._tell("running", time.perf_counter() - begun)
        own = program.own_rows[program.own_rows < len(chunk)]
        if not len(own):
            return None
        kept = slice(0, len(own))  # padding comes last, and so do its rows
        metrics, evaluations = jax.tree.map(lambda *x: np.concatenate(x, 1)[kept], *found)
        goes_on = self.pruning is not None and end < group.config.num_updates
        leaves = [x[kept] for x in jax.tree.leaves(fetch(state))] if goes_on else None
        return Part(chunk[own], start, end, metrics, evaluations, leaves)

    def _tell(self, status: str, running: float = 0.0) -> None:
        seconds = self.seconds + running
        rate = self.steps_done / seconds if seconds else 0.0
        self.on_progress(
            SweepProgress(
                self.runs_done, self.num_runs, self.steps_done, self.steps_left, rate, status
            )
        )

    def _finish(self) -> Study:
        plans = list(self.plans.values())
        record = {
            "command": self.command,
            "versions": versions(),
            "device": str(self.devices[0]),
            "num_devices": len(self.devices),
            "num_processes": jax.process_count(),
            "widths": [plan.width for plan in plans],
            "chunks": [plan.chunks for plan in plans],
            "compilations": len(plans),
            "compilations_to_measure_memory": sum(plan.measuring for plan in plans),
            "seconds": self.seconds,
            "compile_seconds": self.compile_seconds,
            "steps": self.steps_done,
            "settings_at_the_end": self.alive.tolist(),
            "complete": False,
        }
        study = assemble(self.spec, self.store.parts, record)
        whole = study.done.all() if not self.pruning else study.done[self.alive].all()
        record["complete"] = bool(whole)
        if self.store.folder is not None and self.part == (0, 1) and jax.process_index() == 0:
            self.store.describe({**self.spec.to_json(), "record": plain(record)})
        study = assemble(self.spec, self.store.parts, record)
        if whole and jax.process_index() == 0:
            write_cube(self.store, study)
        return study


# ------------------------------------------------------------------------------------ CHECKS


def make_seeds(num_seeds: int, first_seed: int = 0) -> np.ndarray:
    """first_seed, first_seed + 1, ...  [S].  Raises: ValueError for numbers out of range."""
    if not isinstance(num_seeds, int | np.integer) or num_seeds < 1:
        raise ValueError(f"num_seeds={num_seeds} is out of range; accepted: an integer >= 1")
    last = 2**32 - num_seeds
    if not 0 <= first_seed <= last:
        raise ValueError(f"first_seed={first_seed} is out of range; accepted: 0 to {last}")
    return np.arange(first_seed, first_seed + num_seeds)


def _check_combination(
    chunk_size: Any,
    memory_limit: Any,
    shard: Any,
    part: Any,
    pruning: Any,
    folder: Any,
    resume: Any,
) -> None:
    if chunk_size != "auto" and (not isinstance(chunk_size, int) or chunk_size < 1):
        raise ValueError(
            f"chunk_size={chunk_size!r} is out of range; accepted: auto, integers >= 1"
        )
    if memory_limit is not None and memory_limit <= 0:
        raise ValueError(f"memory_limit={memory_limit} is out of range; accepted: bytes > 0")
    if shard not in ("runs", "envs"):
        raise ValueError(f"shard={shard!r} is unknown; choose one of: runs, envs")
    if part is not None and not (0 <= part[0] < part[1]):
        raise ValueError(f"part={part} is out of range; accepted: (i, n) with 0 <= i < n")
    if resume and folder is None:
        raise ValueError("resume=True needs the folder of the study; pass folder=")
    if folder is None and (part is not None or jax.process_count() > 1):
        raise ValueError("a study in several parts needs a place to keep them; pass folder=")
    if pruning and (part is not None or jax.process_count() > 1):
        raise ValueError(
            "prune compares all settings, and a shard sees only its own; run it in one process "
            "(it uses all local devices)"
        )


def _agreed(done: set[int]) -> set[int]:
    """Runs done as any process knows them: all must choose the same chunks."""
    if jax.process_count() == 1:
        return done
    from jax.experimental import multihost_utils

    most = int(multihost_utils.process_allgather(np.asarray(len(done))).max())
    padded = np.full(most, -1, np.int32)
    padded[: len(done)] = sorted(done)
    return set(np.asarray(multihost_utils.process_allgather(padded)).ravel().tolist()) - {-1}

"""The engine: a prepared study goes through rungs, groups, chunks and segments to its parts.

The work that is left comes from schedule.py, each time from what is done; so a study that was
interrupted goes on like one that was not.
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from purejaxvpg.experiment.assemble import assemble, programs
from purejaxvpg.experiment.checkpoints import Checkpoint, Checkpoints
from purejaxvpg.experiment.chunks import Chunk, run_chunk
from purejaxvpg.experiment.devices import all_of_processes
from purejaxvpg.experiment.groups import values_at
from purejaxvpg.experiment.legacy import chunk_identity
from purejaxvpg.experiment.locks import owning
from purejaxvpg.experiment.logs import logged
from purejaxvpg.experiment.memory import is_out_of_memory, return_freed_memory
from purejaxvpg.experiment.parts import Part
from purejaxvpg.experiment.prepared import Prepared
from purejaxvpg.experiment.program import Program, compile_program
from purejaxvpg.experiment.pruning import survivors_within
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.schedule import Track, Work, pending
from purejaxvpg.experiment.segments import Segment, capacity
from purejaxvpg.experiment.stacking import stack_hyperparams
from purejaxvpg.experiment.store import Store, width_of
from purejaxvpg.experiment.study import Study
from purejaxvpg.loggers.base import stops


def run(prepared: Prepared) -> Study:
    """Train everything that is not done yet, or up to a stop.

    Raises: OSError if another process runs the same shard in the same folder, or if a part cannot
    be written (it names the place where the part is kept).
    """
    options = prepared.options
    with owning(prepared.store.folder, options.shard, options.locked):
        prepared.store.catch_up()
        with logged(prepared) as prepared:
            return _run(prepared)


def _run(prepared: Prepared) -> Study:
    spec, store, options = prepared.spec, prepared.store, prepared.options
    tracks = [Track(group.settings, spec.bounds(group.config)) for group in prepared.groups]
    alive, unfinished = np.arange(spec.design.size), []
    num_rungs = len(tracks[0].bounds) - 1
    for rung in range(num_rungs):
        work = pending(tracks, spec.index, rung, alive, _done(store), options.shard or (0, 1))
        steps = [prepared.groups[w.group].config.steps_per_update for w in work]
        prepared.clock.begin(work, steps)
        for item in work:
            unfinished += _run_group(prepared, item)
        if prepared.stops():
            break
        if spec.pruning and rung < num_rungs - 1:
            alive = _survivors(prepared, alive, [track.bounds[rung + 1] for track in tracks])
    if options.shard or jax.process_count() > 1:
        store.join_others()
    return _finish(prepared, alive, tuple(unfinished))


def _done(store: Store) -> Callable[[int, int], set[int]]:
    return lambda start, end: all_of_processes(store.done(start, end))


def _survivors(prepared: Prepared, alive: np.ndarray, ends: Sequence[int]) -> np.ndarray:
    """Settings that go on after a rung, judged by the parts up to its end: a study that is
    resumed further on must choose as it did."""
    spec, groups = prepared.spec, prepared.groups
    end_of = {h: end for group, end in zip(groups, ends, strict=True) for h in group.settings}

    def counts(part: Part) -> bool:
        return part.end <= end_of[int(spec.index.settings(part.runs[:1])[0])]

    seen = assemble(spec, [part for part in prepared.store.parts if counts(part)], StudyRecord())
    assert spec.pruning is not None
    conditions = spec.compared()
    return survivors_within(conditions, seen.scores(), alive, spec.pruning.keep, seen.diverged)


def _run_group(prepared: Prepared, work: Work) -> list[Part]:
    """Everything that is left of a group, at half the width as often as memory runs out.

    Returns: parts that a stop left unfinished.
    """
    store, width, runs = prepared.store, _width(prepared, work.group), work.runs
    while len(runs) and not prepared.stops():
        try:
            return _run_width(prepared, work._replace(runs=runs), width)
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error) or width == 1 or jax.process_count() > 1:
                raise
            warnings.warn(
                f"{width} runs a device do not fit in its memory; going on with "
                f"{math.ceil(width / 2)} (another width rounds otherwise)",
                stacklevel=5,
            )
            width = math.ceil(width / 2)
            done = store.done(work.start, work.end)
            runs = runs[[int(run) not in done for run in runs]]
    return []


def _width(prepared: Prepared, group: int) -> int:
    """Runs a device of a group: as planned, or fewer if they did not fit; 0 if it has none."""
    group_plan, settings = prepared.plans[group], prepared.groups[group].settings
    if group_plan is None:
        return 0
    so_far = width_of(prepared.store.parts, prepared.spec.index.of_settings(settings))
    return min(group_plan.width, so_far or group_plan.width)


def _run_width(prepared: Prepared, work: Work, width: int) -> list[Part]:
    """The chunks of a group.  Returns: the part of the chunk that a stop left unfinished."""
    group, group_plan = prepared.groups[work.group], prepared.plans[work.group]
    assert group_plan is not None
    resources, most = prepared.options.resources, capacity(group.config.num_updates)
    devices = group_plan.devices(resources)
    hps = stack_hyperparams(group.config, group.hyperparams)
    config = prepared.spec.config_until(work.end, group.config)
    runs = f"{len(work.runs)} run{'s' * (len(work.runs) != 1)}"
    with prepared.clock.compiling(f"compiling for {runs}"):
        program = compile_program(config, most, width, devices, hps, resources.split)
    prepared.programs.add((config, width))
    return_freed_memory()
    for first in range(0, len(work.runs), program.rows):
        chunk = _chunk(prepared, work, work.runs[first : first + program.rows], hps)
        with _checkpoints(prepared, chunk, program) as checkpoints:
            part = _run_chunk(prepared, program, chunk, checkpoints, group.config.steps_per_update)
            if part is not None and part.end < chunk.end:
                return [part]
            if part is not None:
                prepared.options.on_keep()
                prepared.store.add(part)
        if checkpoints is not None:
            checkpoints.remove()
        prepared.clock.chunk_ended(len(chunk.runs))
        if prepared.stops():
            break
    return []


def _chunk(prepared: Prepared, work: Work, runs: np.ndarray, hps: Any) -> Chunk:
    """The next runs of a group.  hps: `[settings of the group, ...]`."""
    spec, group = prepared.spec, prepared.groups[work.group]
    settings = spec.index.settings(runs)
    rows = np.searchsorted(group.settings, settings)
    return Chunk(
        runs=runs,
        seeds=spec.seeds[spec.index.seed_places(runs)],
        settings=settings,
        values=values_at(spec.design, settings),
        config=spec.config_until(work.end, group.config),
        hp=jax.tree.map(lambda x: x[rows], hps),
        start=work.start,
        end=work.end,
        num_updates=group.config.num_updates,
        eval_every=group.config.eval_every,
        most=capacity(group.config.num_updates),
        state=prepared.store.states(runs, work.start) if work.start else None,
        keep_policies=prepared.record.keep_policies != "none",
        keep_states=bool(prepared.record.keep_states) and prepared.store.folder is not None,
    )


@contextlib.contextmanager
def _checkpoints(
    prepared: Prepared, chunk: Chunk, program: Program
) -> Iterator[Checkpoints | None]:
    """Where the chunk is kept while it runs."""
    store, options = prepared.store, prepared.options
    if store.folder is None or store.fingerprint is None or jax.process_count() > 1:
        yield None
        return
    folder = store.chunk_folder(chunk.runs, chunk.start, chunk.end)
    mark = store.fingerprint(chunk.runs)
    identity = chunk_identity(mark, program.rows, options.resources.split)
    every = (60 * options.checkpoint_minutes, options.checkpoint_updates)
    keep_best = not prepared.spec.design.axes
    how = {"keep_best": keep_best, "start": chunk.start, "on_save": options.on_keep}
    checkpoints = Checkpoints(folder, identity, *every, **how)
    try:
        yield checkpoints
    finally:
        checkpoints.settle()  # after an error too, the last one is on the disk


def _run_chunk(
    prepared: Prepared,
    program: Program,
    chunk: Chunk,
    checkpoints: Checkpoints | None,
    steps_per_update: int,
) -> Part | None:
    """A chunk, told about and stopped between segments."""
    clock, options = prepared.clock, prepared.options

    def on_start(checkpoint: Checkpoint | None) -> None:
        at, seconds = (checkpoint.update, checkpoint.seconds) if checkpoint else (chunk.start, 0.0)
        done = len(chunk.runs) * (at - chunk.start) * steps_per_update
        clock.chunk(len(chunk.runs), at, done, seconds)
        options.on_start(checkpoint)

    def on_segment(segment: Segment) -> bool:
        clock.segment(segment, steps_per_update)
        with contextlib.suppress(OSError):  # told when there is something to write
            prepared.store.restore()
        if stops(options.on_segment(segment)):
            prepared.stop.set()
        return prepared.agree_to_stop()

    try:
        return run_chunk(program, chunk, checkpoints, on_start, on_segment)
    except OSError as error:
        if checkpoints is None or checkpoints.unsaved is None:
            raise
        raise prepared.store.rescued(error, checkpoints=checkpoints) from error


def _finish(prepared: Prepared, alive: np.ndarray, unfinished: tuple[Part, ...]) -> Study:
    """The study as it is now, described in its folder."""
    store, options = prepared.store, prepared.options
    plans = [group_plan for group_plan in prepared.plans if group_plan is not None]
    record = store.record.replace(
        num_devices=len(options.resources.devices),
        num_processes=jax.process_count(),
        program_widths=[_width(prepared, group) for group in range(len(prepared.groups))],
        chunks=[group_plan.chunks for group_plan in plans],
        compilations=len(prepared.programs | programs(prepared.spec, store.parts)),
        compilations_to_measure_memory=store.record.compilations_to_measure_memory
        + sum(group_plan.measuring for group_plan in plans),
        compile_seconds=store.record.compile_seconds + prepared.clock.compile_seconds,
        settings_at_the_end=alive.tolist(),
    )
    if record.versions != prepared.record.versions:
        record = record.replace(versions_at_the_end=prepared.record.versions)
    try:
        store.restore()
    except OSError as error:
        raise store.rescued(error) from error
    now = prepared.record.jax_settings
    if record.jax_settings and record.jax_settings != now:
        record = record.replace(jax_settings_at_the_end=now)
    study = store.study(record, unfinished)
    if jax.process_index() > 0:
        return study
    if study.record.complete or options.shard is None:
        store.describe(prepared.spec, study.record)
    return store.finish(study) if study.record.complete else study

"""Sweeps: settings x seeds, in chunks of one compiled program, on all devices there are.

    design     the settings: grid, zip, sample                              grid.py
    groups     settings that share a program                                grid.py
    width      runs at a time, by the memory they need                      memory.py
    program    one chunk, compiled once for a group                         placement.py
    chunks     run one after the other, each kept on the way                schedule.py, chunks.py
    parts      results of each chunk, kept as soon as they are there        store.py
    rungs      after each, the worse settings stop (prune=)                 pruning.py

Every setting runs the same seeds, and a run's key is `jax.random.key(seed)`: its numbers depend
neither on its place in the study nor on the chunk, the device or the shard it falls into.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment.checks import (
    check_as_begun,
    check_combination,
    check_group,
    make_seeds,
)
from purejaxvpg.experiment.devices import use_every_core
from purejaxvpg.experiment.grid import Range, Sampler, make_design, resolve
from purejaxvpg.experiment.placement import Shard
from purejaxvpg.experiment.pruning import (
    make_pruning,
    pruning_from_json,
    pruning_to_json,
)
from purejaxvpg.experiment.record import compiler_flags, versions
from purejaxvpg.experiment.schedule import Sweep, SweepProgress
from purejaxvpg.experiment.store import Spec, Store
from purejaxvpg.experiment.study import Study


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
    checkpoint_minutes: float = 1.0,
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
        over the devices, the same numbers but for rounding (and see spread.py).
      part: (i, n): compute the i-th of n shares of the runs, i from 0; see `store.merge`.
      prune: stop the worse settings at each of `rungs` rungs; `keep` of them go on.
      folder: keep parts there as they are done; None: in memory only.
      resume: go on with the study in `folder`.
      checkpoint_minutes: how often the chunk that is running is kept there; 0: never.
      on_progress: called before compiling and after every segment.

    Raises: ValueError or TypeError, in one line, for settings, sizes or limits that cannot be,
    before anything runs; FileExistsError or OSError for the folder.  A chunk that does not fit
    after all is run again at half its width, with a warning.
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
        checkpoint_minutes=checkpoint_minutes,
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
    checkpoint_minutes: float = 1.0,
    on_progress: Callable[[SweepProgress], None] | None = None,
    command: str = "",
) -> Sweep:
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
        "xla_flags": compiler_flags(),
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
        checkpoint_seconds=60 * checkpoint_minutes,
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

"""Sweeps: settings x seeds, in chunks of one compiled program, on all devices there are.

    design     the settings: grid, zipped, sample                           design.py
    groups     settings that share a program                                groups.py
    plan       runs at a time, by the memory they need                      planning.py, memory.py
    program    one chunk, compiled once for a group                         program.py
    work       the runs that are left, rung by rung                         schedule.py, pruning.py
    chunks     run one after the other, in segments, kept on the way        chunks.py, segments.py
    parts      results of each chunk, kept as soon as they are there        parts.py, store.py
    study      all of it as one cube                                        assemble.py, study.py

engine.py goes through all of them.  Every setting runs the same seeds, and a run's key is
`jax.random.key(seed, impl="threefry2x32")`: its numbers depend neither on its place in the study
nor on the chunk, the device or the shard it falls into.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment import engine
from purejaxvpg.experiment.checks import check_renamed, make_seeds
from purejaxvpg.experiment.design import Sampler, make_design
from purejaxvpg.experiment.devices import transfers_allowed
from purejaxvpg.experiment.display import shown
from purejaxvpg.experiment.planning import ChunkSize
from purejaxvpg.experiment.policies import KeepPolicies
from purejaxvpg.experiment.prepare import make_resources, prepare
from purejaxvpg.experiment.prepared import Options
from purejaxvpg.experiment.program import Split
from purejaxvpg.experiment.progress import Progress
from purejaxvpg.experiment.pruning import make_pruning
from purejaxvpg.experiment.runs import Shard, parse_shard
from purejaxvpg.experiment.segments import Segment
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.experiment.study import Study
from purejaxvpg.ranges import Range

NOT_FOR_ONE_SETTING = ("grid", "zipped", "sample", "num_samples", "sampler", "sample_seed",
                       "conditions", "prune", "rungs", "keep", "shard")  # fmt: skip


@transfers_allowed
def sweep(
    config: VPGConfig,
    grid: Mapping[str, Sequence[Any]] | None = None,
    num_seeds: int = 1,
    *,
    zipped: Mapping[str, Sequence[Any]] | None = None,
    sample: Mapping[str, Range] | None = None,
    num_samples: int = 0,
    sampler: Sampler = "sobol",
    sample_seed: int = 0,
    conditions: Sequence[str] | None = None,
    hp: Hyperparams | None = None,
    first_seed: int = 0,
    chunk_size: ChunkSize = "auto",
    memory_limit: int | None = None,
    devices: Sequence[Any] | None = None,
    split: Split = "runs",
    shard: Shard | str | None = None,
    prune: Literal["successive_halving"] | None = None,
    rungs: int = 3,
    keep: float = 1 / 3,
    folder: Any = None,
    resume: bool = False,
    keep_policies: KeepPolicies | None = None,
    keep_states: bool | None = None,
    checkpoint_minutes: float = 1.0,
    checkpoint_updates: int = 0,
    progress: bool | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_segment: Callable[[Segment], Any] | None = None,
    command: str = "",
    other_settings: bool = False,
    **renamed: Any,
) -> Study:
    """Train every setting with every seed.

    Args:
      config, hp: of all settings but for what varies.
      grid: name -> values; every combination.  A name is a field of Hyperparams, a parameter of
        the environment (`env_params.gravity`) or a field of VPGConfig (a compilation per value).
      zipped: name -> values, all of one length; the first with the first, and so on.
      sample: name -> Uniform, LogUniform or Choice; `num_samples` points of their space, drawn by
        `sampler` from `sample_seed`.
      conditions: names to compare within, never across; None: those of the world (conditions.py).
      num_seeds: S; the seeds are first_seed, first_seed + 1, ...
      chunk_size: runs at a time on each device; auto: the widest that fits (see memory.py).
      memory_limit: bytes that a chunk may take on a device; None: what is free (a CPU: its cache).
      devices: the ones to use; None for all (of all processes, after `devices.join_cluster`).
      split: runs: a run stays on one device.  envs: its environments are split over the devices.
      shard: (i, n) or "i/n": compute the i-th of n shares of the runs, i from 0; see `merge`.
      prune: stop the worse settings of each condition at `rungs` rungs; a share `keep` goes on.
      folder: keep parts there as they are done; None: in memory only.
      resume: go on with the study in `folder`, or begin it; more total_steps make it longer.
      keep_policies: all: parameters and observation statistics of every run at its end; best: of
        the best setting alone; none.  None: as the study was begun, or all.
      keep_states: in `folder`, states of runs at their end, to train longer; None: of one setting.
      checkpoint_minutes, checkpoint_updates: how often the running chunk is kept; 0: never.
      progress: show it on stderr: one line of a terminal, else a line after 10 s, 20 s, 40 s, ...
        and then every 10 minutes.  None: unless there is an `on_progress`.
      on_progress: called before compiling and after every segment.
      on_segment: called with a `Segment` between any two; True stops the study, and keeps it.
      command: recorded with the study.  renamed: arguments of earlier versions; refused.
      other_settings: go on under other settings of jax (generator, x64, ...) than it began under.

    Raises: ValueError or TypeError, in one line, for settings, sizes or limits that cannot be,
    before anything runs; FileExistsError or OSError for the folder.
    """
    check_renamed(renamed)
    design = make_design(grid, zipped, sample, num_samples, sampler, sample_seed, conditions)
    pruning = make_pruning(prune, rungs, keep)
    hp, seeds = Hyperparams() if hp is None else hp, make_seeds(num_seeds, first_seed)
    resources = make_resources(devices, split, chunk_size, memory_limit)
    keeping = (keep_policies, keep_states, checkpoint_minutes, checkpoint_updates)
    options = Options(resources, parse_shard(shard), *keeping, command=command)
    options = options.with_hooks(shown(progress, on_progress), on_segment)
    options = options._replace(other_settings=other_settings)
    return engine.run(prepare(Spec(config, hp, design, seeds, pruning), options, folder, resume))


def train(
    config: VPGConfig,
    hp: Hyperparams | None = None,
    num_seeds: int = 1,
    *,
    first_seed: int = 0,
    folder: Any = None,
    resume: bool = False,
    **how_to_run: Any,
) -> Study:
    """Train one setting with S seeds: a study of one setting, as `purejaxvpg train` does it.

    Args:
      config, hp: the setting.
      num_seeds: S; the seeds are first_seed, first_seed + 1, ...
      folder: the run folder; None: in memory only.
      resume: go on with the run in `folder`, or begin it there; with a larger `total_steps` it
        trains longer.
      how_to_run: chunk_size, memory_limit, devices, split, keep_policies, keep_states,
        checkpoint_minutes, checkpoint_updates, progress, on_progress, on_segment, command,
        other_settings of `sweep`.

    Returns: the study, with H = 1: `study.metrics["kl"][0]` is `[S, U]`.

    Raises: as `sweep`.
    """
    if "shard" in how_to_run:
        parse_shard(how_to_run["shard"])  # the name of `split` in earlier versions
    for name in NOT_FOR_ONE_SETTING:
        if name in how_to_run:
            raise TypeError(f"train has one setting and takes no {name}=; use sweep(...)")
    place: dict[str, Any] = {"first_seed": first_seed, "folder": folder, "resume": resume}
    return sweep(config, None, num_seeds, hp=hp, **place, **how_to_run)

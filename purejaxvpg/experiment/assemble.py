"""Parts of a study as one cube of numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from purejaxvpg.config import VPGConfig
from purejaxvpg.experiment.groups import configs
from purejaxvpg.experiment.parts import Part
from purejaxvpg.experiment.policies import Policies
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.runs import RunIndex
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.experiment.study import Study
from purejaxvpg.state import Evaluation, Metrics


def measured(spec: Spec, parts: Sequence[Part]) -> dict[str, Any]:
    """Fields of a record that parts tell, whoever ran them."""
    each = configs(spec.design, spec.config)

    def steps(part: Part) -> int:
        config = each[int(spec.index.settings(part.runs[:1])[0])]
        return len(part.runs) * (part.end - part.start) * config.steps_per_update

    return {
        "seconds": float(sum(part.seconds for part in parts)),
        "steps": sum(map(steps, parts)),
        "widths": sorted({part.width for part in parts}),
    }


def ends(spec: Spec) -> np.ndarray:
    """Updates of a run of each setting, `[H]`."""
    return np.asarray([config.num_updates for config in configs(spec.design, spec.config)])


def programs(spec: Spec, parts: Sequence[Part]) -> set[tuple[VPGConfig, int]]:
    """Config and width of each program that made these parts."""
    each = configs(spec.design, spec.config)

    def program(part: Part) -> tuple[VPGConfig, int]:
        config = each[int(spec.index.settings(part.runs[:1])[0])]
        return spec.config_until(part.end, config), part.width

    return {program(part) for part in parts}


def assemble(
    spec: Spec, parts: Sequence[Part], record: StudyRecord, policies: Policies | None = None
) -> Study:
    """The cube that parts make; NaN where none of them reaches."""
    each, index = configs(spec.design, spec.config), spec.index  # [H]
    num_updates = ends(spec)
    most = int(num_updates.max(initial=0))
    metrics = {name: np.full((len(index), most), np.nan, np.float32) for name in Metrics._fields}
    evaluations = _no_evaluations(each, index)
    updates = np.zeros(len(index), np.int64)
    for part in sorted(parts, key=lambda part: part.start):
        rows = updates[part.runs] >= part.start  # else the part before is lost, and runs again
        runs = part.runs[rows]
        for name, values in part.metrics._asdict().items():
            metrics[name][runs, part.start : part.end] = values[rows]
        if part.evaluations is not None and len(runs):
            first = part.start // each[int(index.settings(runs[:1])[0])].eval_every
            for name, values in part.evaluations._asdict().items():
                _, count, episodes = values.shape
                evaluations[name][runs, first : first + count, :episodes] = values[rows]
        updates[runs] = np.maximum(updates[runs], part.end)

    steps = np.full((len(each), most), np.nan)
    for h, config in enumerate(each):
        steps[h, : num_updates[h]] = np.arange(1, num_updates[h] + 1) * config.steps_per_update
    policies = _of_done(policies, updates == np.repeat(num_updates, index.num_seeds))
    updates = index.cube(updates)
    stopped = (updates.max(1, initial=0) < num_updates) & (spec.pruning is not None)
    alive = [h for h in record.settings_at_the_end or () if h < len(each)]
    stopped[alive] = False  # missing runs of these are lost
    return Study(
        config=spec.config,
        hyperparams=spec.hyperparams,
        design=spec.design,
        seeds=spec.seeds,
        steps=steps,
        metrics={name: index.cube(x) for name, x in metrics.items()},
        evaluations={name: index.cube(x) for name, x in evaluations.items()},
        updates=updates,
        num_updates=num_updates,
        pruned=stopped & record.complete,
        record=record,
        policies=policies,
    )


def _of_done(policies: Policies | None, done: np.ndarray) -> Policies:
    """Without those of runs that go on, because the study was made longer.

    Args: done: `[H * S]` bool.
    """
    blocks = policies.blocks if policies else ()
    runs = [block.runs[block.runs < len(done)] for block in blocks]
    pairs = zip(blocks, runs, strict=True)
    return Policies(tuple(block for block, here in pairs if done[here].all()))


def _no_evaluations(each: Sequence[VPGConfig], index: RunIndex) -> dict[str, np.ndarray]:
    """NaN where evaluations may come, `[H * S, V, E]`; {} if no setting evaluates."""
    evaluating = [config for config in each if config.eval_every]
    if not evaluating:
        return {}
    most = max(config.num_updates // config.eval_every for config in evaluating)
    episodes = max(config.eval_episodes for config in evaluating)
    shape = (len(index), most, episodes)
    return {name: np.full(shape, np.nan, np.float32) for name in Evaluation._fields}

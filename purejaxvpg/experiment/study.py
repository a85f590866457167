"""What a sweep leaves: every metric of every run, in one labelled cube.

Letters: H settings, S seeds, U updates, V evaluations, E episodes of each.
"""

import json
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment.grid import Design
from purejaxvpg.experiment.record import config_to_json, plain
from purejaxvpg.extras import require
from purejaxvpg.statistics import diverged_at, trailing_return

LAST_EPISODES = 20  # the score of a run is their mean return

UNITS = {
    "episode_return_sum": "reward, undiscounted",
    "episode_length_sum": "environment steps",
    "episode_count": "episodes",
    "kl": "nats",
    "entropy": "nats",
    "explained_variance": "1",
    "finite": "1",
}


class Study(NamedTuple):
    """Outcome of a sweep.  All arrays numpy; NaN where a run was not run (or not so far)."""

    config: VPGConfig  # of the base setting
    hyperparams: Hyperparams  # of the base setting
    design: Design  # the settings, H of them
    seeds: np.ndarray  # [S]
    steps: np.ndarray  # [H, U] environment steps of one run up to each update; NaN after its last
    metrics: dict[str, np.ndarray]  # [H, S, U] each, by the names of Metrics
    evaluations: dict[str, np.ndarray]  # [H, S, V, E] each; empty if eval_every is 0
    updates: np.ndarray  # [H, S] int, updates done of each run
    num_updates: np.ndarray  # [H] int, U of each setting
    pruned: np.ndarray  # [H] bool: stopped early by `prune`
    record: dict[str, Any]  # versions, device, widths, timing: how it was run

    @property
    def complete(self) -> bool:
        """Every run that was not pruned is done."""
        return bool((self.done | self.pruned[:, None]).all())

    @property
    def done(self) -> np.ndarray:
        """Runs that reached their last update.  [H, S] bool"""
        return self.updates == self.num_updates[:, None]

    @property
    def diverged(self) -> np.ndarray:
        """Runs in which a parameter, a loss or a gradient was not finite.  [H, S] bool"""
        return self.diverged_at > 0

    @property
    def diverged_at(self) -> np.ndarray:
        """The update, from 1, at which each run diverged; 0: at none.  [H, S] int"""
        return diverged_at(self.metrics["finite"])

    def returns(self, episodes: int = LAST_EPISODES) -> np.ndarray:
        """Mean return of the last `episodes` episodes by each update.  [H, S, U]

        NaN before so many ended, after the last update done, and from an infinite return on.
        """
        sums, counts = self.metrics["episode_return_sum"], self.metrics["episode_count"]
        known = ~np.isnan(counts)
        lost = np.logical_or.accumulate(known & ~np.isfinite(sums), axis=-1)
        usable, rows = known & ~lost, (-1, sums.shape[-1])
        flat_sums, flat_counts = (np.where(usable, x, 0).reshape(rows) for x in (sums, counts))
        found = trailing_return(flat_sums, flat_counts, episodes).reshape(sums.shape)
        return np.where(usable, found, np.nan)

    def scores(self) -> np.ndarray:
        """One number a run, [H, S]: what its policy got in the end.

        The mean of the last evaluation if the study evaluates; else of the last 20 training
        episodes by the last update done (of all of them, if fewer ended).  NaN for a run that
        diverged, was not run, or ended no episode.
        """
        last = np.maximum(self.updates - 1, 0)[..., None]  # [H, S, 1]
        if self.evaluations:
            # Settings with fewer evaluations, or fewer episodes of each, have NaN beyond theirs.
            real = ~np.isnan(self.evaluations["finished"])  # [H, S, V, E]
            sums = np.where(real, self.evaluations["returns"], 0).sum(-1)
            held = real.sum(-1)  # [H, S, V] episodes
            means = np.where(held > 0, sums / np.maximum(held, 1), np.nan)
            place = means.shape[-1] - 1 - np.argmax(held[..., ::-1] > 0, axis=-1)
            score = np.take_along_axis(means, place[..., None], -1)[..., 0]
        else:
            score = np.take_along_axis(self.returns(), last, -1)[..., 0]
            counts = np.nansum(self.metrics["episode_count"], -1)
            sums = np.nansum(self.metrics["episode_return_sum"], -1)
            few = (counts > 0) & (counts < LAST_EPISODES)
            score = np.where(few, sums / np.maximum(counts, 1), score)
        return np.where(self.diverged | (self.updates == 0), np.nan, score)

    def to_xarray(self) -> Any:
        """An `xarray.Dataset`: a dimension for each axis of the design, then seed and update.

        Values that are neither numbers nor strings label their axis as text; the attributes
        hold the config, the hyperparameters and the record as JSON.

        Raises: ImportError without the extra `sweep`.
        """
        return _to_xarray(self)

    def to_dataframe(self) -> Any:
        """A pandas table, one row a run: the setting, the seed, the score and how it ended.

        Raises: ImportError without the extra `sweep`.
        """
        pandas = require("pandas", "sweep")
        scores, lost_at, rows = self.scores(), self.diverged_at, []
        for h, setting in enumerate(self.design.settings()):
            for s, seed in enumerate(self.seeds):
                ended = {"updates": int(self.updates[h, s]), "pruned": bool(self.pruned[h])}
                ended |= {"diverged_at": int(lost_at[h, s])}
                row = {"seed": int(seed), "score": scores[h, s], "diverged": bool(lost_at[h, s])}
                rows.append({**setting, **row, **ended})
        return pandas.DataFrame(rows)


def _to_xarray(study: Study) -> Any:
    xarray = require("xarray", "sweep")
    shape, dims = study.design.shape, tuple(axis.dim for axis in study.design.axes)

    def cube(x: np.ndarray, *rest: str, units: str = "1") -> Any:  # [H, ...] -> [*axes, ...]
        data = x.reshape((*shape, *x.shape[1:]))
        return (dims + rest, data, {"units": units})

    coordinates: dict[str, Any] = {
        "seed": study.seeds,
        "update": np.arange(1, study.steps.shape[-1] + 1),
    }
    for axis in study.design.axes:
        columns = {name: [p[i] for p in axis.points] for i, name in enumerate(axis.names)}
        for name, values in columns.items():
            coordinates[name] = (axis.dim, _labels(values))
    variables = {
        name: cube(x, "seed", "update", units=UNITS.get(name, "1"))
        for name, x in study.metrics.items()
    }
    for name, x in study.evaluations.items():
        variables[f"evaluation_{name}"] = cube(x, "seed", "evaluation", "episode")
    variables |= {
        "score": cube(study.scores(), "seed", units="reward, undiscounted"),
        "diverged": cube(study.diverged, "seed"),
        "diverged_at": cube(study.diverged_at, "seed", units="updates, from 1; 0: never"),
        "updates_done": cube(study.updates, "seed"),
        "pruned": cube(study.pruned),
        "environment_steps": cube(study.steps, "update", units="environment steps of one run"),
    }
    return xarray.Dataset(variables, coordinates, _attributes(study))


def _labels(values: list[Any]) -> np.ndarray:
    """One type for all of an axis: numbers where all are, truth values where all are, or text."""
    kinds = {type(value) for value in values}
    if kinds == {bool} or kinds <= {int, float}:
        return np.asarray(values)
    return np.asarray([str(value) for value in values])


def _attributes(study: Study) -> dict[str, str]:
    try:
        config = json.dumps(config_to_json(study.config))
    except TypeError:  # it holds objects, and is of this process alone
        config = repr(study.config)
    return {
        "title": "a purejaxvpg sweep",
        "config": config,
        "hyperparams": json.dumps(plain(study.hyperparams), default=repr),
        "record": json.dumps(plain(study.record), default=repr),
    }

"""`Study`: every metric of every run, in one labelled cube.

Letters: H settings, S seeds, U updates, V evaluations, E episodes of each.
"""

from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment import groups, overall, scoring
from purejaxvpg.experiment.conditions import Condition, check_conditions
from purejaxvpg.experiment.design import Design
from purejaxvpg.experiment.policies import Policies
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.runs import RunIndex
from purejaxvpg.extras import require
from purejaxvpg.statistics import (
    LAST_EPISODES,
    diverged_at,
    interquartile_mean,
    with_diverged_as_worst,
)


class Study(NamedTuple):
    """Outcome of settings x seeds.  All arrays numpy; NaN where a run was not run (so far)."""

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
    record: StudyRecord  # versions, device, widths, timing: how it was run
    policies: Policies = Policies()  # of the runs that are done

    @property
    def index(self) -> RunIndex:
        """The runs by number."""
        return RunIndex(self.design.size, len(self.seeds))

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

    @property
    def returns(self) -> np.ndarray:
        """Mean return of the episodes that ended in each update.  [H, S, U] float32

        NaN where none ended (updates that were not run, and those after a divergence, among them);
        infinite where a return was.  Undiscounted, unnormalised; at `steps[:, None]`.
        """
        return scoring.episode_mean(self.metrics, "episode_return")

    def trailing_returns(self, episodes: int = LAST_EPISODES) -> np.ndarray:
        """Mean return of the last `episodes` episodes by each update.  [H, S, U] float64

        NaN before so many ended, after the last update done, and from an infinite return or a
        divergence on: such a run has no return any more, and left out it flatters its setting.
        """
        return scoring.trailing_mean(self.metrics, "episode_return", episodes)

    def scores(self) -> np.ndarray:
        """One number a run, [H, S]: the return of its policy at the end.

        The mean of the last evaluation if the study evaluates; else of the last 20 training
        episodes by the last update done (of all of them, if fewer ended).  NaN for a run that
        diverged, was not run, or ended no episode.
        """
        return scoring.scores(self)

    def setting(self, place: int) -> tuple[VPGConfig, Hyperparams]:
        """Config and hyperparameters of a setting, by its place in the design."""
        if not 0 <= place < self.design.size:
            raise ValueError(f"setting {place} is not there; accepted: 0 to {self.design.size - 1}")
        values = self.design.settings()[place]
        return groups.apply(values, self.config, self.hyperparams)

    def where(self, **values: Any) -> np.ndarray:
        """Places of the settings that have these values.  `[K]` int

        Raises: ValueError for a name that does not vary, or values that no setting has.
        """
        names = self.design.names
        for name in values:
            if name not in names:
                varying = ", ".join(names) or "nothing"
                raise ValueError(f"{name} does not vary in this study; varying: {varying}")
        places = self.design.places(values)
        if not places:
            raise ValueError(f"no setting of the study has {self.design.unmatched(values)}")
        return np.asarray(places)

    def best(self, **values: Any) -> int:
        """Place of the setting with the highest interquartile mean over seeds, among those that ran
        to their end (chosen as the best of many, so its score is optimistic).

        Args: values: as of `where`; settings of several conditions cannot be compared.
        Raises: ValueError if no setting has a score, or if several conditions are left.
        """
        places = self.where(**values) if values else np.arange(self.design.size)
        left = [c for c in self.design.by_condition() if np.isin(places, c.settings).any()]
        if len(left) > 1:
            names = ", ".join(self.design.conditions)
            raise ValueError(
                f"{len(left)} conditions ({names}) are left, and settings are compared within one; "
                f"give the values of {names}, or see best_of_each()"
            )
        best = self.best_of_each(**values)
        if not len(best):
            raise ValueError("no setting ran to its end with an episode, so none is the best")
        return int(best[0])

    def best_of_each(self, **values: Any) -> np.ndarray:
        """Places of the best settings as by `best`, one for each condition that has one."""
        scores, done = self.scores(), self.done.all(1)
        places = self.where(**values) if values else np.arange(self.design.size)
        judged = np.isin(np.arange(self.design.size), places) & np.isfinite(scores).any(1) & done
        best = []
        for condition in self.design.by_condition():
            rows = condition.settings
            means = interquartile_mean(with_diverged_as_worst(scores[rows]), axis=1)
            if judged[rows].any():
                best.append(rows[np.argmax(np.where(judged[rows], means, -np.inf))])
        return np.asarray(best, int)

    def best_runs(self) -> np.ndarray:
        """Runs of the best setting of each condition, and all of a condition that has no score
        whose policy is kept; none if no condition has one."""
        best = self.best_of_each()
        if not len(best):
            return best
        conditions = [condition.settings for condition in self.design.by_condition()]
        without = [settings for settings in conditions if not np.isin(best, settings).any()]
        others = self.index.of_settings(np.concatenate([[], *without]))
        others = np.intersect1d(others, self.policies.runs)
        return np.concatenate([self.index.of_settings(best), others])

    def over_conditions(self, bounds: Any = None) -> list[overall.Overall]:
        """The settings that ran to their end under all conditions, by mean rank, best first.

        Ranks need no common scale.  Scores are put together only where `bounds` gives them one:
        (score - low) / (high - low), as Agarwal et al. 2021 do over tasks.

        Args: bounds: `[C, 2]`, (low, high) of each condition of `design.by_condition()`, such as
        the scores of a random and of an expert policy; None: ranks alone.
        Raises: ValueError for bounds of another shape or order.
        """
        return overall.over_conditions(self, bounds)

    def within(self, condition: Condition) -> "Study":
        """The part of the study that a condition is; its record is still that of the whole."""
        rows = condition.settings
        return self._replace(
            design=self.design.within(condition),
            steps=self.steps[rows],
            metrics={name: x[rows] for name, x in self.metrics.items()},
            evaluations={name: x[rows] for name, x in self.evaluations.items()},
            updates=self.updates[rows],
            num_updates=self.num_updates[rows],
            pruned=self.pruned[rows],
            policies=self.policies.renumbered(self.index.of_settings(rows)),
        )

    def with_conditions(self, names: Any) -> "Study":
        """The study with other conditions; None: the names that make the world; []: none.

        Raises: TypeError or ValueError for names that do not vary.
        """
        conditions = check_conditions(names, list(self.design.names))
        return self._replace(design=self.design._replace(conditions=conditions))

    def to_xarray(self) -> Any:
        """An `xarray.Dataset`: a dimension for each axis of the design, then seed and update.

        Values that are neither numbers nor strings label their axis as text; the attributes
        hold the config, the hyperparameters and the record as JSON.

        Raises: ImportError without the extra `sweep`.
        """
        from purejaxvpg.experiment.cube import to_xarray

        return to_xarray(self)

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

    def __repr__(self) -> str:
        """The study in ten lines."""
        axes = [f"{axis.dim} ({len(axis.points)})" for axis in self.design.axes]
        first, last = (int(self.seeds[i]) for i in (0, -1))
        scores = self.scores()
        finite = scores[np.isfinite(scores)]
        span = f"{finite.min():.4g} to {finite.max():.4g}" if finite.size else "none yet"
        record = self.record
        rate = record.steps / record.seconds if record.seconds else 0.0
        return "\n".join(
            [
                f"Study of {self.config.env}",
                f"  settings     {self.design.size}: {' x '.join(axes) or 'one'}",
                f"  seeds        {len(self.seeds)}: {first} to {last}",
                f"  updates      {int(self.num_updates.max())} of {self.config.num_envs} "
                f"environments x {self.config.num_steps} steps",
                f"  runs done    {int(self.done.sum())} of {self.done.size}, "
                f"{int(self.diverged.sum())} diverged, {int(self.pruned.sum())} settings pruned",
                f"  scores       {span} (study.scores(), [H, S])",
                f"  metrics      {', '.join(self.metrics)} (study.metrics, [H, S, U])",
                f"  policies     of {len(self.policies.runs)} runs (study.policies)",
                f"  computed     {record.steps:,} steps in {record.seconds:.1f} s "
                f"({rate:,.0f} steps/s) on {record.num_devices} x {record.device}",
                f"  made with    jax {record.versions.get('jax', '?')}, "
                f"purejaxvpg {record.versions.get('purejaxvpg', '?')}",
            ]
        )

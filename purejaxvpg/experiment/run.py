"""`Run`: one setting with all its seeds, without the axis of settings.  A view of a study.

Letters: S seeds, U updates, V evaluations, E episodes of each.
"""

import os
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment.folder import load_study
from purejaxvpg.experiment.policies import Policies
from purejaxvpg.experiment.scoring import evaluation_steps, with_means
from purejaxvpg.experiment.study import Study


class Run(NamedTuple):
    """One setting, trained with S seeds.  All arrays numpy; NaN where nothing was run (so far)."""

    config: VPGConfig
    hyperparams: Hyperparams
    seeds: np.ndarray  # [S]
    steps: np.ndarray  # [U] environment steps of one seed up to each update
    metrics: dict[str, np.ndarray]  # [S, U] each: episode_return, episode_length, those of Metrics
    evaluation_steps: np.ndarray  # [V] environment steps up to each evaluation
    evaluations: dict[str, np.ndarray]  # [S, V, E] each; empty if eval_every is 0
    scores: np.ndarray  # [S], see Study.scores
    updates: np.ndarray  # [S] int, updates done
    diverged_at: np.ndarray  # [S] int, the update, from 1; 0: at none
    policies: Policies  # run i is that of seeds[i]
    study: Study  # the study that it is of, and its record

    @property
    def returns(self) -> np.ndarray:
        """Mean return of the episodes that ended in each update.  [S, U], see Study.returns"""
        return self.metrics["episode_return"]


def run_of(study: Study, place: int = 0) -> Run:
    """The setting at a place of the design.  Raises: ValueError for a place that is not there."""
    config, hp = study.setting(place)
    updates = int(study.num_updates[place])
    taken = evaluation_steps(study)[place]
    there = np.isfinite(taken)
    metrics = {name: x[place, :, :updates] for name, x in study.metrics.items()}
    return Run(
        config=config,
        hyperparams=hp,
        seeds=study.seeds,
        steps=study.steps[place, :updates].astype(int),
        metrics=with_means(metrics),
        evaluation_steps=taken[there].astype(int),
        evaluations={
            name: x[place][:, there, : config.eval_episodes]
            for name, x in study.evaluations.items()
            if config.eval_every
        },
        scores=study.scores()[place],
        updates=study.updates[place],
        diverged_at=study.diverged_at[place],
        policies=study.policies.renumbered(study.index.of_settings([place])),
        study=study,
    )


def load_run(folder: str | os.PathLike, **values: Any) -> Run:
    """Read a run folder, complete or not; or one setting of a study folder, by its values.

        run = load_run("runs/cartpole")
        plt.plot(run.steps, run.returns.T)
        run = load_run("runs/study", policy_lr=3e-3)

    Raises: as `load_study`; ValueError, in one line, for a study of which several settings have
    these values, or none.
    """
    study = load_study(folder)
    places = study.where(**values) if values else np.arange(study.design.size)
    if len(places) > 1:
        names = [name for name in study.design.names if name not in values]
        raise ValueError(
            f"{folder} has {len(places)} settings{' with these values' if values else ''}; name "
            f"the values of {', '.join(names)} (load_run(folder, {names[0]}=...)), or read all "
            f"with load_study"
        )
    return run_of(study, int(places[0]))

"""Settings that earlier scores suggest: batches of them, each one call of one compiled program.

    ask     a batch of settings, from a sampler of optuna
    run     all of them with every seed, in a study that grows by one batch a round
    tell    one score a setting: the interquartile mean over its seeds

In a folder the search is a study like any other, along one axis `sample`.  Optuna's own state is
not kept: asking and telling again what was told brings it back, for both are seeded.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment import suggestions
from purejaxvpg.experiment.checks import check_group, check_one_world, make_seeds
from purejaxvpg.experiment.design import STATIC, Axis, Design, make_design, one_form
from purejaxvpg.experiment.devices import transfers_allowed
from purejaxvpg.experiment.display import shown
from purejaxvpg.experiment.groups import resolve
from purejaxvpg.experiment.growing import alone, check_same_settings, run_round
from purejaxvpg.experiment.prepare import make_resources
from purejaxvpg.experiment.prepared import Options
from purejaxvpg.experiment.runs import MOST_RUNS, parse_shard
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.experiment.study import Study
from purejaxvpg.ranges import Choice, Range
from purejaxvpg.statistics import interquartile_mean, with_diverged_as_worst


class Search(NamedTuple):
    """Outcome of a search."""

    study: Study  # every setting tried, in order, along one axis `sample`; H = rounds * batch
    best: dict[str, Any] | None  # the setting of the highest score; None if no run has a score
    score: float  # its interquartile mean over seeds; chosen as the best of many: optimistic
    optuna: Any  # the `optuna.Study`, for its plots and importances


class Round(NamedTuple):
    """One batch, run and told."""

    index: int  # from 0
    rounds: int
    settings: list[dict[str, Any]]  # [batch]
    scores: np.ndarray  # [batch], as told; NaN: told as pruned


@transfers_allowed
def search(
    config: VPGConfig,
    space: Mapping[str, Range],
    num_seeds: int = 1,
    *,
    rounds: int,
    batch: int,
    suggest: Any = "optuna",
    sample_seed: int = 0,
    conditions: Sequence[str] | None = None,
    hp: Hyperparams | None = None,
    first_seed: int = 0,
    folder: Any = None,
    resume: bool = False,
    on_round: Callable[[Round], None] | None = None,
    **how_to_run: Any,
) -> Search:
    """Try `rounds` batches of settings, each suggested by the scores of those before it.

    The same arguments suggest the same settings.  The best of many settings was partly lucky:
    before reporting its score, run it again on seeds of its own.

    Args:
      config: of all settings but for the static fields that vary.
      space: name -> Uniform, LogUniform or Choice, of any name that a sweep takes.  A static field
        takes a Choice, and costs a compilation per option (with chunk_size="auto" more: give it).
      num_seeds: S; every setting runs the seeds first_seed, first_seed + 1, ...
      suggest: "optuna": TPE (Bergstra et al. 2011), the first batch at random, from `sample_seed`;
        or a sampler of optuna with a seed of its own, of which a copy is used.
      conditions: []: search env, env_params.* and max_episode_steps like other names, though the
        highest score is that of the easiest world; None: refuse them.
      hp: hyperparameters of all settings but for the ones that vary.
      folder: keep the study there: readable, and complete up to the last round, at all times.
      resume: go on with the search in `folder`, also to more rounds than it was begun with.
      on_round: called after every round.
      how_to_run: those arguments of `sweep` that are in HOW_TO_RUN.

    A run that diverged counts as the worst run so far; a setting none of whose runs has a score
    is told as pruned, which samplers take for worse than any score.

    Raises: ValueError or TypeError, in one line, before anything runs; ImportError without the
    extra `optuna`; FileExistsError, ValueError or OSError for the folder.
    """
    hp = Hyperparams() if hp is None else hp
    options = _options(rounds, batch, folder, resume, how_to_run)
    labels = _checked_labels(space, conditions, config, hp, options.resources)
    optuna_study = suggestions.make_optuna_study(suggest, sample_seed, batch)
    distributions = {name: suggestions.distribution(space[name], labels[name]) for name in space}
    spec = Spec(config, hp, _design(space, ()), make_seeds(num_seeds, first_seed))
    study, settings = None, []
    with alone(spec, folder, resume) as grown:  # from the first round to the last
        for index in range(rounds):
            trials = [optuna_study.ask(distributions) for _ in range(batch)]
            new = [suggestions.setting(trial.params, labels) for trial in trials]
            settings += new
            points = tuple(tuple(setting[name] for name in space) for setting in settings)
            check_same_settings(folder, grown, points)
            spec = spec._replace(design=_design(space, points))
            grown, study = run_round(spec, options, folder, grown)
            if not study.done[: len(settings)].all():  # on_segment stopped it
                break
            summary = summarised(study.scores()[: len(settings)])[-batch:]
            for trial, score in zip(trials, summary, strict=True):
                suggestions.tell(optuna_study, trial, score)
            if on_round:
                on_round(Round(index, rounds, new, summary))
    assert study is not None
    return _outcome(study, optuna_study)


def _outcome(study: Study, optuna_study: Any) -> Search:
    totals = np.where(study.done.all(1), summarised(study.scores()), np.nan)
    if np.isnan(totals).all():
        return Search(study, None, float("nan"), optuna_study)
    best = int(np.nanargmax(totals))
    return Search(study, study.design.settings()[best], float(totals[best]), optuna_study)


def summarised(scores: np.ndarray) -> np.ndarray:
    """One score a setting, `[H]`: the interquartile mean over seeds, lost runs as the worst of all.

    Args: scores: `[H, S]`, NaN for a run without one.  NaN if none of its runs has a score.
    """
    summary = interquartile_mean(with_diverged_as_worst(scores), axis=1)
    return np.where(np.isfinite(scores).any(1), summary, np.nan)


def _design(space: Mapping[str, Range], points: tuple[tuple[Any, ...], ...]) -> Design:
    points = tuple(tuple(map(one_form, space, point)) for point in points)
    return Design((Axis("sample", tuple(space), points),))


# ------------------------------------------------------------------------------------ CHECKS

HOW_TO_RUN = ("chunk_size", "memory_limit", "devices", "split", "keep_policies", "keep_states",
              "checkpoint_minutes", "checkpoint_updates", "progress", "on_progress", "on_segment",
              "command", "other_settings")  # fmt: skip


def _options(rounds: Any, batch: Any, folder: Any, resume: bool, how: dict[str, Any]) -> Options:
    """How the rounds are run.  Raises: ValueError or TypeError, in one line."""
    for name, number in (("rounds", rounds), ("batch", batch)):
        whole = isinstance(number, int) and not isinstance(number, bool)
        if not (whole and 1 <= number <= MOST_RUNS):
            accepted = f"an integer >= 1 and at most {MOST_RUNS:,}"
            raise ValueError(f"{name}={number!r} is out of range; accepted: {accepted}")
    if "shard" in how:
        parse_shard(how["shard"])  # the name of `split` in earlier versions
    if unknown := [name for name in how if name not in HOW_TO_RUN]:
        raise TypeError(f"a search takes no {unknown[0]}; accepted: {', '.join(HOW_TO_RUN)}")
    if resume and folder is None:
        raise ValueError("resume=True needs the folder of the search; pass folder=")
    if jax.process_count() > 1:
        raise ValueError(
            "a search compares all settings; run it in one process (it uses all local devices)"
        )
    sizes = {"devices": None, "split": "runs", "chunk_size": "auto", "memory_limit": None}
    resources = make_resources(**{name: how.pop(name, value) for name, value in sizes.items()})
    hook = shown(how.pop("progress", None), how.pop("on_progress", None))
    hooks = (hook, how.pop("on_segment", None))
    locked = folder is not None  # from the first round to the last
    return Options(resources, locked=locked, **how).with_hooks(*hooks)


def _checked_labels(
    space: Mapping[str, Range], conditions: Any, config: VPGConfig, hp: Hyperparams, resources: Any
) -> dict[str, dict[Any, Any]]:
    """Label -> option of each Choice, {} of other ranges, when all values that may be drawn are
    accepted."""
    if not space:
        raise ValueError("space is empty; name at least one range, as policy_lr=LogUniform(..)")
    for name, span in space.items():
        if not isinstance(span, Range):
            raise TypeError(
                f"space has {name}={span!r}; accepted: Uniform(low, high), LogUniform(low, high) "
                f"or Choice(options)"
            )
        if name in STATIC and not isinstance(span, Choice):
            raise TypeError(
                f"{name} is static, and each value of {span} would need a compilation of its own; "
                f"accepted: Choice(options)"
            )
    check_one_world(space, conditions)
    ends = {
        name: span.options if isinstance(span, Choice) else (span.at(0.0), span.at(1.0))
        for name, span in space.items()
    }
    values = {axis.dim: [point[0] for point in axis.points] for axis in make_design(ends).axes}
    static = {name: values[name] for name in values if name in STATIC}  # in every combination
    alone = [{name: values[name]} for name in values if name not in STATIC]
    for grid in [static, *alone]:
        for group in resolve(make_design(grid), config, hp):
            check_group(group, resources)
    return {
        name: suggestions.labels(values[name]) if isinstance(span, Choice) else {}
        for name, span in space.items()
    }

"""Settings that earlier scores suggest: batches of them, each one call of one compiled program.

    ask     a batch of settings, from a sampler of optuna
    run     all of them with every seed: `sweep`, of the same width in every round
    tell    one score a setting: the interquartile mean over its seeds

In a folder the search is a study like any other, and grows by one batch a round.  Optuna's own
state is not kept: asking and telling again what was told brings it back, for both are seeded.
"""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment.checks import check_group, make_seeds
from purejaxvpg.experiment.grid import STATIC, Choice, LogUniform, Range, make_design, resolve
from purejaxvpg.experiment.growing import GrowingStudy
from purejaxvpg.experiment.study import Study
from purejaxvpg.experiment.sweep import sweep
from purejaxvpg.extras import require
from purejaxvpg.statistics import interquartile_mean, with_diverged_as_worst

HOW_TO_RUN = ("chunk_size", "memory_limit", "devices", "shard", "on_progress", "command")


class Search(NamedTuple):
    """What a search found."""

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


def search(
    config: VPGConfig,
    space: Mapping[str, Range],
    num_seeds: int = 1,
    *,
    rounds: int,
    batch: int,
    suggest: Any = "optuna",
    sample_seed: int = 0,
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
      space: name -> Uniform, LogUniform or Choice, of any name that a sweep takes.  A static field
        takes a Choice, and costs a compilation per option; with chunk_size="auto" another for each
        number of settings of an option that a round has, so give chunk_size.
      num_seeds: S; every setting runs the seeds first_seed, first_seed + 1, ...
      suggest: "optuna": TPE (Bergstra et al. 2011), the first batch at random; or a sampler of
        optuna with a seed of its own, of which a copy is used.
      sample_seed: of the suggestions; not used with a sampler of your own.
      hp: hyperparameters of all settings but for what varies.
      folder: keep the study there: readable, and complete up to the last round, at all times.
      resume: go on with the search in `folder`, also to more rounds than it was begun with.
      on_round: called after every round.
      how_to_run: chunk_size, memory_limit, devices, shard, on_progress, command of `sweep`.

    A run that diverged counts as the worst run so far; a setting none of whose runs has a score
    is told as pruned, which samplers take for worse than any score.

    Raises: ValueError or TypeError, in one line, before anything runs; ImportError without the
    extra `optuna`; FileExistsError, ValueError or OSError for the folder.
    """
    hp = Hyperparams() if hp is None else hp
    _check_sizes(rounds, batch, folder, resume, how_to_run)
    options = _checked_options(space, config, hp, how_to_run)
    optuna_study = _make_optuna_study(suggest, sample_seed, batch)
    distributions = {name: _distribution(space[name], options[name]) for name in space}
    seeds = make_seeds(num_seeds, first_seed)
    kept = GrowingStudy(config, hp, seeds, tuple(space), folder, resume)
    how_to_run = {"chunk_size": "auto", "hp": hp, "first_seed": first_seed, **how_to_run}
    scores: list[np.ndarray] = []  # [batch, S] each
    for index in range(rounds):
        asked = [optuna_study.ask(distributions) for _ in range(batch)]
        settings = [_setting(trial.params, options) for trial in asked]
        found = kept.begin(settings)
        if found is None:
            columns = {name: [setting[name] for setting in settings] for name in space}
            place = {"folder": kept.round_folder, "resume": kept.round_folder is not None}
            if how_to_run["chunk_size"] == "auto" and kept.width is not None:
                how_to_run["chunk_size"] = kept.width
            found = kept.add(sweep(config, None, num_seeds, zip=columns, **place, **how_to_run))
        scores.append(found)
        told = summarised(np.concatenate(scores))[-batch:]
        for trial, score in zip(asked, told, strict=True):
            _tell(optuna_study, trial, score)
        if on_round:
            on_round(Round(index, rounds, settings, told))
    totals, study = summarised(np.concatenate(scores)), kept.finish()
    if np.isnan(totals).all():
        return Search(study, None, float("nan"), optuna_study)
    best = int(np.nanargmax(totals))
    return Search(study, study.design.settings()[best], float(totals[best]), optuna_study)


def summarised(scores: np.ndarray) -> np.ndarray:
    """One score a setting: the interquartile mean over seeds, lost runs as the worst of all.

    Args: scores: `[H, S]`, NaN for a run without one.
    Returns: `[H]`; NaN for a setting none of whose runs has a score.
    """
    summary = interquartile_mean(with_diverged_as_worst(scores), axis=1)
    return np.where(np.isfinite(scores).any(1), summary, np.nan)


# ------------------------------------------------------------------------------------ OPTUNA


def _make_optuna_study(suggest: Any, seed: int, batch: int) -> Any:
    optuna = require("optuna", "optuna")
    if suggest == "optuna":
        with warnings.catch_warnings():  # some versions call these options experimental
            warnings.simplefilter("ignore")
            # The liar keeps the settings of a batch apart: those asked and not yet told count as
            # bad.  It has nothing to go by in the first batch, which is drawn at random.
            sampler = optuna.samplers.TPESampler(
                seed=seed,
                n_startup_trials=max(10, batch),
                multivariate=True,
                constant_liar=True,
            )
    elif isinstance(suggest, optuna.samplers.BaseSampler):
        sampler = copy.deepcopy(suggest)  # asking changes it, and the caller's stays as it is
    else:
        raise ValueError(f"suggest={suggest!r} is unknown; accepted: optuna, or an optuna sampler")
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it logs that it was made
    try:
        return optuna.create_study(direction="maximize", sampler=sampler)
    finally:
        optuna.logging.set_verbosity(verbosity)


def _distribution(span: Range, options: dict[Any, Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(span, Choice):
        return CategoricalDistribution(tuple(options))
    return FloatDistribution(span.low, span.high, log=isinstance(span, LogUniform))


def _setting(params: Mapping[str, Any], options: dict[str, dict[Any, Any]]) -> dict[str, Any]:
    """What optuna's labels stand for; numbers of a range stand for themselves."""
    return {name: own.get(params[name], params[name]) for name, own in options.items()}


def _tell(optuna_study: Any, trial: Any, score: float) -> None:
    from optuna.trial import TrialState

    if np.isnan(score):
        optuna_study.tell(trial, state=TrialState.PRUNED)
    else:
        optuna_study.tell(trial, float(score))


# ------------------------------------------------------------------------------------ CHECKS


def _check_sizes(rounds: Any, batch: Any, folder: Any, resume: bool, how_to_run: Any) -> None:
    for name, number in (("rounds", rounds), ("batch", batch)):
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(f"{name}={number!r} is out of range; accepted: an integer >= 1")
    for name in how_to_run:
        if name not in HOW_TO_RUN:
            raise TypeError(f"a search takes no {name}; accepted: {', '.join(HOW_TO_RUN)}")
    if resume and folder is None:
        raise ValueError("resume=True needs the folder of the search; pass folder=")
    if jax.process_count() > 1:
        raise ValueError(
            "a search compares all settings; run it in one process (it uses all local devices)"
        )


def _checked_options(
    space: Mapping[str, Range], config: VPGConfig, hp: Hyperparams, how_to_run: Mapping[str, Any]
) -> dict[str, dict[Any, Any]]:
    """Label -> option of each Choice, {} of other ranges, when all that may come is accepted."""
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
    ends = {
        name: span.options if isinstance(span, Choice) else (span.at(0.0), span.at(1.0))
        for name, span in space.items()
    }
    axes = make_design(ends).axes  # known names, each value once
    values = {axis.dim: [point[0] for point in axis.points] for axis in axes}
    static = {name: own for name, own in values.items() if name in STATIC}
    devices = how_to_run.get("devices")
    num_devices = len(jax.devices() if devices is None else devices)
    for group in resolve(make_design(static), config, hp):  # static values, in every combination
        check_group(group, how_to_run.get("shard", "runs"), num_devices)
    for name in [name for name in values if name not in STATIC]:
        for group in resolve(make_design({name: values[name]}), config, hp):
            check_group(group, "runs", num_devices)
    return {
        name: _labels(values[name]) if isinstance(span, Choice) else {}
        for name, span in space.items()
    }


def _labels(options: Sequence[Any]) -> dict[Any, Any]:
    """Options by what optuna calls them: it knows numbers, strings and None, and no tuples."""
    if all(option is None or isinstance(option, int | float | str) for option in options):
        return {option: option for option in options}
    return {f"{place}: {option}": option for place, option in enumerate(options)}

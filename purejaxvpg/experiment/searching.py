"""Settings that earlier scores suggest: batches of them, each one call of one compiled program.

    ask     a batch of settings, from a sampler of optuna
    run     all of them with every seed, in a study that grows by one batch a round
    tell    one score a setting: the interquartile mean over its seeds

In a folder the search is a study like any other, along one axis `sample`.  Optuna's own state is
not kept: asking and telling again what was told brings it back, for both are seeded.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment import engine, legacy, suggestions
from purejaxvpg.experiment.assemble import assemble
from purejaxvpg.experiment.checks import check_group, check_one_world, make_seeds
from purejaxvpg.experiment.design import STATIC, Axis, Design, make_design
from purejaxvpg.experiment.folder import Contents, face_of, read_folder
from purejaxvpg.experiment.groups import resolve
from purejaxvpg.experiment.prepare import make_resources, prepare
from purejaxvpg.experiment.prepared import Options
from purejaxvpg.experiment.runs import parse_shard
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.experiment.study import Study
from purejaxvpg.ranges import Choice, Range
from purejaxvpg.serialize import lists_to_tuples, plain
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
        takes a Choice, and costs a compilation per option; with chunk_size="auto" another for each
        number of settings of an option that a round has, so give chunk_size.
      num_seeds: S; every setting runs the seeds first_seed, first_seed + 1, ...
      suggest: "optuna": TPE (Bergstra et al. 2011), the first batch at random; or a sampler of
        optuna with a seed of its own, of which a copy is used.
      sample_seed: of the suggestions; not used with a sampler of your own.
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
    grown = _begin(spec, folder, resume)
    study, settings = None, []
    for index in range(rounds):
        trials = [optuna_study.ask(distributions) for _ in range(batch)]
        new = [suggestions.setting(trial.params, labels) for trial in trials]
        settings += new
        points = tuple(tuple(setting[name] for name in space) for setting in settings)
        _check_same_settings(folder, grown, points)
        spec = spec._replace(design=_design(space, points))
        grown, study = _run_round(spec, options, folder, grown)
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


# ----------------------------------------------------------------------------- THE STUDY GROWS


def _design(space: Mapping[str, Range], points: tuple[tuple[Any, ...], ...]) -> Design:
    return Design((Axis("sample", tuple(space), points),))


def _begin(spec: Spec, folder: Any, resume: bool) -> Contents | None:
    """The search that the folder holds already; None if it begins."""
    if folder is None or face_of(folder) is None or not resume:
        return None
    legacy.take_over_round(Path(folder))
    contents = read_folder(folder)
    ours, theirs = spec.to_json(), contents.spec.to_json()
    names = [name for name in ("config", "hyperparams", "seeds") if ours[name] != theirs[name]]
    names += ["axes"] * (contents.spec.design.names != spec.design.names)
    if names:
        raise ValueError(
            f"{folder} holds another search (its {' and '.join(names)} differ); choose another "
            f"folder, or give the arguments that it was begun with"
        )
    return contents


def _check_same_settings(folder: Any, grown: Contents | None, points: Sequence[Any]) -> None:
    """ValueError if the search in the folder was told, or asked, other things."""
    before = grown.spec.design.axes[0].points if grown else ()
    now = lists_to_tuples(plain(points))
    both = min(len(before), len(now))
    if lists_to_tuples(plain(before[:both])) != now[:both]:
        first = next(i for i in range(both) if before[i] != now[i])
        raise ValueError(
            f"{folder} holds another search (its settings from the {first + 1}th on differ); "
            f"choose another folder, or give the arguments, and have the version of optuna, that "
            f"it was begun with"
        )


def _run_round(
    spec: Spec, options: Options, folder: Any, grown: Contents | None
) -> tuple[Contents, Study]:
    """Run the settings that are new.  Returns: the study with them, in two forms."""
    if grown is not None:
        study = _first_settings(spec, grown)
        if study.done.all():
            return grown, study
        if grown.spec.design.size > spec.design.size:  # the folder holds later rounds
            spec = grown.spec
    prepared = prepare(spec, options, folder, grown=grown)
    study, store = engine.run(prepared), prepared.store
    return Contents(spec, study.record, store.identity, store.parts, [], study.policies), study


def _first_settings(spec: Spec, grown: Contents) -> Study:
    """The study up to the settings of `spec`."""
    parts = [part for part in grown.parts if part.runs.max() < len(spec.index)]
    return assemble(spec, parts, grown.record, grown.policies)


# ------------------------------------------------------------------------------------ CHECKS

HOW_TO_RUN = ("chunk_size", "memory_limit", "devices", "split", "keep_policies", "command",
              "checkpoint_minutes", "checkpoint_updates", "on_progress", "on_segment")  # fmt: skip


def _options(rounds: Any, batch: Any, folder: Any, resume: bool, how: dict[str, Any]) -> Options:
    """How the rounds are run.  Raises: ValueError or TypeError, in one line."""
    for name, number in (("rounds", rounds), ("batch", batch)):
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(f"{name}={number!r} is out of range; accepted: an integer >= 1")
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
    hooks = (how.pop("on_progress", None), how.pop("on_segment", None))
    return Options(resources, **how).with_hooks(*hooks)


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

"""Suggestions from optuna: ask, translate, tell."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from purejaxvpg.extras import require
from purejaxvpg.ranges import Choice, LogUniform, Range


def make_optuna_study(suggest: Any, seed: int, batch: int) -> Any:
    """A study of optuna to ask and tell.  Raises: ImportError; ValueError for `suggest`."""
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


def distribution(span: Range, options: dict[Any, Any]) -> Any:
    """A range in optuna's form.  options: its labels, of a Choice."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(span, Choice):
        return CategoricalDistribution(tuple(options))
    return FloatDistribution(span.low, span.high, log=isinstance(span, LogUniform))


def setting(params: Mapping[str, Any], labels: dict[str, dict[Any, Any]]) -> dict[str, Any]:
    """The values of optuna's labels; numbers of a range stand for themselves."""
    return {name: values.get(params[name], params[name]) for name, values in labels.items()}


def tell(optuna_study: Any, trial: Any, score: float) -> None:
    """Tell the score of a trial; NaN as pruned."""
    from optuna.trial import TrialState

    if np.isnan(score):
        optuna_study.tell(trial, state=TrialState.PRUNED)
    else:
        optuna_study.tell(trial, float(score))


def labels(options: Sequence[Any]) -> dict[Any, Any]:
    """Options by the names that optuna has for them: it takes numbers, text and None, no tuples."""
    if all(option is None or isinstance(option, int | float | str) for option in options):
        return {option: option for option in options}
    return {f"{place}: {option}": option for place, option in enumerate(options)}

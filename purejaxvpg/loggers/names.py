"""Names of what is logged, and the rows of a segment under these names."""

import math
from typing import NamedTuple

import numpy as np

from purejaxvpg.loggers.segment import Segment

# Field of `Metrics` -> its series.  `episode_count` divides the first two.
OF_METRICS = {
    "episode_return_sum": "charts/episodic_return",
    "episode_length_sum": "charts/episodic_length",
    "episode_count": "charts/episodes",
    "policy_loss": "losses/policy_loss",
    "policy_loss_change": "losses/policy_loss_change",
    "kl": "losses/approx_kl",
    "entropy": "losses/entropy",
    "policy_grad_norm": "losses/grad_norm",
    "value_loss": "losses/value_loss",
    "value_loss_after": "losses/value_loss_after",
    "value_grad_norm": "losses/value_grad_norm",
    "explained_variance": "losses/explained_variance",
    "finite": "charts/finite",
}
RETURN, LENGTH = "charts/episodic_return", "charts/episodic_length"
EVAL_RETURN, EVAL_LENGTH = "eval/episodic_return", "eval/episodic_length"
SPS, POLICY_LR, VALUE_LR = "charts/SPS", "charts/learning_rate", "charts/value_learning_rate"
NAMES = (*OF_METRICS.values(), SPS, POLICY_LR, VALUE_LR, EVAL_RETURN, EVAL_LENGTH)
WITH_DIAGNOSTICS = ("policy_loss_change", "kl", "value_loss_after")


class Rows(NamedTuple):
    """Points of k runs at m updates."""

    updates: np.ndarray  # [m] updates done
    steps: np.ndarray  # [m] environment steps done, of each run
    finite: np.ndarray  # [k, m] bool: the run had not diverged
    series: dict[str, np.ndarray]  # each [k, m] float32; NaN: no point, or a number that is NaN


def every(segment: Segment, points: int | None) -> int:
    """Updates from one row of a run to the next, for at most `points` rows; None: one a row."""
    return 1 if points is None else math.ceil(segment.num_updates / max(points, 1))


def rows(segment: Segment, step: int = 1) -> Rows:
    """The rows of a segment: after every `step` updates, at the end of the run, and wherever it
    was evaluated.

    They depend on the update alone, never on where segments end: a run that is interrupted has the
    rows of one that is not.
    """
    config, metrics = segment.config, segment.metrics
    updates = np.arange(segment.first + 1, segment.updates + 1)  # [n]
    evaluated = (
        updates % config.eval_every == 0 if config.eval_every else np.zeros(len(updates), bool)
    )
    chosen = (updates % step == 0) | (updates == segment.num_updates) | evaluated
    series: dict[str, np.ndarray] = {}
    for field, name in OF_METRICS.items():
        if config.diagnostics or field not in WITH_DIAGNOSTICS:
            series[name] = np.asarray(getattr(metrics, field), np.float32)[:, chosen]
    counts = series["charts/episodes"]
    for name in (RETURN, LENGTH):  # no point, and not 0, where no episode ended
        series[name] = np.divide(
            series[name], counts, np.full_like(counts, np.nan), where=counts > 0
        )
    updates = updates[chosen]
    shape = (len(segment.runs), len(updates))
    series[SPS] = np.full(shape, _rate(segment), np.float32)
    factors = np.asarray([_factor(segment, int(update) - 1) for update in updates], np.float32)
    for name, rates in ((POLICY_LR, segment.hp.policy_lr), (VALUE_LR, segment.hp.value_lr)):
        each = np.broadcast_to(np.asarray(rates, np.float32), shape[:1])
        series[name] = each[:, None] * factors
    if segment.evaluations is not None:
        places = np.flatnonzero(evaluated[chosen])
        for name, values in (
            (EVAL_RETURN, segment.evaluations.returns),
            (EVAL_LENGTH, segment.evaluations.lengths),
        ):
            series[name] = np.full(shape, np.nan, np.float32)
            series[name][:, places] = np.mean(values, -1)
    finite = np.asarray(metrics.finite, bool)[:, chosen]
    return Rows(updates, updates * config.steps_per_update, finite, series)


def _rate(segment: Segment) -> float:
    """Environment steps a second, of the runs that are computed side by side."""
    steps = len(segment.runs) * (segment.updates - segment.start) * segment.config.steps_per_update
    return steps / segment.seconds if segment.seconds > 0 else math.nan


def _factor(segment: Segment, update: int) -> float:
    """The factor of the learning rates in update number `update`, from 0 (agent/optimize.py, on the
    host)."""
    part = update / segment.config.num_updates
    shapes = {"constant": 1.0, "linear": 1 - part, "cosine": (1 + math.cos(math.pi * part)) / 2}
    return shapes[segment.config.lr_schedule]

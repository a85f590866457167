"""Successive halving: after each rung the worse settings of each condition stop.

Source: Jamieson and Talwalkar 2016, "Non-stochastic best arm identification"; Karnin et al. 2013.
"""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.statistics import interquartile_mean, with_diverged_as_worst

MOST_RUNGS = 1_000
METHOD = "successive_halving"


class SuccessiveHalving(NamedTuple):
    """After each rung the best `keep` of the settings go on; the last rung is the whole run."""

    rungs: int = 3
    keep: float = 1 / 3
    blocks: bool = False  # rungs end at blocks of a tenth of the run, as studies of format 1 did
    across: bool = False  # compares settings across conditions, as studies did that recorded none

    def bounds(self, num_updates: int, eval_every: int = 0) -> tuple[int, ...]:
        """0, then the updates at which the rungs end: each `keep` times the next.

        Multiples of `eval_every`.  A short run has equal bounds: it does nothing between them.
        """
        unit = eval_every or 1
        if self.blocks:
            unit *= _block(num_updates // unit)
        units = num_updates // unit
        fractions = [self.keep ** (self.rungs - 1 - k) for k in range(self.rungs)]
        return (0, *[max(round(fraction * units), 1) * unit for fraction in fractions])

    def numbers(self, number: int) -> tuple[int, ...]:
        """Settings of `number` that are in each rung."""
        numbers = [number]
        for _ in range(self.rungs - 1):
            numbers.append(_survivors_of(numbers[-1], self.keep))
        return tuple(numbers)

    def smallest(self, number: int) -> int:
        """Settings of `number` that go on to the end."""
        return self.numbers(number)[-1]


def _block(units: int) -> int:
    """The longest divisor of `units` that gives at least ten blocks, or one."""
    longest = max(units // 10, 1)
    return max(length for length in range(1, longest + 1) if units % length == 0)


def _survivors_of(number: int, keep: float) -> int:
    return max(math.ceil(round(number * keep, 9)), 1)  # 0.07 * 100 is 7.000000000000001


def survivors(
    scores: np.ndarray, alive: np.ndarray, keep: float, diverged: np.ndarray | None = None
) -> np.ndarray:
    """The settings that go on: the best share, at least one, by interquartile mean over seeds.

    A diverged run counts as the worst of all.  One that has ended no episode yet cannot be judged
    and does not count; if a setting has only such runs, all go on.  Of equal settings the one
    with fewer diverged runs goes on, else the earlier.

    Args: scores: `[H, S]`, NaN for a run without one; alive: `[A]` places of the settings still
    in; diverged: `[H, S]` bool, or None: all that have no score.
    """
    scores = scores[alive]
    lost = ~np.isfinite(scores) if diverged is None else diverged[alive]
    counts = np.isfinite(scores) | lost  # [A, S]
    if not counts.any(1).all():
        return alive
    filled = with_diverged_as_worst(np.where(lost, np.nan, scores))
    ranked = [interquartile_mean(row[judged]) for row, judged in zip(filled, counts, strict=True)]
    # A diverged run has the score of the worst that did not, which is as good as that one here.
    order = np.lexsort((alive, lost.sum(1), -np.nan_to_num(ranked, nan=-np.inf)))
    return np.sort(alive[order[: _survivors_of(len(alive), keep)]])


def survivors_within(
    conditions: Sequence[np.ndarray],
    scores: np.ndarray,
    alive: np.ndarray,
    keep: float,
    diverged: np.ndarray | None = None,
) -> np.ndarray:
    """The settings that go on, `keep` of each condition: the best of the easiest world would
    otherwise outlive all of a harder one.

    Args: conditions: places of the settings of each; the rest as `survivors`.
    """
    each = [np.intersect1d(settings, alive) for settings in conditions]
    best = [survivors(scores, places, keep, diverged) for places in each if len(places)]
    return np.sort(np.concatenate(best))


def make_pruning(
    prune: Any, rungs: Any, keep: Any, blocks: bool = False
) -> SuccessiveHalving | None:
    """The method by name, or None.  Raises: ValueError for bad names or numbers."""
    if prune is None:
        return None
    if prune != METHOD:
        raise ValueError(f"prune={prune!r} is unknown; accepted: {METHOD}, or None")
    if not isinstance(rungs, int) or not 2 <= rungs <= MOST_RUNGS:
        raise ValueError(
            f"rungs={rungs!r} is out of range; accepted: an integer >= 2 and at most {MOST_RUNGS}"
        )
    if not isinstance(keep, Real) or not 0 < keep < 1:
        raise ValueError(f"keep={keep!r} is out of range; accepted: in (0, 1)")
    return SuccessiveHalving(rungs, float(keep), blocks)


def pruning_to_json(pruning: SuccessiveHalving | None) -> dict[str, Any] | None:
    """The pruning as study.json holds it."""
    if pruning is None:
        return None
    numbers = {"method": METHOD, "rungs": pruning.rungs, "keep": pruning.keep}
    return numbers if pruning.blocks else numbers | {"ends": "updates"}


def pruning_from_json(fields: dict[str, Any] | None) -> SuccessiveHalving | None:
    """The pruning that `pruning_to_json` wrote.  Raises: ValueError as `make_pruning`."""
    if not fields:
        return None
    blocks = "ends" not in fields  # format 1
    return make_pruning(fields["method"], fields["rungs"], fields["keep"], blocks)

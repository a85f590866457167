"""Which settings go on: successive halving.

Source: Jamieson and Talwalkar 2016, "Non-stochastic best arm identification"; Karnin et al. 2013.
"""

import math
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.statistics import interquartile_mean, with_diverged_as_worst


class SuccessiveHalving(NamedTuple):
    """After each rung the best `keep` of the settings go on; the last rung is the whole run."""

    rungs: int = 3
    keep: float = 1 / 3

    def check(self) -> None:
        """Raises: ValueError for numbers out of range."""
        if not isinstance(self.rungs, int) or self.rungs < 2:
            raise ValueError(f"rungs={self.rungs!r} is out of range; accepted: an integer >= 2")
        if not isinstance(self.keep, Real) or not 0 < self.keep < 1:
            raise ValueError(f"keep={self.keep!r} is out of range; accepted: in (0, 1)")

    def ends(self, num_updates: int, segment: int) -> list[int]:
        """Updates at which the rungs end, one for each: each `keep` times the next, in whole
        segments.  (A short run has equal ends: it does nothing in between.)"""
        blocks = num_updates // segment
        shares = [self.keep ** (self.rungs - 1 - k) for k in range(self.rungs)]
        return [max(round(share * blocks), 1) * segment for share in shares]

    def smallest(self, number: int) -> int:
        """Settings of `number` that go on to the end."""
        for _ in range(self.rungs - 1):
            number = _kept(number, self.keep)
        return number


def _kept(number: int, keep: float) -> int:
    return max(math.ceil(round(number * keep, 9)), 1)  # 0.07 * 100 is 7.000000000000001


def survivors(
    scores: np.ndarray, alive: np.ndarray, keep: float, diverged: np.ndarray | None = None
) -> np.ndarray:
    """The settings that go on: the best share, at least one, by interquartile mean over seeds.

    A diverged run counts as the worst of all.  One that has ended no episode yet has nothing to
    be judged by and does not count; if a setting has only such runs, all go on.  Of equal
    settings the one with fewer diverged runs goes on, else the earlier.

    Args: scores: `[H, S]`, NaN for a run without one; alive: `[A]` places of the settings still
    in; diverged: `[H, S]` bool, or None: all that have no score.
    """
    scores = scores[alive]
    lost = ~np.isfinite(scores) if diverged is None else diverged[alive]
    counts = np.isfinite(scores) | lost  # [A, S]
    if not counts.any(1).all():
        return alive
    filled = with_diverged_as_worst(np.where(lost, np.nan, scores))
    ranked = [interquartile_mean(own[of]) for own, of in zip(filled, counts, strict=True)]
    # A diverged run has the score of the worst that did not, which is as good as that one here.
    order = np.lexsort((alive, lost.sum(1), -np.nan_to_num(ranked, nan=-np.inf)))
    return np.sort(alive[order[: _kept(len(alive), keep)]])


def make_pruning(prune: Any, rungs: int, keep: float) -> SuccessiveHalving | None:
    """Raises: ValueError for an unknown method or numbers out of range."""
    if prune is None:
        return None
    if prune != "successive_halving":
        raise ValueError(f"prune={prune!r} is unknown; accepted: successive_halving, or None")
    method = SuccessiveHalving(rungs, keep)
    method.check()
    return method


def pruning_to_json(pruning: SuccessiveHalving | None) -> dict[str, Any] | None:
    """As study.json holds it."""
    return {"method": "successive_halving", **pruning._asdict()} if pruning else None


def pruning_from_json(held: dict[str, Any] | None) -> SuccessiveHalving | None:
    """What `pruning_to_json` wrote.  Raises: ValueError as `make_pruning`."""
    return make_pruning(held["method"], held["rungs"], held["keep"]) if held else None

"""Which settings go on: successive halving.

Source: Jamieson and Talwalkar 2016, "Non-stochastic best arm identification"; Karnin et al. 2013.
"""

from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.statistics import interquartile_mean, with_diverged_as_worst


class SuccessiveHalving(NamedTuple):
    """After each rung the best `keep` of the settings go on; the last rung is the whole run."""

    rungs: int = 3
    keep: float = 1 / 3

    def check(self) -> None:
        """Raises: ValueError for numbers out of range."""
        if self.rungs < 2:
            raise ValueError(f"rungs={self.rungs} is out of range; accepted: an integer >= 2")
        if not 0 < self.keep < 1:
            raise ValueError(f"keep={self.keep} is out of range; accepted: in (0, 1)")

    def ends(self, num_updates: int, segment: int) -> list[int]:
        """Updates at which the rungs end: each `keep` times the next, in whole segments."""
        blocks = num_updates // segment
        shares = [self.keep ** (self.rungs - 1 - k) for k in range(self.rungs)]
        rounded = sorted({max(round(share * blocks), 1) for share in shares})
        return [block * segment for block in rounded]

    def to_json(self) -> dict[str, Any]:
        """As study.json holds it."""
        return {"method": "successive_halving", **self._asdict()}


def survivors(scores: np.ndarray, alive: np.ndarray, keep: float) -> np.ndarray:
    """The settings that go on: the best share, at least one, by interquartile mean over seeds.

    Args: scores: `[H, S]`, NaN for a run that diverged (it counts as the worst of all); alive:
    `[A]` places of the settings still in.  Equal scores: the earlier setting goes on.
    """
    ranked = interquartile_mean(with_diverged_as_worst(scores[alive]), axis=1)
    order = np.argsort(-np.nan_to_num(ranked, nan=-np.inf), kind="stable")
    number = max(int(np.ceil(len(alive) * keep)), 1)
    return np.sort(alive[order[:number]])


def make_pruning(prune: Any, rungs: int, keep: float) -> SuccessiveHalving | None:
    """Raises: ValueError for an unknown method or numbers out of range."""
    if prune is None:
        return None
    if prune != "successive_halving":
        raise ValueError(f"prune={prune!r} is unknown; accepted: successive_halving, or None")
    method = SuccessiveHalving(rungs, keep)
    method.check()
    return method

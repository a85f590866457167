"""Ranges to draw values from: `Uniform`, `LogUniform`, `Choice`."""

import dataclasses
import math
from collections.abc import Mapping
from collections.abc import Set as AnySet
from numbers import Real
from typing import Any

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Even distribution between `low` and `high`."""

    low: float
    high: float

    def __post_init__(self):
        _check_range(self)

    def at(self, fraction: float) -> float:
        """The value below which this fraction, in [0, 1], lies."""
        value = self.low * (1 - fraction) + self.high * fraction  # high - low may overflow
        return float(min(max(value, self.low), self.high))


@dataclasses.dataclass(frozen=True)
class LogUniform:
    """Even distribution between `low` and `high` on a logarithmic scale."""

    low: float
    high: float

    def __post_init__(self):
        _check_range(self)
        if self.low <= 0:
            raise ValueError(f"{self} has no logarithm at its low end; accepted: low > 0")

    def at(self, fraction: float) -> float:
        """The value below which this fraction, in [0, 1], lies."""
        if fraction in (0, 1):  # exp(log(x)) is x but for rounding
            return float(self.high if fraction else self.low)
        low, high = math.log(self.low), math.log(self.high)
        return float(min(max(math.exp(low + (high - low) * fraction), self.low), self.high))


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of the options, all equally likely."""

    options: tuple[Any, ...]

    def __post_init__(self):
        if isinstance(self.options, str) or not is_list(self.options):
            raise TypeError(f"Choice({self.options!r}) has no list of options; pass one")
        object.__setattr__(self, "options", tuple(plain_value(option) for option in self.options))
        if not self.options:
            raise ValueError("Choice() has nothing to choose from; give at least one option")

    def at(self, fraction: float) -> Any:
        """The option at this fraction, in [0, 1], of the list."""
        return self.options[min(int(fraction * len(self.options)), len(self.options) - 1)]


Range = Uniform | LogUniform | Choice


def _is_number(x: Any) -> bool:
    return isinstance(x, Real) and not isinstance(x, bool)


def _check_range(span: Any) -> None:
    ends = (span.low, span.high)
    finite = all(_is_number(x) and math.isfinite(x) for x in ends)
    if not (finite and span.low < span.high):
        raise ValueError(f"{span} is no range; accepted: finite numbers, low < high")


def is_list(given: Any) -> bool:
    """Whether it has values in an order (text, mappings and sets do not count)."""
    unordered = isinstance(given, str | bytes | Mapping | AnySet)  # or no list of its letters
    return hasattr(given, "__iter__") and not unordered and getattr(given, "ndim", 1) > 0


def plain_value(value: Any) -> Any:
    """Numbers of numpy and jax as Python's, lists and arrays as tuples."""
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        value = value.tolist()
    return tuple(map(plain_value, value)) if isinstance(value, list | tuple) else value

"""Ranges to draw values from: `Uniform`, `LogUniform`, `Choice`.

They are pytrees of their numbers, so that a range may stand among traced settings, and its bounds
may be swept with `jax.vmap`.  Concrete bounds are checked; traced ones are taken on trust.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AnySet
from numbers import Real
from typing import Any

import jax
import numpy as np
from jax.core import Tracer


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Even distribution between `low` and `high`."""

    low: Any
    high: Any

    def __post_init__(self):
        _check_range(self)

    def at(self, fraction: float) -> float:
        """The value below which this fraction, in [0, 1], lies."""
        value = self.low * (1 - fraction) + self.high * fraction  # high - low may overflow
        return float(min(max(value, self.low), self.high))

    def __str__(self) -> str:
        return f"uniform({self.low}, {self.high})"


@dataclasses.dataclass(frozen=True)
class LogUniform:
    """Even distribution between `low` and `high` on a logarithmic scale."""

    low: Any
    high: Any

    def __post_init__(self):
        _check_range(self)
        if not isinstance(self.low, Tracer) and np.any(np.asarray(self.low) <= 0):
            raise ValueError(f"{self!r} has no logarithm at its low end; accepted: low > 0")

    def at(self, fraction: float) -> float:
        """The value below which this fraction, in [0, 1], lies."""
        if fraction in (0, 1):  # exp(log(x)) is x but for rounding
            return float(self.high if fraction else self.low)
        low, high = math.log(self.low), math.log(self.high)
        return float(min(max(math.exp(low + (high - low) * fraction), self.low), self.high))

    def __str__(self) -> str:
        return f"log-uniform({self.low}, {self.high})"


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

    def __str__(self) -> str:
        return f"choice({', '.join(map(str, self.options))})"


Range = Uniform | LogUniform | Choice
KINDS = {"uniform": Uniform, "log": LogUniform, "choice": Choice}  # as they are typed and kept


def kind_of(span: Range) -> str:
    """The kind of a range, as it is typed and kept."""
    return next(kind for kind, cls in KINDS.items() if type(span) is cls)


def numbers_of(span: Range) -> tuple[Any, ...]:
    """Bounds, or options."""
    return span.options if isinstance(span, Choice) else (span.low, span.high)


def of_numbers(kind: str, numbers: Sequence[Any]) -> Range:
    """The range of a kind with these bounds or options.  Raises: ValueError, TypeError."""
    if kind == "choice":
        return Choice(tuple(numbers))
    if kind not in KINDS or len(numbers) != 2:
        raise ValueError(f"{kind} of {len(numbers)} numbers is no range; accepted: {LISTED}")
    return KINDS[kind](*numbers)


LISTED = "uniform:LOW:HIGH, log:LOW:HIGH, choice:A:B:..."


def as_typed(span: Range) -> str:
    """A range as a command line has it: `uniform:8:12`."""
    return ":".join([kind_of(span), *[str(plain_value(x)) for x in numbers_of(span)]])


def is_typed(text: Any) -> bool:
    """Whether a text of a command line is that of a range."""
    return isinstance(text, str) and text.partition(":")[0] in KINDS and ":" in text


def _is_number(x: Any) -> bool:
    if isinstance(x, np.ndarray | jax.Array):  # of a sweep, or traced
        return x.dtype.kind in "iuf"
    return isinstance(x, Real) and not isinstance(x, bool)


def _check_range(span: Any) -> None:
    ends = (span.low, span.high)
    accepted = all(map(_is_number, ends))
    if accepted and not any(isinstance(x, Tracer) for x in ends):
        low, high = map(np.asarray, ends)
        accepted = bool(np.all(np.isfinite(low) & np.isfinite(high) & (low < high)))
    if not accepted:
        raise ValueError(f"{span!r} is no range; accepted: finite numbers, low < high")


def is_list(given: Any) -> bool:
    """Whether it has values in an order (text, mappings and sets do not count)."""
    unordered = isinstance(given, str | bytes | Mapping | AnySet)  # or no list of its letters
    return hasattr(given, "__iter__") and not unordered and getattr(given, "ndim", 1) > 0


def plain_value(value: Any) -> Any:
    """Numbers of numpy and jax as Python's, lists and arrays as tuples."""
    if isinstance(value, np.ndarray | np.generic | jax.Array) and not isinstance(value, Tracer):
        value = value.tolist()
    return tuple(map(plain_value, value)) if isinstance(value, list | tuple) else value


def _register(cls: type) -> None:
    fields = [field.name for field in dataclasses.fields(cls)]

    def flatten(span: Any) -> tuple[list[Any], None]:
        return [(jax.tree_util.GetAttrKey(name), getattr(span, name)) for name in fields], None

    def unflatten(_: None, values: Any) -> Any:
        # Past __init__: inside jax transformations leaves may be any object at all.
        span = object.__new__(cls)
        for name, value in zip(fields, values, strict=True):
            object.__setattr__(span, name, value)
        return span

    jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)


for _cls in KINDS.values():
    _register(_cls)

"""The settings of a study: which names vary, over which values, in what combination.

A name is a field of `Hyperparams` (traced: no new compilation), a parameter of the environment
as `env_params.<field>` (traced as well), or a field of `VPGConfig` (static: one compilation per
value).  Names are combined as

    grid    the product of their values, one dimension of the result each;
    zipped  value by value, one dimension (`zip`) for all of them;
    sample  points drawn from ranges, one dimension (`sample`) for all of them;

and these three with each other by product.  H is the number of settings.
"""

import dataclasses
import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy  # not scipy.stats: it takes half a second, and is imported when it is used

from purejaxvpg import envs
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment.conditions import Condition, check_conditions, grouped
from purejaxvpg.experiment.display import cut
from purejaxvpg.experiment.runs import MOST_RUNS
from purejaxvpg.ranges import Choice, Range, is_list, numbers_of, plain_value

Sampler = Literal["sobol", "random"]

STATIC = {f.name for f in dataclasses.fields(VPGConfig)} - {"env_kwargs"}
TRACED = {f.name for f in dataclasses.fields(Hyperparams)} - {"env_params"}
ENV_PARAMS = "env_params."


class Axis(NamedTuple):
    """One dimension of a study's result."""

    dim: str  # its name: that of the field, or "zip", or "sample"
    names: tuple[str, ...]  # what varies along it
    points: tuple[tuple[Any, ...], ...]  # [length][len(names)], the values


class Design(NamedTuple):
    """The settings of a study: the product of its axes, the last one fastest."""

    axes: tuple[Axis, ...]
    conditions: tuple[str, ...] = ()  # names along which settings are compared within, never across

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return tuple(len(axis.points) for axis in self.axes)

    @property
    def size(self) -> int:
        """H, the number of settings."""
        return math.prod(self.shape)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that vary."""
        return tuple(name for axis in self.axes for name in axis.names)

    def settings(self) -> list[dict[str, Any]]:
        """Each setting as name -> value.  [H]"""
        combined = itertools.product(*[axis.points for axis in self.axes])
        values = [itertools.chain.from_iterable(points) for points in combined]
        return [dict(zip(self.names, row, strict=True)) for row in values]

    def unmatched(self, values: Mapping[str, Any]) -> str:
        """Text of values that no setting has, and of those there are of their names."""
        given = ", ".join(f"{name}={value!r}" for name, value in values.items())
        settings = self.settings()
        there = [
            f"{name}={','.join(dict.fromkeys(str(setting[name]) for setting in settings))}"
            for name in values
        ]
        single = [self.places({name: value}) for name, value in values.items()]
        apart = ", but not together" if all(single) else ""
        return f"{given}; there are {' and '.join(map(cut, there))}{apart}"

    def places(self, values: Mapping[str, Any]) -> list[int]:
        """Places of the settings that have these values."""
        wanted = {name: one_form(name, value) for name, value in values.items()}
        settings = enumerate(self.settings())
        return [h for h, s in settings if all(s[n] == v for n, v in wanted.items())]

    def by_condition(self) -> list[Condition]:
        """The settings that are compared with each other; all of them without conditions."""
        return grouped(self.settings(), self.conditions)

    def within(self, condition: Condition) -> "Design":
        """The part of the design that a condition is: a product too, of the points that fit."""

        def fits(axis: Axis, point: tuple[Any, ...]) -> bool:
            values = zip(axis.names, point, strict=True)
            return all(repr(v) == repr(condition.values.get(name, v)) for name, v in values)

        axes = [axis._replace(points=tuple(p for p in axis.points if fits(axis, p)))
                for axis in self.axes]  # fmt: skip
        return self._replace(axes=tuple(axes))


def make_design(
    grid: Mapping[str, Sequence[Any]] | None = None,
    zipped: Mapping[str, Sequence[Any]] | None = None,
    sample: Mapping[str, Range] | None = None,
    num_samples: int = 0,
    sampler: Sampler = "sobol",
    sample_seed: int = 0,
    conditions: Sequence[str] | None = None,
) -> Design:
    """Combine axes into a design.

    Args:
      grid: name -> values; every combination.
      zipped: name -> values, all of one length; the first with the first, and so on.
      sample: name -> Uniform, LogUniform or Choice; `num_samples` points of their space, by a
        scrambled Sobol sequence (Owen 1998: evener than chance, best at powers of two) or at
        random, drawn from `sample_seed`.
      conditions: names along which settings are compared within, never across; None: those that
        make the world (conditions.py).

    Raises: ValueError or TypeError, in one line, for unknown names (with the close ones), names
    given twice, empty or repeated values, lists of unequal length.
    """
    grid, zipped, sample = dict(grid or {}), dict(zipped or {}), dict(sample or {})
    _check_names([*grid, *zipped, *sample])
    axes = [Axis(name, (name,), tuple((v,) for v in _values(name, grid[name]))) for name in grid]
    if zipped:
        lists = {name: _values(name, zipped[name], repeats=True) for name in zipped}
        lengths = {name: len(values) for name, values in lists.items()}
        if len(set(lengths.values())) > 1:
            given = ", ".join(f"{name} has {n}" for name, n in lengths.items())
            raise ValueError(f"zipped pairs lists of one length, and {given}; make them equal")
        axes.append(Axis("zip", tuple(lists), tuple(_transposed(lists.values()))))
    if num_samples and not sample:
        raise ValueError(f"num_samples={num_samples} of nothing; give the ranges to sample from")
    if sample:
        axes.append(_sampled(sample, num_samples, sampler, sample_seed))
    names = [name for axis in axes for name in axis.names]
    design = Design(tuple(axes), check_conditions(conditions, names))
    if design.size > MOST_RUNS:
        raise ValueError(
            f"{design.size} settings are out of range; accepted: at most {MOST_RUNS:,}"
        )
    return design


def _sampled(sample: dict[str, Range], number: int, sampler: str, seed: int) -> Axis:
    for name, given, least in (("num_samples", number, 1), ("sample_seed", seed, 0)):
        if not isinstance(given, int | np.integer) or isinstance(given, bool) or given < least:
            raise ValueError(
                f"{name}={given!r} is out of range; accepted with sample: an integer >= {least}"
            )
    if number > MOST_RUNS:
        raise ValueError(f"num_samples={number} is out of range; accepted: at most {MOST_RUNS:,}")
    for name, span in sample.items():
        if not isinstance(span, Range):
            raise TypeError(
                f"sample of {name} is {span!r}; accepted: Uniform(low, high), "
                f"LogUniform(low, high) or Choice(options)"
            )
        if not isinstance(span, Choice) and any(map(np.ndim, numbers_of(span))):
            raise TypeError(f"sample of {name} has arrays as its bounds; accepted: numbers")
    if sampler == "sobol":
        with warnings.catch_warnings():  # that the balance is best at powers of two, we say above
            warnings.simplefilter("ignore", UserWarning)
            unit = scipy.stats.qmc.Sobol(len(sample), rng=np.random.default_rng(seed)).random(
                number
            )
    elif sampler == "random":
        unit = np.random.default_rng(seed).random((number, len(sample)))
    else:
        raise ValueError(f"sampler={sampler!r} is unknown; choose one of: sobol, random")
    columns = [
        [one_form(name, span.at(float(u))) for u in column]
        for (name, span), column in zip(sample.items(), unit.T, strict=True)
    ]
    return Axis("sample", tuple(sample), tuple(_transposed(columns)))


def _transposed(columns: Any) -> list[tuple[Any, ...]]:
    return list(zip(*columns, strict=True))


def _check_names(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} varies twice (grid, zipped, sample); name it once")
        if name in ("seed", "seeds", "num_seeds"):
            raise ValueError(f"{name} is no axis: every setting runs the same num_seeds seeds")
        if isinstance(name, str) and name.startswith(ENV_PARAMS):
            continue  # `resolve` knows the environment, and checks these
        if name not in STATIC | TRACED:
            close = envs.suggest(str(name), sorted(STATIC | TRACED))
            raise ValueError(
                f"axis {name} is neither a hyperparameter nor a field of the config nor "
                f"{ENV_PARAMS}<field>; {close}"
            )


def one_form(name: str, value: Any) -> Any:
    """A value of an axis; an environment's name as configs have it."""
    return envs.canonical(value) if name == "env" else value


def _values(name: str, given: Any, repeats: bool = False) -> list[Any]:
    if not is_list(given):
        hint = "; a range goes with sample" if isinstance(given, Range) else ""
        raise TypeError(f"the values of {name} are {given!r}; accepted: a list of values{hint}")
    values = [one_form(name, plain_value(value)) for value in given]
    if not values:
        raise ValueError(f"axis {name} has no values; give at least one, or leave it out")
    if not repeats:
        _check_different(name, values)
    return values


def _check_different(name: str, values: list[Any]) -> None:
    """ValueError for values that are one number to the program."""
    computed = [_as_computed(name, value) for value in values]
    for i, value in enumerate(values):
        if computed[i] not in computed[:i]:
            continue
        if value in values[:i]:
            raise ValueError(f"axis {name} has {value!r} twice; name each value once")
        before = values[computed.index(computed[i])]
        raise ValueError(
            f"axis {name} has {before!r} and {value!r}, which are one number in float32; name "
            f"each value once"
        )


def _as_computed(name: str, value: Any) -> Any:
    """The number that the program has: float32, but for whole numbers that stay such."""
    if isinstance(value, tuple):
        return tuple(_as_computed(name, item) for item in value)
    if not isinstance(value, float) and (isinstance(value, bool) or name not in TRACED):
        return value
    if not isinstance(value, int | float) or (name.startswith(ENV_PARAMS) and _x64()):
        return value
    with np.errstate(over="ignore"):  # beyond float32: said elsewhere
        return float(np.float32(value))


def _x64() -> bool:
    """Whether the environment's parameters may be float64."""
    return jnp.result_type(float) == jnp.float64

"""The settings of a study: which names vary, over which values, in what combination.

A name is a field of `Hyperparams` (traced: no new compilation), a parameter of the environment
as `env_params.<field>` (traced as well), or a field of `VPGConfig` (static: one compilation per
value).  Names are combined as

    grid    the product of their values, one dimension of the result each;
    zip     value by value, one dimension (`zip`) for all of them;
    sample  points drawn from ranges, one dimension (`sample`) for all of them;

and these three with each other by product.  H is the number of settings.
"""

import dataclasses
import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.stats import qmc

from purejaxvpg import envs
from purejaxvpg.config import Hyperparams, VPGConfig

Sampler = Literal["sobol", "random"]

STATIC = {f.name for f in dataclasses.fields(VPGConfig)} - {"env_kwargs"}
TRACED = {f.name for f in dataclasses.fields(Hyperparams)} - {"env_params"}
ENV_PARAMS = "env_params."


# ------------------------------------------------------------------------------------- RANGES


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Evenly between `low` and `high`."""

    low: float
    high: float

    def __post_init__(self):
        _check_range(self)

    def at(self, fraction: float) -> float:
        """The value below which this fraction, in [0, 1], lies."""
        return float(self.low + (self.high - self.low) * fraction)


@dataclasses.dataclass(frozen=True)
class LogUniform:
    """Evenly between `low` and `high` on a logarithmic scale."""

    low: float
    high: float

    def __post_init__(self):
        _check_range(self)
        if self.low <= 0:
            raise ValueError(f"{self} has no logarithm at its low end; accepted: low > 0")

    def at(self, fraction: float) -> float:
        """The value below which this fraction, in [0, 1], lies."""
        low, high = math.log(self.low), math.log(self.high)
        return min(max(math.exp(low + (high - low) * fraction), self.low), self.high)


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of these, all alike."""

    options: tuple[Any, ...]

    def __post_init__(self):
        object.__setattr__(self, "options", tuple(self.options))
        if not self.options:
            raise ValueError("Choice() has nothing to choose from; give at least one option")

    def at(self, fraction: float) -> Any:
        """The option at this fraction, in [0, 1], of the list."""
        return self.options[min(int(fraction * len(self.options)), len(self.options) - 1)]


Range = Uniform | LogUniform | Choice


def _check_range(span: Any) -> None:
    ends = (span.low, span.high)
    numbers = all(isinstance(x, int | float) and math.isfinite(x) for x in ends)
    if not (numbers and span.low < span.high):
        raise ValueError(f"{span} is no range; accepted: finite numbers, low < high")


# ------------------------------------------------------------------------------------- DESIGN


class Axis(NamedTuple):
    """One dimension of a study's result."""

    dim: str  # its name: that of the field, or "zip", or "sample"
    names: tuple[str, ...]  # what varies along it
    points: tuple[tuple[Any, ...], ...]  # [length][len(names)], the values


class Design(NamedTuple):
    """The settings of a study: the product of its axes, the last one fastest."""

    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return tuple(len(axis.points) for axis in self.axes)

    @property
    def names(self) -> tuple[str, ...]:
        """All that varies."""
        return tuple(name for axis in self.axes for name in axis.names)

    def settings(self) -> list[dict[str, Any]]:
        """Each setting as name -> value.  [H]"""
        combined = itertools.product(*[axis.points for axis in self.axes])
        values = [itertools.chain.from_iterable(points) for points in combined]
        return [dict(zip(self.names, row, strict=True)) for row in values]


def make_design(
    grid: Mapping[str, Sequence[Any]] | None = None,
    zip: Mapping[str, Sequence[Any]] | None = None,
    sample: Mapping[str, Range] | None = None,
    num_samples: int = 0,
    sampler: Sampler = "sobol",
    sample_seed: int = 0,
) -> Design:
    """Combine axes into a design.

    Args:
      grid: name -> values; every combination.
      zip: name -> values, all of one length; the first with the first, and so on.
      sample: name -> Uniform, LogUniform or Choice; `num_samples` points of their space, by a
        scrambled Sobol sequence (Owen 1998: evener than chance, best at powers of two) or at
        random, drawn from `sample_seed`.

    Raises: ValueError or TypeError, in one line, for unknown names (with the close ones), names
    given twice, empty or repeated values, lists of unequal length.
    """
    grid, zip, sample = dict(grid or {}), dict(zip or {}), dict(sample or {})
    _check_names([*grid, *zip, *sample])
    axes = [Axis(name, (name,), tuple((v,) for v in _values(name, grid[name]))) for name in grid]
    if zip:
        lists = {name: _values(name, zip[name], repeats=True) for name in zip}
        lengths = {name: len(values) for name, values in lists.items()}
        if len(set(lengths.values())) > 1:
            given = ", ".join(f"{name} has {n}" for name, n in lengths.items())
            raise ValueError(f"zip pairs lists of one length, and {given}; make them equal")
        axes.append(Axis("zip", tuple(lists), tuple(_transposed(lists.values()))))
    if sample:
        axes.append(_sampled(sample, num_samples, sampler, sample_seed))
    return Design(tuple(axes))


def _sampled(sample: dict[str, Range], number: int, sampler: str, seed: int) -> Axis:
    if number < 1:
        raise ValueError(f"num_samples={number} is out of range; accepted: an integer >= 1")
    for name, span in sample.items():
        if not isinstance(span, Range):
            raise TypeError(
                f"sample of {name} is {span!r}; accepted: Uniform(low, high), "
                f"LogUniform(low, high) or Choice(options)"
            )
    if sampler == "sobol":
        with warnings.catch_warnings():  # that the balance is best at powers of two, we say above
            warnings.simplefilter("ignore", UserWarning)
            unit = qmc.Sobol(len(sample), rng=np.random.default_rng(seed)).random(number)
    elif sampler == "random":
        unit = np.random.default_rng(seed).random((number, len(sample)))
    else:
        raise ValueError(f"sampler={sampler!r} is unknown; choose one of: sobol, random")
    columns = [
        [span.at(float(u)) for u in column]
        for span, column in _pairs(sample.values(), unit.T, strict=True)
    ]
    return Axis("sample", tuple(sample), tuple(_transposed(columns)))


_pairs = zip  # `zip` is an argument's name here, as users say it


def _transposed(columns: Any) -> list[tuple[Any, ...]]:
    return list(_pairs(*columns, strict=True))


def _check_names(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} varies twice (grid, zip, sample); name it once")
        if name in ("seed", "seeds", "num_seeds"):
            raise ValueError(f"{name} is no axis: every setting runs the same num_seeds seeds")
        if isinstance(name, str) and name.startswith(ENV_PARAMS):
            continue  # held against the environment in `resolve`, which knows it
        if name not in STATIC | TRACED:
            close = envs.suggest(str(name), sorted(STATIC | TRACED))
            raise ValueError(
                f"axis {name} is neither a hyperparameter nor a field of the config nor "
                f"{ENV_PARAMS}<field>; {close}"
            )


def _values(name: str, given: Any, repeats: bool = False) -> list[Any]:
    if isinstance(given, str | bytes | Mapping) or not hasattr(given, "__iter__"):
        raise TypeError(f"the values of {name} are {given!r}; accepted: a list of values")
    values = [value.item() if isinstance(value, np.generic) else value for value in given]
    values = [tuple(value) if isinstance(value, list) else value for value in values]
    if not values:
        raise ValueError(f"axis {name} has no values; give at least one, or leave it out")
    twice = [value for i, value in enumerate(values) if value in values[:i]]
    if twice and not repeats:
        raise ValueError(f"axis {name} has {twice[0]!r} twice; name each value once")
    return values


# ------------------------------------------------------------------------------------- GROUPS


class Group(NamedTuple):
    """Settings that differ in traced names alone, and so share one compiled program."""

    config: VPGConfig
    settings: tuple[int, ...]  # places in the design, ascending
    hyperparams: tuple[Hyperparams, ...]  # of each of them, concrete scalars


def resolve(design: Design, config: VPGConfig, hp: Hyperparams) -> list[Group]:
    """What every setting means: the base with its values put in, by compiled program.

    Raises: ValueError or TypeError, one line that names the setting, for a value that the
    field, or the environment, does not accept.
    """
    groups: dict[VPGConfig, list[tuple[int, Hyperparams]]] = {}
    for place, setting in enumerate(design.settings()):
        try:
            own_config, own_hp = _apply(setting, config, hp)
        except (ValueError, TypeError) as error:
            said = ", ".join(f"{name}={value!r}" for name, value in setting.items())
            raise type(error)(f"setting {said or '(base)'}: {error}") from None
        groups.setdefault(own_config, []).append((place, own_hp))
    return [
        Group(config, *(tuple(column) for column in _pairs(*members, strict=True)))
        for config, members in groups.items()
    ]


def _apply(
    setting: dict[str, Any], config: VPGConfig, hp: Hyperparams
) -> tuple[VPGConfig, Hyperparams]:
    static = {name: value for name, value in setting.items() if name in STATIC}
    traced = {name: value for name, value in setting.items() if name in TRACED}
    for name, value in traced.items():
        if np.shape(value) != () or isinstance(value, bool | str):
            raise TypeError(f"{name}={value!r} is not a number; an axis holds one number a point")
    in_env = {
        name.removeprefix(ENV_PARAMS): value
        for name, value in setting.items()
        if name.startswith(ENV_PARAMS)
    }
    config = dataclasses.replace(config, **static)
    env_params = hp.env_params
    if in_env:
        Hyperparams(env_params=in_env)  # are they numbers?
        env = envs.make(config.env, **dict(config.env_kwargs))
        if env_params is None or isinstance(env_params, Mapping):
            env_params = {**(env_params or {}), **in_env}
            envs.resolve_params(env, env_params)  # known names, right shapes?
        else:  # a whole parameter object: put the values into it
            env_params = envs.resolve_params(env._replace(default_params=env_params), in_env)
    return config, dataclasses.replace(hp, **traced, env_params=env_params)

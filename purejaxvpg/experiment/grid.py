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
from collections.abc import Set as AnySet
from numbers import Real
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import scipy  # not scipy.stats: it takes half a second, and is imported when it is used

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
        value = self.low * (1 - fraction) + self.high * fraction  # high - low may overflow
        return float(min(max(value, self.low), self.high))


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
        if fraction in (0, 1):  # exp(log(x)) is x but for rounding
            return float(self.high if fraction else self.low)
        low, high = math.log(self.low), math.log(self.high)
        return float(min(max(math.exp(low + (high - low) * fraction), self.low), self.high))


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of these, all alike."""

    options: tuple[Any, ...]

    def __post_init__(self):
        if isinstance(self.options, str) or not _is_list(self.options):
            raise TypeError(f"Choice({self.options!r}) has no list of options; pass one")
        object.__setattr__(self, "options", tuple(_plain(option) for option in self.options))
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
    if num_samples and not sample:
        raise ValueError(f"num_samples={num_samples} of nothing; give the ranges to sample from")
    if sample:
        axes.append(_sampled(sample, num_samples, sampler, sample_seed))
    return Design(tuple(axes))


def _sampled(sample: dict[str, Range], number: int, sampler: str, seed: int) -> Axis:
    for name, given, least in (("num_samples", number, 1), ("sample_seed", seed, 0)):
        if not isinstance(given, int | np.integer) or isinstance(given, bool) or given < least:
            raise ValueError(
                f"{name}={given!r} is out of range; accepted with sample: an integer >= {least}"
            )
    for name, span in sample.items():
        if not isinstance(span, Range):
            raise TypeError(
                f"sample of {name} is {span!r}; accepted: Uniform(low, high), "
                f"LogUniform(low, high) or Choice(options)"
            )
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
    if not _is_list(given):
        hint = "; a range goes with sample" if isinstance(given, Range) else ""
        raise TypeError(f"the values of {name} are {given!r}; accepted: a list of values{hint}")
    values = [_plain(value) for value in given]
    if not values:
        raise ValueError(f"axis {name} has no values; give at least one, or leave it out")
    twice = [value for i, value in enumerate(values) if value in values[:i]]
    if twice and not repeats:
        raise ValueError(f"axis {name} has {twice[0]!r} twice; name each value once")
    return values


def _is_list(given: Any) -> bool:
    unordered = isinstance(given, str | bytes | Mapping | AnySet)  # or no list of its letters
    return hasattr(given, "__iter__") and not unordered and getattr(given, "ndim", 1) > 0


def _plain(value: Any) -> Any:
    """Numbers of numpy and jax as Python's, lists and arrays as tuples."""
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


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
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"setting {said or '(base)'}: {error}") from None
        groups.setdefault(own_config, []).append((place, own_hp))
    return [
        Group(config, *(tuple(column) for column in _pairs(*members, strict=True)))
        for config, members in groups.items()
    ]


def configs(design: Design, config: VPGConfig) -> list[VPGConfig]:
    """The config of each setting, [H].  Makes no environment, so any study can be read anywhere."""
    if not STATIC & set(design.names):
        return [config] * math.prod(design.shape)
    return [_with_static(setting, config) for setting in design.settings()]


def _with_static(setting: dict[str, Any], config: VPGConfig) -> VPGConfig:
    static = {name: value for name, value in setting.items() if name in STATIC}
    return dataclasses.replace(config, **static)


def _apply(
    setting: dict[str, Any], config: VPGConfig, hp: Hyperparams
) -> tuple[VPGConfig, Hyperparams]:
    traced = {name: value for name, value in setting.items() if name in TRACED}
    for name, value in traced.items():
        if isinstance(value, bool | str | tuple):
            raise TypeError(f"{name}={value!r} is not a number; an axis holds one number a point")
    in_env = {
        name.removeprefix(ENV_PARAMS): np.asarray(value) if isinstance(value, tuple) else value
        for name, value in setting.items()
        if name.startswith(ENV_PARAMS)
    }
    config, hp = _with_static(setting, config), dataclasses.replace(hp, **traced)
    if in_env or "env" in setting or hp.env_params is not None:
        hp = dataclasses.replace(hp, env_params=_env_params(in_env, config, hp.env_params))
    return config, hp


def _env_params(in_env: dict[str, Any], config: VPGConfig, base: Any) -> Any:
    """The environment's parameters of a setting, in the form of `base`; all checked."""
    Hyperparams(env_params=in_env)  # are they numbers?
    env = envs.make(config.env, **dict(config.env_kwargs))
    defaults = env.default_params
    if base is not None and not isinstance(base, Mapping):  # a whole parameter object
        if envs.param_names(base) != envs.param_names(defaults):
            raise TypeError(
                f"env_params is a parameter object of another environment than {env.name}; pass a "
                f"mapping of the parameters that differ from the defaults"
            )
        return envs.resolve_params(env._replace(default_params=base), in_env) if in_env else base
    found = {**(base or {}), **in_env}
    envs.resolve_params(env, found)  # known names, right shapes?
    for name, value in found.items():
        whole = np.asarray(envs.get_param(defaults, name)).dtype.kind in "iu"
        if whole and not (np.isfinite(value).all() and np.equal(np.floor(value), value).all()):
            raise ValueError(f"env_params.{name}={value} is not whole, and that of {env.name} is")
    return found or None

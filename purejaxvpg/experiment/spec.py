"""The identity of a study: its settings and seeds, and the marks that tie files to it."""

import dataclasses
import itertools
import json
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment.conditions import check_conditions
from purejaxvpg.experiment.design import Axis, Design
from purejaxvpg.experiment.display import cut
from purejaxvpg.experiment.files import digest
from purejaxvpg.experiment.pruning import SuccessiveHalving, pruning_from_json, pruning_to_json
from purejaxvpg.experiment.runs import RunIndex
from purejaxvpg.fields import short
from purejaxvpg.ranges import Range, as_typed
from purejaxvpg.serialize import (
    config_from_json,
    config_to_json,
    hyperparams_from_json,
    lists_to_tuples,
    plain,
    with_ranges,
)
from purejaxvpg.user_code import note_read

FORMAT = 3  # of study.json and run.json
LONGER = 4  # of a study that was made longer; what reads 3 alone would not know its files


class Spec(NamedTuple):
    """The identity of a study."""

    config: VPGConfig  # of the base setting
    hyperparams: Hyperparams  # of the base setting
    design: Design
    seeds: np.ndarray  # [S]
    pruning: SuccessiveHalving | None = None
    lengths: tuple[int, ...] = ()  # total_steps before it was made longer, each time

    @property
    def index(self) -> RunIndex:
        """The runs by number."""
        return RunIndex(self.design.size, len(self.seeds))

    @property
    def face(self) -> str:
        """Name of the file that describes it: a single setting is a run."""
        return "study.json" if self.design.axes else "run.json"

    def bounds(self, config: VPGConfig) -> tuple[int, ...]:
        """Updates between which the rungs of a setting lie: 0, ..., U.

        Without pruning there is one rung; of a study that was made longer, one for each length.
        """
        if self.pruning is not None:
            return self.pruning.bounds(config.num_updates, config.eval_every)
        before = [steps // config.steps_per_update for steps in self.lengths]
        return (0, *before, config.num_updates)

    def config_until(self, end: int, config: VPGConfig) -> VPGConfig:
        """The config of the updates before `end`, one of `bounds`: of a study that was made longer,
        that of a run of this length, whose schedules they follow."""
        if not self.lengths:
            return config
        return dataclasses.replace(config, total_steps=end * config.steps_per_update)

    def config_at(self, update: int, config: VPGConfig) -> VPGConfig:
        """The config that a setting's update number `update`, from 0, is made under."""
        bounds = self.bounds(config)
        return self.config_until(next((e for e in bounds if e > update), bounds[-1]), config)

    def compared(self) -> list[np.ndarray]:
        """Places of the settings that pruning compares with each other, a list a condition."""
        if self.pruning and self.pruning.across:
            return [np.arange(self.design.size)]
        return [condition.settings for condition in self.design.by_condition()]

    def numbers(self) -> list[int]:
        """Settings that run in each rung of a pruned study."""
        assert self.pruning is not None
        each = [self.pruning.numbers(len(places)) for places in self.compared()]
        return [sum(numbers) for numbers in zip(*each, strict=True)]

    def to_json(self) -> dict[str, Any]:
        """The study as its folder describes it.  Raises: TypeError as `config_to_json`."""
        fields = {
            "format": LONGER if self.lengths else FORMAT,
            "config": config_to_json(self.config),
            "hyperparams": plain(self.hyperparams),
            "axes": [[axis.dim, list(axis.names), plain(axis.points)] for axis in self.design.axes],
            "seeds": self.seeds.tolist(),
            "prune": pruning_to_json(self.pruning),
            **({"lengths": list(self.lengths)} if self.lengths else {}),
            "conditions": list(self.design.conditions),
        }
        try:
            json.dumps(fields)
        except TypeError:
            raise TypeError(
                "an axis holds values that cannot be written to a folder; give them by name"
            ) from None
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Spec":
        """The study that `to_json` wrote.  Raises: KeyError, TypeError or ValueError.

        Earlier versions wrote no conditions, and pruned across them.
        """
        axes = tuple(Axis(d, tuple(n), _points(p)) for d, n, p in fields["axes"])
        names = [name for axis in axes for name in axis.names]
        for axis in axes:
            for point in axis.points if "env" in axis.names else ():
                note_read(point[axis.names.index("env")])
        conditions = check_conditions(fields.get("conditions"), names)
        pruning = pruning_from_json(fields["prune"])
        if pruning and "conditions" not in fields:
            pruning = pruning._replace(across=True)
        return cls(
            config_from_json(fields["config"]),
            hyperparams_from_json(fields["hyperparams"]),
            Design(axes, conditions),
            np.asarray(fields["seeds"]),
            pruning,
            tuple(fields.get("lengths", ())),
        )


def _points(points: list[list[Any]]) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(lists_to_tuples(with_ranges(value)) for value in p) for p in points)


class Fingerprint:
    """Ties a result file to its study and to the settings of its runs.

    The other settings are left out: a search grows by settings, and keeps its files.

    Args: identity: the study as its folder describes it, literally.
    """

    def __init__(self, identity: dict[str, Any]):
        whole = {name: identity[name] for name in ("config", "hyperparams", "seeds", "prune")}
        if lengths := identity.get("lengths"):  # its files are those that it was begun with
            whole["config"] = {**whole["config"], "total_steps": lengths[0]}
        whole["axes"] = [[dim, names] for dim, names, _ in identity["axes"]]
        self._study = digest(whole)
        self._points = list(itertools.product(*[points for _, _, points in identity["axes"]]))
        self._num_seeds = len(identity["seeds"])

    def __call__(self, runs: np.ndarray) -> str:
        """The mark of a file that holds these runs."""
        settings = np.unique(np.asarray(runs) // self._num_seeds).tolist()
        return digest([self._study, [self._points[h : h + 1] for h in settings]])


def differences(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Names of the parts in which two studies differ, joined by "and"; "" if they are the same."""
    names = ("config", "hyperparams", "axes", "seeds", "prune", "lengths", "conditions")
    pairs = {name: (one.get(name), other.get(name)) for name in names}
    return " and ".join(name for name, (x, y) in pairs.items() if digest(x) != digest(y))


def named_differences(one: dict[str, Any], other: dict[str, Any]) -> str:
    """The fields in which two studies differ, with the values of both; "" if they are the same."""
    pairs = {}
    for part in ("config", "hyperparams"):
        names = dict.fromkeys([*one[part], *other[part]])
        pairs |= {name: (one[part].get(name), other[part].get(name)) for name in names}
    typed = {"axes": _axes_as_typed, "prune": _prune_as_typed, "conditions": _names_as_typed}
    pairs |= {name: (one[name], other[name]) for name in typed}
    typed["env_params"] = _params_as_typed
    pairs["num_seeds"] = (len(one["seeds"]), len(other["seeds"]))
    pairs["seed"] = (one["seeds"][0], other["seeds"][0])
    return "; ".join(
        f"{name} is {typed.get(name, short)(x)} there, and {typed.get(name, short)(y)} is given"
        for name, (x, y) in pairs.items()
        if digest(x) != digest(y)
    )


# Parts of a study, as its folder describes them, in the words of a command line.


def _axes_as_typed(axes: list[Any]) -> str:
    words, flag = [], ""
    for dim, names, points in axes:
        before, flag = (
            flag,
            "--grid" if dim in names else "--zipped" if dim == "zip" else "--sample",
        )
        words += [flag] * (flag != before)
        if flag == "--sample":  # the ranges that they were drawn from are not kept
            words.append(f"({len(points)} points of {', '.join(names)})")
        else:
            words += [f"{name}={_values(points, i)}" for i, name in enumerate(names)]
    return cut(" ".join(words)) or "none"


def _values(points: list[Any], column: int) -> str:
    values = [with_ranges(point[column]) for point in points]
    values = [as_typed(x) if isinstance(x, Range) else x for x in values]
    return ",".join(f"({','.join(map(str, x))})" if isinstance(x, list) else str(x) for x in values)


def _params_as_typed(params: dict[str, Any] | None) -> str:
    given = {name: with_ranges(value) for name, value in (params or {}).items()}
    ranged = {name: as_typed(x) for name, x in given.items() if isinstance(x, Range)}
    return short({**given, **ranged}) if ranged else short(params)


def _prune_as_typed(prune: dict[str, Any] | None) -> str:
    if not prune:
        return "none"
    return f"{prune['method']} --rungs {prune['rungs']} --keep {prune['keep']:.6g}"


def _names_as_typed(names: list[str] | None) -> str:
    return " ".join(names or ()) or "none"

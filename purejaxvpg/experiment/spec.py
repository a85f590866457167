"""The identity of a study: its settings and seeds, and the marks that tie files to it."""

import itertools
import json
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.experiment.conditions import check_conditions
from purejaxvpg.experiment.design import Axis, Design
from purejaxvpg.experiment.files import digest
from purejaxvpg.experiment.pruning import SuccessiveHalving, pruning_from_json, pruning_to_json
from purejaxvpg.experiment.runs import RunIndex
from purejaxvpg.serialize import (
    config_from_json,
    config_to_json,
    hyperparams_from_json,
    lists_to_tuples,
    plain,
)

FORMAT = 3  # of study.json and run.json


class Spec(NamedTuple):
    """The identity of a study."""

    config: VPGConfig  # of the base setting
    hyperparams: Hyperparams  # of the base setting
    design: Design
    seeds: np.ndarray  # [S]
    pruning: SuccessiveHalving | None = None

    @property
    def index(self) -> RunIndex:
        """The runs by number."""
        return RunIndex(self.design.size, len(self.seeds))

    @property
    def face(self) -> str:
        """Name of the file that describes it: a single setting is a run."""
        return "study.json" if self.design.axes else "run.json"

    def compared(self) -> list[np.ndarray]:
        """Places of the settings that pruning compares with each other, a list a condition."""
        if self.pruning and self.pruning.across:
            return [np.arange(self.design.size)]
        return [condition.settings for condition in self.design.by_condition()]

    def to_json(self) -> dict[str, Any]:
        """The study as its folder describes it.  Raises: TypeError as `config_to_json`."""
        fields = {
            "format": FORMAT,
            "config": config_to_json(self.config),
            "hyperparams": plain(self.hyperparams),
            "axes": [[axis.dim, list(axis.names), plain(axis.points)] for axis in self.design.axes],
            "seeds": self.seeds.tolist(),
            "prune": pruning_to_json(self.pruning),
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
        axes = tuple(Axis(d, tuple(n), lists_to_tuples(p)) for d, n, p in fields["axes"])
        names = [name for axis in axes for name in axis.names]
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
        )


class Fingerprint:
    """Ties a result file to its study and to the settings of its runs.

    The other settings are left out: a search grows by settings, and keeps its files.

    Args: identity: the study as its folder describes it, literally.
    """

    def __init__(self, identity: dict[str, Any]):
        whole = {name: identity[name] for name in ("config", "hyperparams", "seeds", "prune")}
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
    names = ("config", "hyperparams", "axes", "seeds", "prune", "conditions")
    return " and ".join(name for name in names if digest(one[name]) != digest(other[name]))

"""Conditions: names along which results are compared within, never across.

Scores of two worlds have two scales, and the highest of all is that of the easiest world.  So the
names that make the world (`WORLD`) are conditions, unless a study declares others.  Settings with
the same values of all conditions are compared with each other: ranked, pruned, the best chosen.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from purejaxvpg.by_name import suggest

WORLD = ("env", "max_episode_steps")  # and every env_params.<field>


class Condition(NamedTuple):
    """One combination of values of a study's conditions, and the settings that have it."""

    values: dict[str, Any]  # name -> value; {} where a study has no conditions
    settings: np.ndarray  # [K] places in the design, ascending


def default_conditions(names: Iterable[str]) -> tuple[str, ...]:
    """The names that make the world."""
    return tuple(name for name in names if name in WORLD or name.startswith("env_params."))


def check_conditions(conditions: Any, names: list[str]) -> tuple[str, ...]:
    """Conditions as declared, in the order of the names; None: the names that make the world.

    Raises: TypeError or ValueError, in one line, for names that do not vary.
    """
    if conditions is None:
        return default_conditions(names)
    if isinstance(conditions, str) or not isinstance(conditions, Iterable):
        raise TypeError(
            f"conditions={conditions!r}; accepted: a list of names that vary, [] for none, or None"
        )
    declared = list(conditions)
    for name in declared:
        if name not in names:
            varying = suggest(str(name), names) if names else "nothing varies"
            raise ValueError(f"condition {name} does not vary in this study; {varying}")
        if declared.count(name) > 1:
            raise ValueError(f"condition {name} is named twice; name it once")
    return tuple(name for name in names if name in declared)


def grouped(settings: Sequence[dict[str, Any]], names: Sequence[str]) -> list[Condition]:
    """Settings by their values of these names, in the order of their first ones."""
    places: dict[tuple[str, ...], list[int]] = {}
    for place, setting in enumerate(settings):
        key = tuple(repr(setting[name]) for name in names)  # 1, 1.0 and True are three values
        places.setdefault(key, []).append(place)
    return [
        Condition({name: settings[rows[0]][name] for name in names}, np.asarray(rows))
        for rows in places.values()
    ]

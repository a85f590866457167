"""Descriptions with a right sum that cannot be: a study.json from somebody else, or by hand."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.fields import short
from purejaxvpg.ranges import Range
from purejaxvpg.serialize import with_ranges

LARGEST_SEED = 2**32 - 1


def check_well_made(fields: Mapping[str, Any]) -> None:
    """ValueError, in one line, if a description lacks a part or has one of another type.  The
    config, the hyperparameters and the pruning are checked where they are made."""
    for name, kind in (("config", dict), ("hyperparams", dict), ("axes", list), ("seeds", list)):
        if not isinstance(fields.get(name), kind):
            raise ValueError(f"its {name} are {_shown(fields.get(name))}, and no {kind.__name__}")
    seeds = fields["seeds"]
    if not seeds or not all(_is_number(s, int) and 0 <= s <= LARGEST_SEED for s in seeds):
        raise ValueError(f"its seeds are {_shown(seeds)}; accepted: integers, 0 to {LARGEST_SEED}")
    for axis in fields["axes"]:
        _check_axis(axis)
    lengths, total = fields.get("lengths", []), fields["config"].get("total_steps")
    if not _is_list_of(lengths, int) or (lengths and not _ascends([0, *lengths, total])):
        raise ValueError(f"its lengths are {_shown(lengths)}; accepted: ascending, to total_steps")
    if not isinstance(record := fields.get("record", {}), dict):
        raise ValueError(f"its record is {_shown(record)}, and no dict")
    for field in dataclasses.fields(StudyRecord):
        if field.name in record and not _fits(record[field.name], field):
            given = _shown(record[field.name])
            kind = getattr(field.type, "__name__", field.type)
            raise ValueError(f"its record has {field.name}={given}; accepted: {kind}")
    if any(width < 0 for width in record.get("program_widths") or ()):
        raise ValueError(f"its record has program_widths={_shown(record['program_widths'])}")


def _check_axis(axis: Any) -> None:
    if not isinstance(axis, list) or len(axis) != 3:
        raise ValueError(f"an axis is {_shown(axis)}; accepted: [name, names, points]")
    dim, names, points = axis
    if not isinstance(dim, str) or not _is_list_of(names, str) or not names:
        raise ValueError(f"an axis has the names {_shown([dim, names])}; accepted: strings")
    if (
        not points
        or not _is_list_of(points, list)
        or any(len(point) != len(names) or not all(map(_is_value, point)) for point in points)
    ):
        raise ValueError(
            f"the axis {dim} has no points, or such that are no values of {', '.join(names)}"
        )


def _ascends(numbers: list[Any]) -> bool:
    pairs = itertools.pairwise(numbers)
    return all(_is_number(x, int) for x in numbers) and all(a < b for a, b in pairs)


def _is_value(value: Any) -> bool:
    """Whether an axis may have it: a number, a text, a truth value, None, a list of them or a
    range."""
    if isinstance(value, dict):
        return isinstance(with_ranges(value), Range)
    if isinstance(value, list):
        return all(map(_is_value, value))
    return value is None or isinstance(value, str | int | float)


def _fits(value: Any, field: dataclasses.Field) -> bool:
    """Whether a value is of the type of a record's field, as its default has it."""
    default = getattr(StudyRecord(), field.name)
    if default is None:
        kind = str(field.type)
        fits = _is_list_of(value, int) if "Sequence" in kind else isinstance(value, dict)
        return value is None or (isinstance(value, bool) if "bool" in kind else fits)
    if isinstance(default, list | tuple):
        return _is_list_of(value, int)
    if isinstance(default, bool | str | dict):
        return isinstance(value, type(default))
    return _is_number(value, int) or (isinstance(default, float) and _is_number(value, float))


def _is_number(value: Any, kind: type) -> bool:
    if not isinstance(value, kind) or isinstance(value, bool):
        return False
    return isinstance(value, float) or abs(value) < 2**63


def _is_list_of(value: Any, kind: type) -> bool:
    if kind is int:
        return isinstance(value, list) and all(_is_number(x, int) for x in value)
    return isinstance(value, list) and all(isinstance(x, kind) for x in value)


def _shown(value: Any) -> str:
    return short(value, 60)

"""Names of settings and of their values, as text."""

from collections.abc import Mapping
from typing import Any

from purejaxvpg.envs import ranges_of, shown
from purejaxvpg.ranges import Range
from purejaxvpg.user_code import split_file

BASE = "base setting"


def value_labels(values: list[Any]) -> list[str]:
    """Each value as text, shortened unless two different values would then look the same; an
    environment of a file without its folder."""
    short = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in values]
    short = [shown(v) if split_file(v) else text for v, text in zip(values, short, strict=True)]
    if len(set(short)) < len({repr(v) for v in values}):
        return [v if isinstance(v, str) else repr(v) for v in values]
    return short


def setting_texts(settings: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Each setting as name -> text of its value.  [H]"""
    names = settings[0] if settings else {}
    columns = {name: value_labels([setting[name] for setting in settings]) for name in names}
    return [{name: columns[name][h] for name in names} for h in range(len(settings))]


def setting_labels(settings: list[dict[str, Any]]) -> list[str]:
    """Each setting as a line of text; BASE where nothing varies.  [H]"""
    texts = setting_texts(settings)
    return [
        ", ".join(f"{n}{_sign(setting[n])}{v}" for n, v in row.items()) or BASE
        for setting, row in zip(settings, texts, strict=True)
    ]


def drawn_label(study: Any) -> str:
    """Parameters that the base setting of a study draws at each reset, as text; "" for none."""
    ranges = ranges_of(study.hyperparams.env_params)
    ranges = {n: span for n, span in ranges.items() if f"env_params.{n}" not in study.design.names}
    return range_labels(ranges)


def range_labels(ranges: Mapping[str, Range]) -> str:
    """Ranges of parameters, as text: `gravity ~ uniform(8, 12)`."""
    return ", ".join(f"{name} ~ {span}" for name, span in ranges.items())


def _sign(value: Any) -> str:
    return " ~ " if isinstance(value, Range) else "="

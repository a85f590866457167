"""Text of entries (entries.py): their worlds, and labels that tell them apart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from purejaxvpg.envs import canonical, flat_params, shown
from purejaxvpg.experiment.conditions import default_conditions
from purejaxvpg.experiment.display import cut
from purejaxvpg.experiment.study import Study
from purejaxvpg.report.labels import setting_labels
from purejaxvpg.serialize import plain

DIFFERENCES = 3  # names in a label, at most


def world_text(study: Study, place: int) -> str:
    """The condition of a setting as text: the environment, then all that differs from its own."""
    config, hp = study.setting(place)
    parts: dict[str, Any] = {"env": canonical(config.env)}
    parts |= {f"env_kwargs.{n}": v for n, v in dict(config.env_kwargs).items()}
    if config.max_episode_steps is not None:
        parts["max_episode_steps"] = config.max_episode_steps
    parts |= {f"env_params.{n}": v for n, v in flat_params(hp.env_params).items()}
    compared = set(study.design.names) - set(study.design.conditions)  # declared to be one world
    parts = {n: v for n, v in parts.items() if n not in compared}
    parts |= {n: study.design.settings()[place][n] for n in study.design.conditions}
    env = shown(parts.pop("env")) if "env" in parts else "all environments"
    rest = {n.removeprefix("env_params.").removeprefix("env_kwargs."): v for n, v in parts.items()}
    return ", ".join([env, *([setting_labels([rest])[0]] if rest else [])])


def fields_of(study: Study, group: dict[str, Any]) -> dict[str, Any]:
    """Names and values that tell an entry from others: those of its group, and all that is the same
    for the whole study; not what makes the world."""
    fields = {**vars(study.config), **vars(study.hyperparams)}
    world = {"env_kwargs", "env_params", *default_conditions(fields)}
    return {n: x for n, x in fields.items() if n not in world | set(study.design.names)} | group


def labelled(entries: list[Any], labels: Sequence[str] | None = None) -> list[Any]:
    """The entries with labels: those given, or made of what differs, or the names of the folders.

    Raises: ValueError for another number of labels than there are entries, or equal ones.
    """
    keys = [(entry.source, repr(entry.group)) for entry in entries]
    unique = [entries[keys.index(key)] for key in dict.fromkeys(keys)]
    texts = list(labels) if labels else _by_difference(unique) or _by_name(unique)
    if len(texts) != len(unique) or len(set(texts)) < len(texts):
        there = cut(", ".join(_by_name(unique)))
        raise ValueError(
            f"labels {', '.join(map(repr, texts))} are {len(texts)} for {len(unique)} entries "
            f"({there}); give each its own"
        )
    by_key = dict(zip(dict.fromkeys(keys), texts, strict=True))
    return [e._replace(label=by_key[key]) for e, key in zip(entries, keys, strict=True)]


def _by_difference(entries: list[Any]) -> list[str]:
    """Labels of the few names whose values differ; [] if those tell not all entries apart."""
    common = [n for n in entries[0].fields if all(n in entry.fields for entry in entries)]
    differing = [n for n in common if len({repr(plain(e.fields[n])) for e in entries}) > 1]
    if not 0 < len(differing) <= max(DIFFERENCES, *[len(e.group) for e in entries]):
        return []
    texts = setting_labels([{n: e.fields[n] for n in differing} for e in entries])
    return texts if len(set(texts)) == len(texts) else []


def _by_name(entries: list[Any]) -> list[str]:
    """Names of the folders, whole where their last parts are alike, with the group's values."""
    short = {e.source: Path(e.name).name or e.name for e in entries}
    alike = len(set(short.values())) < len(short)
    names = [e.name if alike else short[e.source] for e in entries]
    groups = [setting_labels([e.group])[0] if e.group else "" for e in entries]
    texts = [", ".join(filter(None, pair)) for pair in zip(names, groups, strict=True)]
    twice = len(set(texts)) < len(texts)  # a folder that was given twice
    return [f"{i}: {text}" for i, text in enumerate(texts, 1)] if twice else texts

"""envs: the environments there are, and one of them described.  Listing imports no suite."""

from typing import Any

import numpy as np
from rich.table import Table

from purejaxvpg import envs, presets
from purejaxvpg.by_name import did_you_mean
from purejaxvpg.cli.terminal import say, show, user_errors
from purejaxvpg.config import VPGConfig
from purejaxvpg.envs import pictures, suites
from purejaxvpg.envs.spaces import ENDLESS, kind_of, spaces_by_name
from purejaxvpg.experiment.stacking import traceable
from purejaxvpg.fields import first_line
from purejaxvpg.serialize import plain


def show_envs(args: Any) -> None:
    """List all environments, those of a suite, or describe one."""
    with user_errors():
        name = envs.canonical(args.name)
        if name in ("", "gymnax"):
            _list_gymnax()
        if not name:
            _list_suites()
        elif name in suites.SUITES:
            _list_suite(name)
        elif name != "gymnax":
            _describe(name)


def _list_gymnax() -> None:
    table = Table()
    for heading in ("environment", "observation", "action", "time limit", "preset"):
        table.add_column(heading, no_wrap=heading == "environment", overflow="fold")
    tuned = presets.available()
    for name in envs.registered():
        if name in envs.downloads():
            table.add_row(name, "downloads its data when it is made", "", "", "")
            continue
        try:
            env = envs.make(name)
        except (ValueError, TypeError, RuntimeError) as error:  # one that the user registered
            table.add_row(name, f"cannot be made: {first_line(error)}", "", "", "")
            continue
        spaces = (env.observation_space(env.default_params), env.action_space(env.default_params))
        preset = "yes" if name in tuned else ""
        table.add_row(name, *map(_space, spaces), _limit(env), preset)
    show(table)


def _list_suites() -> None:
    if not suites.SUITES:
        return
    table = Table(title="suites, as suite/name", title_justify="left")
    for heading in ("suite", "environments", "installed", "presets"):
        table.add_column(heading, no_wrap=True)
    tuned = presets.available()
    for name, suite in suites.SUITES.items():
        names = suites.names(name)
        installed = "yes" if suite.installed else f"no: pip install 'purejaxvpg[{suite.extra}]'"
        number = len(set(names) & set(tuned))
        table.add_row(name, f"{len(names):,}", installed, f"{number}" if number else "")
    show(table)
    say("see: purejaxvpg envs SUITE, purejaxvpg envs NAME")


def _list_suite(suite: str) -> None:
    downloads, tuned = _downloads(suite), presets.available()
    for name in suites.names(suite):
        notes = ["preset"] if name in tuned else []
        notes += [downloads[name]] if name in downloads else []
        say(f"{name} ({', '.join(notes)})" if notes else name)
    if not suites.SUITES[suite].installed:
        say(f"not installed; run: pip install 'purejaxvpg[{suites.SUITES[suite].extra}]'")


def _downloads(suite: str) -> dict[str, str]:
    """The names of a suite that download something, and a few words on it."""
    given = suites.adapter(suite).DOWNLOADS
    text = "downloads its data when it is made"
    each = given if isinstance(given, dict) else dict.fromkeys(given, text)
    return {f"{suite}/{name}": note for name, note in each.items()}


def _describe(name: str) -> None:
    """Print spaces, limit, parameters, and what else is special about an environment."""
    suite = (suites.split(name) or ("",))[0]
    downloads = _downloads(suite) if suite in suites.SUITES else {}
    if name in envs.downloads() or name in downloads:
        note = downloads.get(name, "downloads its data when it is made")
        say(f"{name}: {note}, so it is not made here")
        return
    if close := _close_suites(name):
        raise ValueError(f"{name!r} is no environment and no suite; {close}")
    env = envs.make(name)
    facts = [("environment", envs.shown(name))]
    observed = env.observation_space(env.default_params)
    spaces = {"observation": observed, "action": env.action_space(env.default_params)}
    for title, space in spaces.items():
        facts += [
            (f"{title} {key}".rstrip(), _space(x)) for key, x in spaces_by_name(space).items()
        ]
    facts += [
        ("action mask", "yes" if env.action_mask else "no"),
        ("time limit", _limit(env)),
        ("reset", env.reset_cost),
        ("pictures", _pictures(env)),
        ("preset", _preset(name)),
    ]
    width = max(len(title) for title, _ in facts)
    say(*[f"{title:<{width}}  {text}" for title, text in facts])
    _show_params(name, env)


def _show_params(name: str, env: envs.Environment) -> None:
    names = envs.param_names(env.default_params)
    if not names:
        say("no parameters")
        return
    small = {"num_envs": 2, "num_steps": 2, "total_steps": 4, "hidden_sizes": (4,)}
    traced = traceable(VPGConfig(env=name, value_iterations=1, **small))
    table = Table(title="parameters, as --env-params name=value", title_justify="left")
    for heading in ("parameter", "default", "in a sweep"):
        table.add_column(heading, no_wrap=heading == "parameter", overflow="fold")
    for param in names:
        default = plain(envs.get_param(env.default_params, param))
        how = "traced: one program" if traced[param] else "not traced: cannot be swept"
        table.add_row(param, f"{default}", how)
    show(table)


def _close_suites(name: str) -> str:
    """Advice for a misspelt suite; "" for another name."""
    if "/" in name or ":" in name or name in envs.registered():
        return ""
    if did_you_mean(name, envs.registered()) or suites.of_any(name):
        return ""  # of an environment, which `make` gives
    return did_you_mean(name, [*suites.SUITES, "gymnax"])


def _preset(name: str) -> str:
    if name not in presets.available():
        return "none"
    return ", ".join(f"{field}={value}" for field, value in presets.values(name).items())


def _pictures(env: envs.Environment) -> str:
    if env.render:
        return "yes"
    return "its observation" if pictures.of_observations(env, env.default_params) else "no"


def _limit(env: envs.Environment) -> str:
    limit = envs.time_limit(env, env.default_params)
    return "none" if limit is None else f"{int(limit)}"


def _space(space: Any) -> str:
    """A space in a few letters: its size and, where they are finite and all alike, its bounds."""
    kind = kind_of(space)
    if kind in ("dict", "tuple"):
        parts = spaces_by_name(space).items()
        return f"{kind.capitalize()}({', '.join(f'{name}: {_space(x)}' for name, x in parts)})"
    if kind == "discrete":
        return f"Discrete({space.n})"
    if kind != "box":
        return repr(space)
    low, high = float(np.min(space.low)), float(np.max(space.high))
    same = (np.asarray(space.low) == low).all() and (np.asarray(space.high) == high).all()
    bounds = f" in [{low:g}, {high:g}]" if same and max(-low, high) < ENDLESS else ""
    return f"Box{tuple(space.shape)}{bounds}"

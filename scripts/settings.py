"""Write docs/settings.md: every setting and every flag, from the code that defines them.

python scripts/settings.py
"""

import dataclasses
import textwrap
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from tyro.conf import Positional

from purejaxvpg.cli import flags
from purejaxvpg.config import _LEAST, NAMES, Hyperparams, VPGConfig
from purejaxvpg.fields import doc_of
from purejaxvpg.hyperparams import _HYPERPARAM_RANGES

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"

INTRODUCTION = """\
# Settings

<!-- Written by scripts/settings.py from the fields' own explanations; edit those, and run it. -->

A run is decided by the fields of `Hyperparams` and `VPGConfig`. Each has one name, in Python
(`policy_lr=1e-3`), on the command line (`--policy-lr 1e-3`), as an axis of a sweep
(`--grid policy_lr=1e-3,3e-3`) and in files.

- **Traced** (`Hyperparams`): a number that only multiplies, adds or compares. Another value costs
  nothing: one compiled program serves all of them, and `jax.vmap` runs many at once.
- **Static** (`VPGConfig`): a shape, a length or a branch. Another value is another program: it is
  compiled once, in seconds to a minute, and kept for later starts.

The defaults are the same for every environment; [presets](presets.md) are tuned for one, and the
command line takes an environment's preset unless `--no-preset` is given. *First* says what to try
first; where nothing stands, leave the default until something points at it. The order of trying
that most often pays: learning rates, then `num_envs` and `num_steps`, `gae_lambda` and `gamma`,
normalisation, `entropy_coef`, and only then networks. [When it does not learn](not_learning.md)
starts from what you see.
"""

GROUPS = {
    "Environment": ("env", "env_kwargs", "max_episode_steps"),
    "Budget and batch": ("total_steps", "num_envs", "num_steps", "rollout", "renewal"),
    "Weight of the policy gradient, and the value's target": (
        "estimator", "n_step", "normalize_advantages", "value_target", "value_iterations"),
    "Networks": (
        "network", "hidden_sizes", "activation", "kernel_init", "shared_torso", "policy_obs",
        "value_obs", "memory", "memory_size"),
    "Gaussian policies": ("std", "init_std", "min_std", "bounding"),
    "Normalisation": ("normalize_obs", "obs_clip", "normalize_rewards"),
    "Optimizer": ("optimizer", "lr_schedule", "gradient_rows"),
    "Evaluation and diagnostics": ("eval_every", "eval_episodes", "eval_steps", "diagnostics"),
}  # fmt: skip

ACCEPTED = {
    "env": "a name, a path, or an object",
    "env_kwargs": "a mapping; as flags name=value",
    "env_params": "a mapping; as flags name=value",
    "network": "auto, mlp, cnn, a module, or module:Name",
    "memory": "None, gru, lstm, a cell, or module:Name",
    "kernel_init": "a name, an initializer, or module:name",
    "activation": "a name in flax.linen",
    "hidden_sizes": "integers >= 1",
    "policy_obs": "None, or names",
    "value_obs": "None, or names",
    "init_std": "a finite number > 0",
    "obs_clip": "a finite number > 0",
    "min_std": "a number in [0, init_std)",
}

FIRST = {
    "policy_lr": "`1e-3`, `3e-3`, `1e-2` with at least eight seeds each; the presets take 2e-3 to "
    "3e-3. Lower it where `kl` is large or returns collapse, raise it where `kl` is near 0 and "
    "returns are flat.",
    "value_lr": "The same values as `policy_lr`. Raise it, or `value_iterations`, where "
    "`explained_variance` stays near 0.",
    "gamma": "0.99; about 1 - 1 / (steps that an action's effect lasts). Where rewards tell at "
    "once, less has less noise: Pendulum's preset takes 0.9.",
    "gae_lambda": "`0.9`, `0.95`, `0.98`, `1.0`. Lower has less noise, and more bias where V is "
    "wrong; 1 takes V only where an episode is cut.",
    "entropy_coef": "0, then `0.01`; more (Breakout's preset: 0.2) where `entropy` falls to 0 "
    "long before returns are good.",
    "max_grad_norm": "0.5. With Adam it matters little until gradients explode; `inf` to see how "
    "large they are (`policy_grad_norm`).",
    "adam_eps": "Leave it.",
    "value_coef": "0.5, with `shared_torso` alone.",
    "env_params": "The environment's defaults. As an axis of a sweep it is a condition: settings "
    "are compared within its values.",
    "num_envs": "8 on a CPU; thousands on a GPU, with fewer `num_steps`, for there more "
    "environments cost little. Larger batches give less noise and fewer updates of the budget.",
    "num_steps": "As many as an action's effect lasts, 32 to 128. `num_envs * num_steps` is the "
    "batch of an update; those of the presets have 800 to 2,000 rows.",
    "total_steps": "The default until something learns; the learning rate's schedule ends with it.",
    "rollout": "segments. episodes for the textbook's algorithm, and where every episode is short.",
    "estimator": "gae. The others are there to be understood ([derivation](derivation.md)) and "
    "compared.",
    "normalize_advantages": "On. Off for exact gradients; `policy_lr` then depends on the "
    "reward's scale.",
    "value_target": "future_return; `lambda_return` where returns are long and noisy.",
    "value_iterations": "10; 2 to 5 with large batches, up to 80 (Spinning Up) where "
    "`explained_variance` is low.",
    "network": "auto: it looks at the observations.",
    "hidden_sizes": "`64 64`; wider where an observation is many numbers.",
    "activation": "tanh; Breakout's preset takes relu.",
    "shared_torso": "Off. On where the torso is a large convolution.",
    "memory": "None. `gru` where one observation does not tell the state; then `num_steps` at "
    "least as long as what is to be remembered.",
    "normalize_obs": "On where observations are not of order 1, as in Brax and MuJoCo.",
    "normalize_rewards": "On where returns are far from order 1 to 100 (Pendulum's preset has it).",
    "lr_schedule": "linear, as in the presets: the last updates are small.",
    "init_std": "0.6; less where large actions end episodes at once.",
    "eval_every": "0: training returns tell enough. U / 10 for greedy scores along the way.",
}


def text() -> str:
    """The page."""
    fields = {field.name: field for field in dataclasses.fields(VPGConfig)}
    grouped = [name for names in GROUPS.values() for name in names]
    if missing := set(fields) ^ set(grouped):
        raise SystemExit(f"put into, or out of, a group of scripts/settings.py: {missing}")
    parts = [INTRODUCTION, "## Traced: Hyperparams\n"]
    parts += [_entry(field, "traced") for field in dataclasses.fields(Hyperparams)]
    parts.append("## Static: VPGConfig\n")
    for title, names in GROUPS.items():
        parts.append(f"**{title}**\n")
        parts += [_entry(fields[name], "static") for name in names]
    parts.append(_commands())
    return "\n".join(parts)


def _entry(field: dataclasses.Field, kind: str) -> str:
    """A field: how it is given, its default, values and explanation."""
    place = "the word behind the command" if field.name == "env" else f"`{_flag(field)}`"
    default = f"default `{_value(field.default)}`"
    lines = [
        f"### {field.name}\n",
        f"{place} · {kind} · {default} · {accepted(field)}\n",
        _filled(_plain(doc_of(field))) + "\n",
    ]
    if field.name in FIRST:
        lines.append(_filled(f"*First:* {FIRST[field.name]}") + "\n")
    return "\n".join(lines)


def accepted(field: dataclasses.Field) -> str:
    """Values that a field takes, in words."""
    name, kind = field.name, field.type
    if name in ACCEPTED:
        return ACCEPTED[name]
    if name in _HYPERPARAM_RANGES:
        return _HYPERPARAM_RANGES[name][2]
    if name in NAMES:
        return f"{', '.join(NAMES[name])}, a function, or module:name"
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    if kind is bool:
        return "on or off (True, False)"
    if name in _LEAST:
        return ("None, or " if field.default is None else "") + f"an integer >= {_LEAST[name]}"
    raise SystemExit(f"say in scripts/settings.py what {name} accepts")


def _commands() -> str:
    """Flags of the commands that are no settings."""
    settings = {f.name for cls in (VPGConfig, Hyperparams) for f in dataclasses.fields(cls)}
    lines = ["## Flags that are no settings\n"]
    lines.append("Those of `purejaxvpg COMMAND`, as `purejaxvpg COMMAND --help` gives them.\n")
    seen: dict[str, set[str]] = {}
    for cls, command, what in flags.COMMANDS:
        names = {f.name for f in dataclasses.fields(cls)}
        base = max((c for c in seen if seen[c] <= names), key=lambda c: len(seen[c]), default="")
        tuned = settings if {"policy_lr"} <= names else {"env"}
        fresh = names - tuned - (seen[base] if base else set())
        seen[command] = names
        lines += [f"### purejaxvpg {command}\n", f"{what}"]
        also = ["all settings"] if tuned is settings else []
        also += [f"the flags of `{base}`"] if base else []
        lines[-1] += f" Takes {' and '.join(also)}.\n" if also else "\n"
        rows = [_row(field) for field in dataclasses.fields(cls) if field.name in fresh]
        if rows:
            lines += ["| flag | default | what it does |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _row(field: dataclasses.Field) -> str:
    _, *marks = get_args(field.type)
    arg = next(mark for mark in marks if getattr(mark, "help", None))
    name = arg.metavar if Positional in marks or "Positional" in str(marks) else _flag(field)
    has_default = field.default is not dataclasses.MISSING and field.default not in ("", (), None)
    default = f"`{_value(field.default)}`" if has_default else ""
    cells = [f"`{name}`".replace("|", "\\|"), default, _plain(arg.help)]
    return f"| {' | '.join(cells)} |"


def _flag(field: dataclasses.Field) -> str:
    name = flags.SPELT.get(field.name, field.name).replace("_", "-")
    if isinstance(field.default, bool) and "FlagCreatePairsOff" not in str(field.type):
        return f"--{name}, --no-{name}"
    return f"--{name}"


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "()"
    if value is True or value is False:
        return "on" if value else "off"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.3g}"
    return f"{value:_}" if type(value) is int else str(value)


def _filled(words: str) -> str:
    return textwrap.fill(words, 100, break_long_words=False, break_on_hyphens=False)


def _plain(words: str) -> str:
    """Text of help, in which *, |, _ and < stand for themselves."""
    for mark in ("\\", "*", "|", "_", "<", "["):
        words = words.replace(mark, f"\\{mark}")
    return words


def main() -> None:
    PAGE.write_text(text())
    print(PAGE)


if __name__ == "__main__":
    main()

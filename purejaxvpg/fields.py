"""Fields of a frozen dataclass that carry their own explanation, and checks of their values.

Every refusal is one line: the value given, the values accepted and, where it helps, the remedy.
"""

import contextlib
import dataclasses
import itertools
import numbers
import textwrap
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def setting(default: Any, doc: str) -> Any:
    """A dataclass field with a default and an explanation."""
    return dataclasses.field(default=default, metadata={"doc": " ".join(doc.split())})


Class = TypeVar("Class", bound=type)


def documented(cls: Class) -> Class:
    """A dataclass whose docstring lists its fields, so that `help()` explains each of them."""
    lines = [f"{cls.__doc__.rstrip()}\n\n    Fields (default):" if cls.__doc__ else "Fields:"]
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        text = f"{field.name} ({field.default!r}): {doc_of(field)}"
        lines.append(textwrap.fill(text, 96, initial_indent=" " * 6, subsequent_indent=" " * 8))
    cls.__doc__ = "\n".join([*lines, "    "])
    return cls


def doc_of(field: dataclasses.Field) -> str:
    """The explanation of a field."""
    return field.metadata["doc"]


def check_number(name: str, value: Any, low: float, high: float, accepted: str) -> None:
    """A concrete value must be numeric, not NaN and in range; a tracer passes."""
    if isinstance(value, Tracer):
        return
    if isinstance(value, list | tuple):  # to jax a list is not an array, but as many leaves
        raise TypeError(f"{name}={value!r} is a list; pass an array (numpy.asarray)")
    try:
        array = np.asarray(value)
    except Exception:
        array = np.asarray(None)
    kinds = "biuf" if name.startswith("env_params.") else "iuf"  # True is no learning rate of 1
    if array.dtype.kind not in kinds and array.dtype.name != "bfloat16":
        raise TypeError(f"{name}={value!r} is not a number; {name} accepts {accepted}")
    with np.errstate(over="ignore", under="ignore"):
        single = array.astype(np.float32)  # as the algorithm takes it: 1e39 is infinite, 1e-50 zero
    array = array.astype(np.float64)
    bad = np.isnan(array) | (array < low) | (array > high)
    if "finite" in accepted:
        bad |= np.isinf(single)
    if "> 0" in accepted:
        bad |= single <= 0
    if bad.any():
        given = array[bad].flat[0]
        raise ValueError(f"{name}={given:g} is out of range; {name} accepts {accepted}")


def are_axes(values: Sequence[Any]) -> bool:
    """Whether values are those of vmap's in_axes, None and integers, and not a run's numbers."""
    axes = [x is None or (isinstance(x, int) and not isinstance(x, bool)) for x in values]
    return all(axes) and any(x is None for x in values)


def check_scalar(name: str, value: Any) -> None:
    """A run's hyperparameter has no axes; TypeError for None, ValueError for a shape."""
    if value is None:
        raise TypeError(f"{name}=None is no number; None is for jax.vmap's in_axes alone")
    if shape := np.shape(value):  # [N] would broadcast over the environments, and nothing tell
        raise ValueError(
            f"{name} has shape {shape} where one run takes a scalar; sweep it with jax.vmap"
        )


def as_key(key: Any) -> jax.Array:
    """The PRNG key of a run: as it is, or wrapped if it is raw (of `jax.random.PRNGKey`).

    Raises: TypeError for anything else; ValueError for an array of keys.
    """
    dtype, given = getattr(key, "dtype", None), key
    if dtype == np.uint32 and np.shape(key):
        with contextlib.suppress(ValueError, TypeError):  # of another length than a key's
            key = jax.random.wrap_key_data(key)
    if dtype is None or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        kind = type(given).__name__ if dtype is None else f"{dtype}{list(np.shape(given))}"
        raise TypeError(f"key is {kind}; pass jax.random.key(seed)")
    if key.shape:
        raise ValueError(f"key has shape {key.shape} where one run takes one key; use jax.vmap")
    return key


def first_line(error: BaseException) -> str:
    """The first line of an error's message, whatever library raised it."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def require(condition: bool, owner: Any, name: str, accepted: str) -> None:
    """ValueError that names the field, unless the condition holds."""
    if not condition:
        raise ValueError(f"{name}={getattr(owner, name)!r} is out of range; accepted: {accepted}")


MOST = 2**31 - 1
"""The largest number that a run counts to: counters are int32, and beyond it they are negative."""

LARGEST = float(np.finfo(np.float32).max)
MOST_EPISODES = 1_000_000  # of an evaluation; they run side by side


def check_count(name: str, number: Any, most: int) -> None:
    """ValueError for a number out of 1 to `most`; TypeError for one that is no integer."""
    if not isinstance(number, numbers.Integral) or isinstance(number, bool):
        raise TypeError(f"{name}={number!r} is no integer; accepted: 1 to {most:_}")
    if not 1 <= number <= most:
        raise ValueError(f"{name}={number} is out of range; accepted: 1 to {most:_}")


def check_counters(config: Any) -> None:
    """ValueError for a config whose run would count beyond `MOST`."""
    counts = {
        field.name: getattr(config, field.name) or 0
        for field in dataclasses.fields(config)
        if field.type in (int, int | None) and field.name != "total_steps"
    }
    for name, count in counts.items():
        require(count <= MOST, config, name, f"up to {MOST:_}")
    episodes = f"up to {MOST_EPISODES:_}"
    require(config.eval_episodes <= MOST_EPISODES, config, "eval_episodes", episodes)
    widest = max(a * b for a, b in itertools.pairwise((1, *config.hidden_sizes, 1)))
    require(widest <= MOST, config, "hidden_sizes", f"up to {MOST:_} weights of a layer")
    updates, steps = config.num_updates, config.num_steps
    counts = {
        "updates": (updates, "larger num_envs or num_steps"),
        "steps of each environment": (updates * steps, "a larger num_envs"),
        "rows of a batch": (config.num_envs * steps, "a smaller num_envs or num_steps"),
    }
    for what, (count, remedy) in counts.items():
        if count > MOST:
            raise ValueError(
                f"total_steps={config.total_steps:_} with num_envs={config.num_envs:_} and "
                f"num_steps={steps:_} makes {count:_} {what}; a run counts up to {MOST:_}, so "
                f"pass {remedy}"
            )


def short(value: Any, most: int = 120) -> str:
    """A value as text on one line, of at most so many characters."""
    text = " ".join(repr(value).split())  # flax shows a module on many lines
    return text if len(text) <= most else f"{text[: most - 3]}..."


def check_hashable(owner: Any, name: str) -> None:
    """TypeError that names the field, if its value cannot be hashed."""
    value = getattr(owner, name)
    try:
        hash(value)
    except TypeError:
        raise TypeError(
            f"{name}={short(value)} is not hashable, and a static choice must be; use tuples "
            f"instead of lists, and functions or frozen modules instead of mutable objects"
        ) from None

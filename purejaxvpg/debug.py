"""Find the operation that turned a run non-finite: its update again, each operation checked."""

import inspect
import traceback
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
from jax.experimental import checkify

from purejaxvpg.compute import beyond, memoized, untuned
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.state import TrainState
from purejaxvpg.vpg import make_learner

DEPTH = 3  # lines of the program that are named


def find_operation(config: VPGConfig, hp: Hyperparams | None, state: TrainState) -> str:
    """The operation that gives the first NaN of the update that a run could not take, in one line.

    Args: state: of one run that has diverged, as it stays: its last finite state.
    """
    alive = state._replace(finite=jnp.ones((), bool))
    error, (after, metrics) = _checked_update(config)(alive, hp)
    if error.get():
        exception: Any = error.get_exception()
        return f"the first NaN comes from {exception.prim} {_place(exception.traceback_info)}"
    if after.finite:
        return "the update is finite"
    numbers = {name: x for name, x in metrics._asdict().items() if x is not None}
    large = [name for name, x in numbers.items() if beyond(name, x)]
    where = f"in {', '.join(large)}" if large else "among the parameters"
    return f"no operation gives NaN, and there are numbers too large for float32 {where}"


@memoized(8)
def _checked_update(config: VPGConfig) -> Any:
    """(state, hp) -> error, (state, metrics)."""
    update = checkify.checkify(make_learner(config).update, errors=checkify.nan_checks)
    # It runs once or twice: tuning its code would take longer than that.
    return jax.jit(update, compiler_options=untuned(jax.devices()[0]))


def _place(raised: Any) -> str:
    """Where an operation stands: the innermost lines that are neither jax's nor flax's."""
    libraries = tuple(str(Path(inspect.getfile(library)).parent) for library in (jax, flax))
    stack = traceback.extract_tb(raised.as_python_traceback())
    frames = [frame for frame in stack if not frame.filename.startswith(libraries)]
    lines = [f"{Path(f.filename).name}:{f.lineno} ({f.name})" for f in frames[: -DEPTH - 1 : -1]]
    return f"at {', called by '.join(lines)}"

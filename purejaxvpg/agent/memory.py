"""Memory: a recurrent cell between a network's torso and its head.

    x_t = torso(s_t)          h_t = cell(h_{t-1}, x_t)          outputs_t = head(h_t)

h is zero where an episode begins.  While acting the cell takes one step at a time.  While learning
whole sequences are replayed from the memory that the rollout started with; the policy takes one
step a batch, so the replay gives the rollout's own numbers (up to rounding), and the gradient of
the policy is exact back to the rollout's start.

What does not depend on h, the torso and the cell's product with x, is computed for all steps at
once; the loop over T holds the product with h alone.  Where the rollout's own memories are at hand,
nothing is replayed at all (compute/through_time.py).
Source: Hausknecht and Stone 2015, "Deep recurrent Q-learning", replay from the stored state.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from purejaxvpg.agent.cells import GRU, LSTM, UsersCell
from purejaxvpg.compute import Compute, select, unroll
from purejaxvpg.config import VPGConfig
from purejaxvpg.envs.faults import user_code
from purejaxvpg.envs.protocol import BrokenContract
from purejaxvpg.fields import short
from purejaxvpg.variables import TRAINED

MEMORIES = ("gru", "lstm")


class Sequence(NamedTuple):
    """Steps of n environments, as networks with memory learn from them."""

    obs: Any  # [n, T, ...]
    starts: Array  # [n, T] bool: the step is the first of its episode
    memory: Any  # [n, ...], a `Memory` (state.py) before the first step
    after: Any = None  # [n, T, ...], of the policy after each step, under the parameters that acted


class Cell(NamedTuple):
    """A recurrent cell as pure functions.  M features, memory h a pytree of arrays `[n, ...]`."""

    init: Callable[[Array, Array], Any]  # (key, x [n, F]) -> variables
    zero: Callable[[int], Any]  # n -> h
    step: Callable[[Any, Any, Array], tuple[Any, Array]]  # (variables, h, x [n, F]) -> h, [n, M]
    # (variables, h, x [n, T, F], starts [n, T], None or the first result, if it is at hand for
    # these variables) -> h after each step [n, T, ...], [n, T, M]
    replay: Callable[[Any, Any, Array, Array, Any], tuple[Any, Array]]


def make_cell(config: VPGConfig, features: int) -> Cell:
    """The cell of `config.memory`, for features of width F.

    Raises: ValueError or TypeError, in one line, for an unknown memory, and for a cell of the
    user's that breaks its contract.
    """
    module = _module(config, features)
    if isinstance(module, UsersCell):
        _check_users(module)

    def init(key: Array, x: Array) -> Any:
        return module.init(key, module.zero(x.shape[0]), x)

    def step(variables: Any, memory: Any, x: Array) -> tuple[Any, Array]:
        return module.apply(variables, memory, x)  # type: ignore[return-value]

    replay = _replay_of_users(module) if isinstance(module, UsersCell) else _replay_of(module)
    return Cell(init, module.zero, step, replay)


def _replay_of(module: Any) -> Callable[..., tuple[Any, Array]]:
    """`Cell.replay` of a GRU or LSTM."""

    def replay(
        variables: Any, memory: Any, x: Array, starts: Array, after: Any = None
    ) -> tuple[Any, Array]:
        projected: Any = module.apply(variables, x, method="project")  # of all steps
        recurrent: Any = module.apply(variables, method="recurrent_parameters")
        inputs = steps_first(projected), steps_first(starts)
        after = jax.tree.map(steps_first, after)
        after = unroll(module.gates, module.hidden, recurrent, memory, inputs, after)
        after = jax.tree.map(steps_first, after)
        return after, module.hidden(after)

    return replay


def _replay_of_users(module: UsersCell) -> Callable[..., tuple[Any, Array]]:
    """`Cell.replay` of a cell that nothing is known of: step by step."""

    def replay(
        variables: Any, memory: Any, x: Array, starts: Array, after: Any = None
    ) -> tuple[Any, Array]:
        def one_step(memory: Any, now: tuple[Array, Array]) -> tuple[Any, tuple[Any, Array]]:
            x, starts = now  # [n, F], [n]
            memory = select(starts, module.zero(x.shape[0]), memory)
            result: Any = module.apply(variables, memory, x)
            return result[0], result

        _, ys = Compute().scan(one_step, memory, jax.tree.map(steps_first, (x, starts)))
        return jax.tree.map(steps_first, ys)

    return replay


def _module(config: VPGConfig, features: int) -> Any:
    if config.memory == "gru":
        return GRU(config.memory_size)
    elif config.memory == "lstm":
        return LSTM(config.memory_size)
    elif isinstance(config.memory, nn.RNNCellBase):
        return UsersCell(config.memory, features)
    else:
        raise ValueError(
            f"memory={short(config.memory)} is unknown; choose None, {', '.join(MEMORIES)}, or "
            f"pass a flax.linen cell or its module:Name"
        )


def _check_users(module: UsersCell) -> None:
    """Refuse a user's cell that breaks its contract, by tracing one step of two environments."""
    name = f"memory {type(module.cell).__name__}"

    def one_step(key: Array) -> tuple[Any, Any, Any]:
        memory, x = module.zero(2), jnp.zeros((2, module.features), jnp.float32)
        variables = module.init(key, memory, x)
        return variables, memory, module.apply(variables, memory, x)

    with user_code(name):
        key = jax.eval_shape(lambda: jax.random.key(0))
        variables, before, result = jax.eval_shape(one_step, key)
    for path, x in jax.tree.leaves_with_path(variables.get(TRAINED, {})):
        if x.dtype != jnp.float32:
            raise TypeError(
                f"{name} has {jax.tree_util.keystr(path)}, of type {x.dtype}; accepted: trained "
                f"parameters of float32"
            )
    out: Any
    after, out = result if isinstance(result, tuple) and len(result) == 2 else (None, None)
    if _described(after) != _described(before):
        raise BrokenContract(
            f"{name} turned memory {_described(before)} into {_described(after)}; a cell must "
            f"return memory as it was given it, and features"
        )
    if len(getattr(out, "shape", ())) != 2 or not jnp.issubdtype(out.dtype, jnp.floating):
        raise BrokenContract(
            f"{name} returned features {_described(out)} of two environments; a cell must return "
            f"floats [n, M], here [2, M]"
        )


def _described(tree: Any) -> str:
    """Types and shapes of a pytree's arrays."""
    return str(jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", tree)).replace("'", "")


def steps_first(x: Array) -> Array:
    """`[n, T, ...]` -> `[T, n, ...]`, and back."""
    return jnp.swapaxes(x, 0, 1)

"""Memory: a recurrent cell between a network's torso and its head.

    x_t = torso(s_t)          h_t = cell(h_{t-1}, x_t)          outputs_t = head(h_t)

h is zero where an episode begins.  While acting the cell takes one step at a time.  While learning
whole sequences are replayed from the memory that the rollout started with; the policy takes one
step a batch, so the replay gives the rollout's own numbers (up to rounding), and the gradient of
the policy is exact back to the rollout's start.

What does not depend on h, the torso and the cell's product with x, is computed for all steps at
once; the loop over T holds the product with h alone.  Where the memories of the rollout are at hand,
nothing is replayed at all (compute/through_time.py).
Source: Hausknecht and Stone 2015, "Deep recurrent Q-learning", replay from the stored state.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from purejaxvpg.agent.torsos import flax_dot
from purejaxvpg.compute import Compute, select, unroll
from purejaxvpg.config import VPGConfig
from purejaxvpg.fields import short

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


class GRU(nn.Module):
    """Gated recurrent unit.

        r = sigma(W_r x + b_r + U_r h),   z = sigma(W_z x + b_z + U_z h)
        n = tanh(W_n x + b_n + r (U_n h + c)),      h' = (1 - z) n + z h

    The three products are one, each with x and with h.
    Source: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder"; the form
    is that of `flax.linen.GRUCell`.
    """

    size: int

    def setup(self) -> None:
        self.inputs = nn.Dense(3 * self.size, dot_general=flax_dot)
        self.recurrent = self.param("recurrent", _orthogonal_gates, (self.size, 3 * self.size))
        self.bias = self.param("bias", nn.initializers.zeros, (self.size,), jnp.float32)

    def project(self, x: Array) -> Array:
        """W x + b `[..., 3M]`."""
        return self.inputs(x)

    def recurrent_parameters(self) -> tuple[Array, Array]:
        """U `[M, 3M]`, and what is added to h U, `[3M]`."""
        return self.recurrent, jnp.pad(self.bias, (2 * self.size, 0))

    def hidden(self, h: Array) -> Array:
        """h, `[n, M]`: what U multiplies, and the output."""
        return h

    def gates(self, h: Array, projected: Array, a: Array) -> Array:
        """h `[n, M]`, W x + b and h U + c -> h'."""
        x_r, x_z, x_n = jnp.split(projected, 3, axis=-1)
        h_r, h_z, h_n = jnp.split(a, 3, axis=-1)
        r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
        return (1 - z) * jnp.tanh(x_n + r * h_n) + z * h

    def __call__(self, h: Array, x: Array) -> tuple[Array, Array]:
        """One step."""
        return _one_step(self, h, x)

    def zero(self, rows: int) -> Array:
        """h where an episode begins, `[rows, M]`."""
        return jnp.zeros((rows, self.size), jnp.float32)


class LSTM(nn.Module):
    """Long short-term memory, of gates i, f, g, o.

        c' = sigma(f) c + sigma(i) tanh(g),      h' = sigma(o) tanh(c')

    Source: Hochreiter and Schmidhuber 1997; the form is that of `flax.linen.OptimizedLSTMCell`.
    """

    size: int

    def setup(self) -> None:
        self.inputs = nn.Dense(4 * self.size, dot_general=flax_dot)
        self.recurrent = self.param("recurrent", _orthogonal_gates, (self.size, 4 * self.size))

    def project(self, x: Array) -> Array:
        """W x + b `[..., 4M]`."""
        return self.inputs(x)

    def recurrent_parameters(self) -> tuple[Array, Array]:
        """U `[M, 4M]`, and what is added to h U, `[4M]`: nothing."""
        return self.recurrent, jnp.zeros(4 * self.size, jnp.float32)

    def hidden(self, memory: Any) -> Array:
        """h, `[n, M]`: what U multiplies, and the output."""
        return memory[1]

    def gates(self, memory: Any, projected: Array, a: Array) -> Any:
        """(c, h), `[n, M]` each, W x + b and h U -> (c', h')."""
        i, f, g, o = jnp.split(projected + a, 4, axis=-1)
        c = jax.nn.sigmoid(f) * memory[0] + jax.nn.sigmoid(i) * jnp.tanh(g)
        return c, jax.nn.sigmoid(o) * jnp.tanh(c)

    def __call__(self, memory: Any, x: Array) -> tuple[Any, Array]:
        """One step."""
        return _one_step(self, memory, x)

    def zero(self, rows: int) -> Any:
        """(c, h) where an episode begins, `[rows, M]` each."""
        return tuple(jnp.zeros((rows, self.size), jnp.float32) for _ in range(2))


def _one_step(cell: Any, memory: Any, x: Array) -> tuple[Any, Array]:
    """Memory `[n, ...]` and x `[n, F]` of a GRU or LSTM -> the memory after it, and the output."""
    kernel, bias = cell.recurrent_parameters()
    memory = cell.gates(memory, cell.project(x), flax_dot(cell.hidden(memory), kernel) + bias)
    return memory, cell.hidden(memory)


class UsersCell(nn.Module):
    """A flax cell of the user's."""

    cell: nn.RNNCellBase
    features: int  # F

    def __call__(self, memory: Any, x: Array) -> tuple[Any, Array]:
        """One step."""
        return self.cell(memory, x)  # type: ignore[operator]

    def zero(self, rows: int) -> Any:
        """The cell's own first memory."""
        return self.cell.initialize_carry(jax.random.key(0), (rows, self.features))


def _orthogonal_gates(key: Array, shape: tuple[int, int]) -> Array:
    """An orthogonal matrix `[M, M]` for each gate, side by side."""
    size, width = shape
    keys = jax.random.split(key, width // size)
    return jnp.concatenate([nn.initializers.orthogonal()(k, (size, size)) for k in keys], axis=1)


def make_cell(config: VPGConfig, features: int) -> Cell:
    """The cell of `config.memory`, for features of width F."""
    module = _module(config, features)

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
            memory, out = module.apply(variables, memory, x)  # type: ignore[misc]
            return memory, (memory, out)

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


def steps_first(x: Array) -> Array:
    """`[n, T, ...]` -> `[T, n, ...]`, and back."""
    return jnp.swapaxes(x, 0, 1)

"""Recurrent cells: GRU, LSTM, and one of the user's.

A GRU or LSTM is given in parts, for `compute.unroll`: the product with x, the product with h, and
the gates that put them together.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from purejaxvpg.agent.torsos import flax_dot


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
        return _gru(h, projected, a)

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
        return _lstm(memory[0], projected + a)

    def __call__(self, memory: Any, x: Array) -> tuple[Any, Array]:
        """One step."""
        return _one_step(self, memory, x)

    def zero(self, rows: int) -> Any:
        """(c, h) where an episode begins, `[rows, M]` each."""
        return tuple(jnp.zeros((rows, self.size), jnp.float32) for _ in range(2))


# Derivatives are written out, in as few factors as there are: a loop back through time reads them
# all in every step.


@jax.custom_jvp
def _gru(h: Array, projected: Array, a: Array) -> Array:
    return _gru_factors(h, projected, a)[0]


@_gru.defjvp
def _gru_tangent(primals: Any, tangents: Any) -> tuple[Array, Array]:
    new, z, by_n, by_z, by_r, r = _gru_factors(*primals)
    d_h, d_projected, d_a = tangents
    (d_xr, d_xz, d_xn), (d_hr, d_hz, d_hn) = (jnp.split(d, 3, -1) for d in (d_projected, d_a))
    d_n = by_n * (d_xn + r * d_hn + by_r * (d_xr + d_hr))
    return new, z * d_h + by_z * (d_xz + d_hz) + d_n


def _gru_factors(h: Array, projected: Array, a: Array) -> tuple[Array, ...]:
    """h', and the factors of its derivative."""
    x_r, x_z, x_n = jnp.split(projected, 3, axis=-1)
    h_r, h_z, h_n = jnp.split(a, 3, axis=-1)
    r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
    n = jnp.tanh(x_n + r * h_n)
    by_n, by_z, by_r = (1 - z) * (1 - n * n), (h - n) * z * (1 - z), h_n * r * (1 - r)
    return (1 - z) * n + z * h, z, by_n, by_z, by_r, r


@jax.custom_jvp
def _lstm(c: Array, gates: Array) -> tuple[Array, Array]:
    return _lstm_factors(c, gates)[0]


@_lstm.defjvp
def _lstm_tangent(primals: Any, tangents: Any) -> tuple[Any, Any]:
    new, f, by_i, by_f, by_g, by_o, by_c = _lstm_factors(*primals)
    d_i, d_f, d_g, d_o = jnp.split(tangents[1], 4, axis=-1)
    d_c = f * tangents[0] + by_f * d_f + by_i * d_i + by_g * d_g
    return new, (d_c, by_c * d_c + by_o * d_o)


def _lstm_factors(c: Array, gates: Array) -> tuple[Any, ...]:
    """(c', h'), and the factors of their derivatives."""
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    i, f, o, g = *map(jax.nn.sigmoid, (i, f, o)), jnp.tanh(g)
    new = f * c + i * g
    out = jnp.tanh(new)
    factors = i * (1 - i) * g, f * (1 - f) * c, i * (1 - g * g), o * (1 - o) * out
    return (new, o * out), f, *factors, o * (1 - out * out)


def _one_step(cell: Any, memory: Any, x: Array) -> tuple[Any, Array]:
    """Memory `[n, ...]` and x `[n, F]` of a GRU or LSTM -> the memory after it, and the output."""
    kernel, bias = cell.recurrent_parameters()
    a = flax_dot(cell.hidden(memory), kernel) + bias[None]
    memory = cell.gates(memory, cell.project(x), a)
    return memory, cell.hidden(memory)


class UsersCell(nn.Module):
    """A flax cell of the user's."""

    cell: nn.RNNCellBase
    features: int  # F

    def __call__(self, memory: Any, x: Array) -> tuple[Any, Array]:
        """One step."""
        return self.cell(memory, x)  # type: ignore[operator]

    def zero(self, rows: int) -> Any:
        """The cell's own first memory, the same in every row: one that is drawn would be another
        where a chunk of the rows is replayed."""
        one = self.cell.initialize_carry(jax.random.key(0), (1, self.features))
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (rows, *x.shape[1:])), one)


def _orthogonal_gates(key: Array, shape: tuple[int, int]) -> Array:
    """An orthogonal matrix `[M, M]` for each gate, side by side."""
    size, width = shape
    keys = jax.random.split(key, width // size)
    make = nn.initializers.orthogonal()  # float32, also where x64 is on
    return jnp.concatenate([make(k, (size, size), jnp.float32) for k in keys], axis=1)

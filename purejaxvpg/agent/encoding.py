"""From observations to what networks see: float32 arrays, one, or several by name.

An observation of one array is seen as one array, and one of several (a dict, a tuple, a dataclass)
as a dict of arrays by dotted name, such as `agent.position`.  A batch keeps the types that the
environment gave it; the networks encode the rows that they look at:

    float            as it is
    bool, integers   as numbers
    uint8 pictures   from 0 to 255, divided by 255
    Discrete         one-hot, `[n]`
    MultiDiscrete    one-hot in the last axis: `[..., k]` -> `[..., k n]`, n the largest number
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from purejaxvpg.envs import Environment
from purejaxvpg.envs.protocol import Masked
from purejaxvpg.envs.spaces import kind_of, leaves_by_name, spaces_by_name


class Part(NamedTuple):
    """One array of an observation, as the environment gives it."""

    shape: tuple[int, ...]
    dtype: str
    categories: int | None = None  # one-hot of so many; None: numbers
    bytes: bool = False  # a picture of numbers from 0 to 255

    @property
    def seen_shape(self) -> tuple[int, ...]:
        """Shape as networks see it."""
        if self.categories is None:
            return self.shape
        if not self.shape:
            return (self.categories,)
        return (*self.shape[:-1], self.shape[-1] * self.categories)

    def encode(self, x: Array) -> Array:
        """Arrays `[..., *shape]` -> float32 `[..., *seen_shape]`; floats have been encoded."""
        x = jnp.asarray(x)
        if jnp.issubdtype(x.dtype, jnp.floating):
            return x.astype(jnp.float32)
        if self.categories is not None:
            hot = jax.nn.one_hot(x, self.categories, dtype=jnp.float32)
            rows = x.ndim - len(self.shape)
            return hot.reshape(*x.shape[:rows], *self.seen_shape)
        numbers = x.astype(jnp.float32)
        return numbers / 255 if self.bytes else numbers


class Encoder(NamedTuple):
    """Observations `[..., *shape]` of an environment -> what networks see.

    Called with what it returned, it returns that again.
    """

    parts: tuple[tuple[str, Part], ...]  # by name; "" alone: one array

    @property
    def shapes(self) -> Any:
        """Shapes as networks see them: one tuple, or a dict of them."""
        named = {name: part.seen_shape for name, part in self.parts}
        return named[""] if self._alone else named

    @property
    def size(self) -> int:
        """Numbers in an observation, as networks see it."""
        return sum(math.prod(part.seen_shape) for _, part in self.parts)

    @property
    def _alone(self) -> bool:
        return len(self.parts) == 1 and self.parts[0][0] == ""

    def __call__(self, obs: Any) -> Any:
        obs = unmasked(obs)
        if self._alone:
            (x,) = jax.tree.leaves(obs)
            return self.parts[0][1].encode(x)
        named = by_name(obs)
        return {name: part.encode(named[name]) for name, part in self.parts}

    def choose(self, names: tuple[str, ...] | None, field: str) -> "Encoder":
        """The encoder of some parts.  A name such as `agent` stands for all of `agent.*`.

        Raises: ValueError, in one line, for a name that is not there.
        """
        if names is None:
            return self
        there = [name for name, _ in self.parts]
        for name in names:
            if self._alone or not any(_within(x, name) for x in there):
                accepted = "None, for observations are one array" if self._alone else f"{there}"
                raise ValueError(f"{field}={names} has no {name!r}; accepted: {accepted}")
        chosen = [(x, part) for x, part in self.parts if any(_within(x, name) for name in names)]
        return Encoder(tuple(chosen))

    def to_json(self) -> list[dict[str, Any]]:
        """The encoder as JSON has it."""
        return [
            {"name": name} | part._asdict() | {"shape": list(part.shape)}
            for name, part in self.parts
        ]

    @staticmethod
    def from_json(parts: list[dict[str, Any]]) -> "Encoder":
        """The encoder that `to_json` wrote."""

        def part(x: dict[str, Any]) -> Part:
            return Part(tuple(x["shape"]), x["dtype"], x["categories"], x["bytes"])

        return Encoder(tuple((x["name"], part(x)) for x in parts))

    def example(self, rows: int) -> Any:
        """Shapes and types of `rows` observations, as networks see them."""
        one = lambda shape: jax.ShapeDtypeStruct((rows, *shape), jnp.float32)  # noqa: E731
        return jax.tree.map(one, self.shapes, is_leaf=lambda x: isinstance(x, tuple))


def unmasked(obs: Any) -> Any:
    """The observation without the mask of possible actions."""
    return obs.obs if isinstance(obs, Masked) else obs


def _within(name: str, chosen: str) -> bool:
    return name == chosen or name.startswith(f"{chosen}.")


def by_name(obs: Any) -> Mapping[str, Any]:
    """Arrays of an observation by dotted name; itself, if it is a dict of such."""
    flat = isinstance(obs, dict) and all(hasattr(x, "shape") for x in obs.values())
    return obs if flat else leaves_by_name(obs)


def of_array(shape: tuple[int, ...]) -> Encoder:
    """The encoder of observations that are one float32 array."""
    return Encoder((("", Part(tuple(shape), "float32")),))


def make_encoder(env: Environment, params: Any = None) -> Encoder:
    """The encoder of an environment's observations.  params: the defaults if None."""
    with jax.ensure_compile_time_eval():  # bounds are numbers, whatever the caller is tracing
        space = env.observation_space(env.default_params if params is None else params)
    spaces = spaces_by_name(space)
    parts = {name: _part(x, spaces.get(name)) for name, x in leaves_by_name(env.observed).items()}
    return Encoder(tuple(parts.items()))


def _part(x: Any, space: Any) -> Part:
    shape, dtype, kind = tuple(x.shape), str(x.dtype), kind_of(space)
    floats = jnp.issubdtype(x.dtype, jnp.floating)
    if kind == "discrete" and shape == () and not floats:
        return Part(shape, dtype, int(space.n))
    if kind == "multi" and shape == tuple(space.shape) and not floats:
        return Part(shape, dtype, int(space.nvec.max()))
    picture = dtype == "uint8" and len(shape) == 3
    full = picture and (kind != "box" or bool(np.max(np.asarray(space.high)) >= 255))
    return Part(shape, dtype, None, full)

"""Reset states for environments whose episode ended.

A reset costs as much as a step, and few environments need one at a given step.  On a CPU, N reset
states are therefore drawn ahead (`Spares`) and used when episodes end.  All N are drawn anew
together, every `renewal` steps or when an environment needs a second one: under vmap, drawing for
one run at a time would make all runs wait each time.  An accelerator draws N resets in every step,
which is faster there than a decision, unless a renewal was asked for.  (Resets that take far longer
than a step: stack.py.)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from purejaxvpg.compute.compute import Compute
from purejaxvpg.compute.platform import on_cpu
from purejaxvpg.compute.varying import vary_like
from purejaxvpg.state import Spares

RENEWAL = 8  # steps


class ResetKeys(NamedTuple):
    """Random numbers for the resets of one step."""

    keys: Array  # [] key; [N] keys on an accelerator
    renew: Array  # [] bool: draw all spares anew


class Resets(NamedTuple):
    """Fresh reset states for N environments.  No state is shared, and none is used twice."""

    draw: Callable[[Array, Any], tuple[Array, Any]]  # ([N] keys, params) -> (obs, state) [N, ...]
    num_envs: int  # N, of this device
    compute: Compute
    renewal: int | None = None  # steps; None: 8 on a CPU, 1 on an accelerator

    @property
    def _ahead(self) -> bool:
        return on_cpu() or self.renewal is not None

    def empty(self, obs: Array, inner: Any) -> Spares:
        """No spare is left; obs and inner give the shapes."""
        return Spares(inner, obs, jnp.ones(self.num_envs, bool))

    def keys(self, key: Array, index: Array) -> ResetKeys:
        """Random numbers of the step of this index."""
        keys = key if self._ahead else self.compute.keys(key, self.num_envs)
        return ResetKeys(keys, index % (self.renewal or RENEWAL) == 0)

    def take(
        self, keys: ResetKeys, spares: Spares, ended: Array, params: Any
    ) -> tuple[tuple[Array, Any], Spares]:
        """Where the environments go on whose episode `ended`.

        Args: ended: `[N]` bool.
        Returns: `((obs, state), spares)`, `[N, ...]`; rows that did not end mean nothing.
        """
        if not self._ahead:
            return self.draw(keys.keys, params), spares
        spares = self._renew_if_missing(keys, spares, ended, params)
        return (spares.obs, spares.inner), spares._replace(used=spares.used | ended)

    def _renew_if_missing(
        self, keys: ResetKeys, spares: Spares, ended: Array, params: Any
    ) -> Spares:
        def missing(carry: tuple[Array, Array, Spares]) -> Array:
            due, _, spares = carry
            return due | (ended & spares.used).any()

        def draw_all(carry: tuple[Array, Array, Spares]) -> tuple[Array, Array, Spares]:
            key, draw_key = jax.random.split(carry[1])
            obs, inner = self.draw(self.compute.keys(draw_key, self.num_envs), params)
            unused = jnp.zeros(self.num_envs, bool)
            drawn = jnp.zeros((), bool), key, Spares(inner, obs, unused)
            return vary_like(drawn, carry)

        # One turn or none: a `cond` that stays one under vmap.  The key is carried, or XLA would
        # see that every turn does the same, and do it once before the loop, needed or not.
        start = keys.renew, keys.keys, spares
        return lax.while_loop(missing, draw_all, vary_like(start, (start, params)))[-1]

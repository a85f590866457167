"""Reset states for environments whose resets take far longer than their steps.

S < N states are drawn ahead, and used in their order by whichever environments end.  The next S
are drawn when they are used up and another one is needed.  So about as many resets are drawn as
episodes end, on accelerators too, where a decision costs less than such a reset.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.core import Tracer

from purejaxvpg.compute.compute import Compute
from purejaxvpg.compute.resets import ResetKeys
from purejaxvpg.compute.rows import select
from purejaxvpg.compute.varying import vary_like
from purejaxvpg.state import Spares

_SHARE = 8  # S is an eighth of N: rarely do more end in one step, except by one time limit


class Wanting(NamedTuple):
    """The environments of one step, some of which may still need a reset state."""

    key: Array  # [] key
    due: Array  # [] bool: draw S anew in any case
    spares: Spares  # [S, ...]
    fresh: Any  # (obs, state) [N, ...], of those that were given one
    left: Array  # [N] bool: still need one


class Stack(NamedTuple):
    """Fresh reset states for N environments.  No state is shared, and none is used twice."""

    draw: Callable[[Array, Any], tuple[Any, Any]]  # ([S] keys, params) -> (obs, state) [S, ...]
    num_envs: int  # N, of this device
    compute: Compute
    renewal: int | None  # steps after which S are drawn in any case

    @property
    def size(self) -> int:
        """S."""
        return max(1, self.num_envs // _SHARE)

    def empty(self, obs: Any, inner: Any) -> Spares:
        """No spare is left; obs and inner give the shapes."""
        obs, inner = jax.tree.map(lambda x: x[: self.size], (obs, inner))
        return Spares(inner, obs, jnp.ones(self.size, bool))

    def keys(self, key: Array, index: Array) -> ResetKeys:
        """Random numbers of the step of this index."""
        due = jnp.zeros((), bool) if self.renewal is None else index % self.renewal == 0
        return ResetKeys(key, due)

    def take(
        self, keys: ResetKeys, spares: Spares, ended: Array, params: Any
    ) -> tuple[tuple[Any, Any], Spares]:
        """Where the environments go on whose episode `ended`.

        Args: ended: `[N]` bool.
        Returns: `((obs, state), spares)`, `[N, ...]`; rows that did not end mean nothing.
        """
        fresh, spares, served = self._serve(spares, ended)
        start = Wanting(keys.keys, keys.renew, spares, fresh, ended & ~served)
        leaves, structure = jax.tree.flatten(params)
        traced = [x for x in leaves if isinstance(x, Tracer)]

        def with_traced(traced: list[Any]) -> Any:
            new = iter(traced)  # what is not traced may decide a branch of the environment's code
            return structure.unflatten(next(new) if isinstance(x, Tracer) else x for x in leaves)

        @self.compute.in_turn  # of many runs under vmap, only those draw that need to
        def refill(wanting: Wanting, traced: list[Any]) -> Wanting:
            draw = lambda wanting: self._refill(wanting, with_traced(traced))  # noqa: E731
            return lax.while_loop(_wants, draw, wanting)

        # One turn or none: where no run needs any, none has to wait for its turn.
        start = vary_like(start, (start, params))
        end = lax.while_loop(_wants, lambda wanting: refill(wanting, traced), start)
        return end.fresh, end.spares

    def _serve(self, spares: Spares, left: Array) -> tuple[tuple[Any, Any], Spares, Array]:
        """The next spares for those that are `left`, the spares after it, and who was served."""
        used = spares.used.sum()
        place = used + jnp.cumsum(left) - 1  # [N], in a stack that is long enough
        slot = jnp.clip(place, 0, self.size - 1)
        chosen = jax.tree.map(lambda x: x[slot], (spares.obs, spares.inner))
        now_used = jnp.arange(self.size) < used + left.sum()
        return chosen, spares._replace(used=now_used), left & (place < self.size)

    def _refill(self, wanting: Wanting, params: Any) -> Wanting:
        """S spares drawn anew, and those served that are left."""
        # The key is carried, or XLA would see that every turn does the same, and do it once before
        # the loop, needed or not.
        key, draw_key = jax.random.split(wanting.key)
        obs, inner = self.draw(self.compute.keys(draw_key, self.size), params)
        spares = Spares(inner, obs, jnp.zeros(self.size, bool))
        chosen, spares, served = self._serve(spares, wanting.left)
        fresh = select(served, chosen, wanting.fresh)
        after = Wanting(key, jnp.zeros((), bool), spares, fresh, wanting.left & ~served)
        return vary_like(after, wanting)


def _wants(wanting: Wanting) -> Array:
    return wanting.due | wanting.left.any()

"""A run that diverges stays at its last finite state."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from purejaxvpg.compute.rows import select
from purejaxvpg.state import EpisodeSums, Metrics, TrainState
from purejaxvpg.variables import trained

# A number whose square is beyond float32 is lost: an error or a norm taken of it is infinite.  (A
# policy of weights 1e30 is saturated, and its loss may well be 0.)
OVERFLOWS = float(np.sqrt(np.finfo(np.float32).max))  # 1.8e19
# The losses are squares, or products of two numbers, themselves: returns of 1e10 give a value loss
# of 1e20, and such a run is healthy.  They, and all other metrics, need only be finite.
SQUARED_LATER = ("policy_grad_norm", "value_grad_norm")


def beyond(name: str, x: ArrayLike) -> Array:
    """Where a metric is one of a run that has diverged: NaN, or too large.  Booleans."""
    return ~(jnp.abs(x) < (OVERFLOWS if name in SQUARED_LATER else jnp.inf))


def keep_finite(
    before: TrainState,
    after: TrainState,
    episodes: EpisodeSums,
    numbers: dict[str, Array],
) -> tuple[TrainState, Metrics]:
    """The update's outcome, unless the run has diverged: then the state before it, for good.

    The run's neighbours under `vmap` are rows of their own, and go on.

    Args:
      before, after: the states around the update.
      episodes, numbers: its metrics, all but `finite`.

    Returns: the state to go on with, and the metrics: NaN (and 0 episodes) for updates after
      divergence, None for those that were not measured.
    """
    numbers = {**episodes._asdict(), **numbers}
    # Constants that a network carries along may be infinite: a mask of logits, say.
    parameters = jax.tree.leaves([trained(network) for network in after.params])
    small = [(jnp.abs(x) < OVERFLOWS).all() for x in parameters]
    small += [~beyond(name, x) for name, x in numbers.items()]
    finite = before.finite & jnp.all(jnp.array(small))
    state = _select_state(finite, after._replace(update=after.update + 1), before)
    nothing = {name: 0.0 if name in EpisodeSums._fields else jnp.nan for name in numbers}
    shown: Any = dict.fromkeys(Metrics._fields)
    shown |= {name: jnp.where(before.finite, x, nothing[name]) for name, x in numbers.items()}
    return state, Metrics(**shown | {"finite": finite})


def with_key(state: TrainState, key: Array) -> TrainState:
    """The state with a new key.  A run that has diverged keeps its own."""
    keys = (jax.random.key_data(x) for x in (key, state.key))  # as data, see below
    impl = jax.random.key_impl(state.key)
    return state._replace(key=jax.random.wrap_key_data(jnp.where(state.finite, *keys), impl=impl))


def _select_state(finite: Array, after: TrainState, before: TrainState) -> TrainState:
    # The key stays too, so that the draws of the diverged update can be found again.  As data: it
    # has been used, and jax's checker of keys takes a choice between two for another use.
    impl = jax.random.key_impl(before.key)
    after, before = (s._replace(key=jax.random.key_data(s.key)) for s in (after, before))
    chosen = select(finite, after, before)
    return chosen._replace(key=jax.random.wrap_key_data(chosen.key, impl=impl), finite=finite)

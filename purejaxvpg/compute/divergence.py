"""A run that diverges stays at its last finite state."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from purejaxvpg.compute.rows import select
from purejaxvpg.state import EpisodeSums, Metrics, TrainState
from purejaxvpg.variables import trained

# A number whose square is beyond float32 is lost: an error or a norm taken of it is infinite.  (A
# policy of weights 1e30 is saturated, and its loss may well be 0.)
OVERFLOWS = float(np.sqrt(np.finfo(np.float32).max))  # 1.8e19


def keep_finite(
    before: TrainState,
    after: TrainState,
    episodes: EpisodeSums,
    numbers: dict[str, Array],
    unmeasured: tuple[str, ...],
) -> tuple[TrainState, Metrics]:
    """The update's outcome, unless the run has diverged: then the state before it, for good.

    The run's neighbours under `vmap` are rows of their own, and go on.

    Args:
      before, after: the states around the update.
      episodes, numbers: its metrics, all but `finite`.
      unmeasured: metrics that are NaN by design.

    Returns: the state to go on with, and the metrics: NaN (and 0 episodes) for updates after
      divergence.
    """
    numbers = {**episodes._asdict(), **numbers}
    measured = [x for name, x in numbers.items() if name not in unmeasured]
    # Constants that a network carries along may be infinite: a mask of logits, say.
    leaves = jax.tree.leaves(([trained(network) for network in after.params], measured))
    finite = before.finite & jnp.all(jnp.array([(jnp.abs(x) < OVERFLOWS).all() for x in leaves]))
    state = _select_state(finite, after._replace(update=after.update + 1), before)
    nothing = {name: 0.0 if name in EpisodeSums._fields else jnp.nan for name in numbers}
    shown = {name: jnp.where(before.finite, x, nothing[name]) for name, x in numbers.items()}
    return state, Metrics(**shown, finite=finite)


def _select_state(finite: Array, after: TrainState, before: TrainState) -> TrainState:
    # The key stays too, so that the draws of the diverged update can be found again.  As data: it
    # has been used, and jax's checker of keys takes a choice between two for another use.
    impl = jax.random.key_impl(before.key)
    after, before = (s._replace(key=jax.random.key_data(s.key)) for s in (after, before))
    chosen = select(finite, after, before)
    return chosen._replace(key=jax.random.wrap_key_data(chosen.key, impl=impl), finite=finite)

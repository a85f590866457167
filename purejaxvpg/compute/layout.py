"""Where the rows of a chunk lie: on which devices, and their way to the host and back."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from purejaxvpg.compute.numerics import STUDY_KEYS
from purejaxvpg.state import RewardStats, TrainState


def over_environments(*leading: str | None) -> TrainState:
    """Partition specs of a state whose N environments are split over the devices.

    Args:
      leading: mesh axes that the axes before N are split over; None for one that is not.
    """
    whole: Any = P()
    split: Any = P(*leading, "envs")
    rewards = RewardStats(*[whole] * len(RewardStats._fields))._replace(returns=split)
    whole_state = TrainState(*[whole] * len(TrainState._fields))
    return whole_state._replace(env_state=split, obs=split, reward_stats=rewards, memory=split)


def place(tree: Any, sharding: NamedSharding) -> Any:
    """Arrays of the host, laid out over the devices."""

    # From a callback, so that in a cluster each process gives only the rows of its own devices.
    def one(x: Any) -> jax.Array:
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(one, tree)


def local_rows(sharding: NamedSharding, rows: int) -> np.ndarray:
    """The rows whose devices belong to this process."""
    slices = sharding.addressable_devices_indices_map((rows,)).values()
    mine = [np.arange(rows)[index] for index in slices if index is not None]
    return np.unique(np.concatenate(mine))


def fetch(tree: Any) -> Any:
    """The rows that this process's devices hold, as numpy arrays; keys as their data."""

    def one(x: jax.Array) -> np.ndarray:
        x = _data(x)
        if x.is_fully_addressable:
            return np.asarray(x)
        pieces = {
            shard.index[0].start or 0: np.asarray(shard.data) for shard in x.addressable_shards
        }
        return np.concatenate([pieces[start] for start in sorted(pieces)])

    return jax.tree.map(one, tree)


def fetched_like(tree: Any) -> Any:
    """Shapes and types of the arrays that `fetch` would bring, if all devices are this
    process's."""
    return jax.eval_shape(lambda tree: jax.tree.map(_data, tree), tree)


def completed(leaves: Sequence[np.ndarray], like: Any) -> Sequence[np.ndarray]:
    """Leaves of a state that an earlier version saved, as this one has them.

    Before format 3 of states, episodes did not know what their returns lost to rounding: 0.
    Before format 4 observations were float32, one-hot of a Discrete; they have the environment's
    own types since.

    Args: like: a whole state of `[S, ...]`, or its shapes.  Leaves without a path stay as they are.
    """
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(like)]
    shapes = jax.tree.leaves(like)
    places = [n for n, path in enumerate(paths) if path.endswith(".episode.lost")]
    if len(leaves) == len(paths) - 1 and places:
        (place,) = places
        shape = (len(leaves[place]), *shapes[place].shape[1:])
        leaves = [*leaves[:place], np.zeros(shape, np.float32), *leaves[place:]]
    if len(leaves) != len(paths):
        return leaves
    observed = [n for n, path in enumerate(paths) if path in OBSERVED]
    changed = {n: _in_own_type(leaves[n], shapes[n]) for n in observed}
    if all(x is leaves[n] for n, x in changed.items()):
        return leaves
    return [changed.get(n, x) for n, x in enumerate(leaves)]


OBSERVED = (".obs", ".env_state.spares.obs")  # one array: there were no others


def _in_own_type(x: np.ndarray, like: Any) -> np.ndarray:
    """Observations `[S, N, ...]` of a former state in the type that the environment gives.

    Pictures of bytes stay floats, and are refused as another state: networks see them divided by
    255 today, and saw them as they are.
    """
    picture = like.dtype == np.uint8 and len(like.shape) == 5
    if x.dtype != np.float32 or like.dtype == np.float32 or picture:
        return x
    one_hot = x.ndim == len(like.shape) + 1
    return (x.argmax(-1) if one_hot else x).astype(like.dtype)


def _data(x: jax.Array) -> jax.Array:
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x


def restore(like: TrainState, host_state: Any) -> TrainState:
    """The state that `fetch` brought to the host, on the devices again.  One process only.

    Args: like: arrays, or their shapes, types and shardings.
    """

    def one(like: Any, x: np.ndarray) -> jax.Array:
        is_key = jnp.issubdtype(like.dtype, jax.dtypes.prng_key)
        array = jax.random.wrap_key_data(jnp.asarray(x), impl=STUDY_KEYS) if is_key else x
        return jax.device_put(array, like.sharding)

    return jax.tree.map(one, like, host_state)

"""Running statistics, and the two normalisers that use them.

Both keep their state in arrays inside the training state, so it is saved with the policy, and
both merge a whole batch at once, so every step of one batch is treated alike.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from purejaxvpg.advantages import Trajectory
from purejaxvpg.compute import Compute, accumulate, constant
from purejaxvpg.state import RewardStats, RunningStats, TrainState

ONE_DEVICE = Compute()


def init_stats(shapes: Any) -> RunningStats:
    """No rows merged yet: mean 0, variance 1.  shapes: one, or a dict of them (see encoding.py)."""

    def full(value: float) -> Any:
        one = lambda shape: jnp.full(shape, value, jnp.float32)  # noqa: E731
        return jax.tree.map(one, shapes, is_leaf=lambda x: isinstance(x, tuple))

    return RunningStats(full(0), full(1), jnp.zeros((), jnp.float32))


def merge(
    stats: RunningStats, rows: Any, weights: Array, compute: Compute = ONE_DEVICE
) -> RunningStats:
    """Statistics of the rows merged before and of these rows together.

        delta = mean_b - mean_a,      mean = mean_a + delta n_b / n
        M2    = var_a n_a + var_b n_b + delta^2 n_a n_b / n,      var = M2 / n

    Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm".

    Args:
      stats: of shape `[...]`.  rows: `[B, ...]`.  Both may be trees of arrays, merged by leaf.
      weights: `[B]`, 1 for a row that counts and 0 for one that is masked out.
      compute: sums over the devices, each of which has rows of its own.
    """
    weights = weights.astype(jnp.float32)
    count: Array = compute.sum(weights.sum())
    divisor = jnp.maximum(count, 1)
    total = stats.count + count
    share = count / jnp.maximum(total, 1)  # n_b / n

    def one(old_mean: Array, old_var: Array, rows: Array) -> tuple[Array, Array]:
        column = weights.reshape(weights.shape + (1,) * (rows.ndim - 1))  # [B, 1, ...]
        # `where`, not a product: a masked row may hold anything, NaN included.
        mean: Array = compute.sum(jnp.where(column > 0, rows, 0).sum(0)) / divisor
        squares = jnp.square(rows - mean[None])
        var: Array = compute.sum(jnp.where(column > 0, squares, 0).sum(0)) / divisor
        delta = mean - old_mean
        new_mean = old_mean + delta * share
        new_var = old_var * (1 - share) + var * share + jnp.square(delta) * share * (1 - share)
        seen = total > 0  # while nothing was merged, stay the identity
        return jnp.where(seen, new_mean, old_mean), jnp.where(seen, new_var, old_var)

    leaves = map(jax.tree.leaves, (stats.mean, stats.var, rows))
    means, variances = zip(*map(one, *leaves), strict=True)
    tree = jax.tree.structure(stats.mean)
    return RunningStats(jax.tree.unflatten(tree, means), jax.tree.unflatten(tree, variances), total)


def normalize(stats: RunningStats, rows: Any, clip: float) -> Any:
    """(rows - mean) / std, clipped to [-clip, clip].

    Shapes: `[..., F]` with stats `[F]`; trees by leaf.
    """

    def one(mean: Array, var: Array, rows: Array) -> Array:
        mean = jnp.broadcast_to(mean, rows.shape)
        deviation = jnp.broadcast_to(jnp.sqrt(var + 1e-8), rows.shape)
        return jnp.clip((rows - mean) / deviation, -clip, clip)

    return jax.tree.map(one, stats.mean, stats.var, rows)


def init_reward_stats(num_envs: int) -> RewardStats:
    """No reward seen yet."""
    return RewardStats(jnp.zeros(num_envs, jnp.float32), init_stats(()))


def restart(state: RewardStats) -> RewardStats:
    """The same scale, where all environments start afresh."""
    return state._replace(returns=jnp.zeros_like(state.returns))


def scale_rewards(
    state: TrainState, trajectory: Trajectory, gamma: ArrayLike, compute: Compute = ONE_DEVICE
) -> tuple[TrainState, Trajectory]:
    """Rewards divided by the running standard deviation of the discounted return.

        G_t = r_t + gamma G_{t-1},  G = 0 before the first reward of an episode

    The sum starts afresh after *every* end, terminated or truncated: carried across, one
    episode's rewards would leak into the next one's scale.  The batch is merged first, so its
    own rewards are already divided by a scale that knows them.  Steps that are not alive do not
    count.
    Source: Engstrom et al. 2020, "Implementation matters in deep policy gradients", 3.

    Returns: the state with this batch merged, and the trajectory with scaled rewards.
    """
    before, rewards = state.reward_stats, trajectory.rewards  # [T, N]
    done = trajectory.terminated | trajectory.truncated
    starts = jnp.concatenate([jnp.zeros_like(done[:1]), done[:-1]])  # [T, N]
    first = rewards[:1] + gamma * before.returns[None]  # [1, N], on from the last batch
    addends = jnp.concatenate([first, rewards[1:]])
    returns = accumulate(addends, gamma, starts, reverse=False)  # [T, N], G_t
    running = jnp.where(done[-1], 0, returns[-1])
    stats = merge(before.stats, returns.reshape(-1), trajectory.alive.reshape(-1), compute)
    # Returns that do not vary have no scale; dividing by almost nothing would make them huge.
    none = (stats.var <= 1e-8) | constant(stats.mean, stats.var)
    scale = jnp.where(none, 1.0, jnp.sqrt(stats.var))
    state = state._replace(reward_stats=RewardStats(running, stats))
    return state, trajectory._replace(rewards=rewards / scale)

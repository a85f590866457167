"""Tiny decision processes, all of whose trajectories are enumerated with their probabilities."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purejaxvpg.advantages import ESTIMATORS, Discounts, Trajectory

BEYOND = 1e3  # reward of steps that are none: it must not matter


class Process(NamedTuple):
    """H steps, S states of which O different observations are shown, A (joint) actions."""

    horizon: int
    start: np.ndarray  # [S], p(s_0)
    move: np.ndarray  # [S, A, S + 1], p(s' | s, a); the last: an end
    reward: np.ndarray  # [H, S, A]
    legal: np.ndarray  # [S, A] bool
    shows: np.ndarray  # [H, S] int, the observation's index


class Trajectories(NamedTuple):
    """All N trajectories of legal actions, padded to T = H steps."""

    shown: np.ndarray  # [T, N], index of the observation
    state: np.ndarray  # [T, N]
    action: np.ndarray  # [T, N], index of the (joint) action
    reward: np.ndarray  # [T, N]
    terminated: np.ndarray  # [T, N] bool
    alive: np.ndarray  # [T, N] bool
    chance: np.ndarray  # [N], the environment's factor of p(tau)

    @property
    def returns(self) -> np.ndarray:
        """R(tau) `[N]`, undiscounted."""
        return np.where(self.alive, self.reward, 0).sum(0)


def enumerate_trajectories(process: Process) -> Trajectories:
    """Every (s_0, a_0, s_1, a_1, ...) that may happen, by depth-first search."""
    each = []

    def walk(steps, state, chance):
        t = len(steps)
        for action in np.flatnonzero(process.legal[state]):
            step = (process.shows[t, state], state, action, process.reward[t, state, action])
            longer = [*steps, step]
            if len(longer) == process.horizon:
                each.append((longer, chance))
                continue
            for following, p in enumerate(process.move[state, action]):
                if p == 0:
                    continue
                if following == len(process.start):
                    each.append((longer, chance * p))
                else:
                    walk(longer, following, chance * p)

    for state, p in enumerate(process.start):
        walk([], state, p)

    shape = (process.horizon, len(each))
    shown, state, action = np.zeros((3, *shape), int)
    reward, terminated, alive = np.full(shape, BEYOND), np.zeros(shape, bool), np.zeros(shape, bool)
    for n, (steps, _) in enumerate(each):
        for t, step in enumerate(steps):
            shown[t, n], state[t, n], action[t, n], reward[t, n] = step
            alive[t, n] = True
        terminated[len(steps) - 1, n] = True
        action[len(steps) :, n] = np.flatnonzero(process.legal[0])[0]  # of state 0, as padded
        shown[len(steps) :, n] = process.shows[0, 0]
    chance = np.array([chance for _, chance in each])
    return Trajectories(shown, state, action, reward, terminated, alive, chance)


def values_of_histories(taus: Trajectories, p: np.ndarray) -> np.ndarray:
    """V `[T, N]`: the expected rest of the return, given all that was observed and done before a_t.

    Args: p: `[N]`, probabilities of the trajectories under the policy.
    """
    counted = np.where(taus.alive, taus.reward, 0)
    future = counted[::-1].cumsum(0)[::-1]  # [T, N]
    values = np.zeros_like(future)
    for t in range(len(future)):
        seen = np.concatenate([taus.shown[: t + 1], taus.action[:t], taus.alive[: t + 1]]).T
        _, group = np.unique(seen, axis=0, return_inverse=True)
        group = group.reshape(-1)
        mass = np.bincount(group, p)
        values[t] = (np.bincount(group, p * future[t]) / mass)[group]
    return values


def wrong_values(taus: Trajectories, seed: int) -> np.ndarray:
    """V `[T, N]` that depends on the step and the observation, and is wrong."""
    table = 3 * np.random.default_rng(seed).normal(size=(len(taus.shown), taus.shown.max() + 1))
    return np.take_along_axis(table, taus.shown, axis=1)


def weights(
    taus: Trajectories, p: np.ndarray, wanted: dict[str, tuple[str, np.ndarray, dict]]
) -> dict[str, np.ndarray]:
    """Psi_t `[T, N]` by purejaxvpg's estimators, undiscounted; of leave_one_out its expectation.

    Args: p: `[N]`, probabilities of the trajectories.  wanted: by name an estimator, V `[T, N]`,
    and settings of `Discounts`.
    """

    @jax.jit
    def each():
        out = {}
        for key, (name, values, settings) in wanted.items():
            discounts = {"gamma": 1.0, "gae_lambda": 1.0, **settings}
            trajectory = _trajectory(taus, values)
            if name == "leave_one_out":
                out[key] = _pairs(trajectory) @ p
            else:
                out[key] = ESTIMATORS[name](trajectory, Discounts(**discounts))
        return out

    return jax.tree.map(np.asarray, each())


def _trajectory(taus: Trajectories, values: np.ndarray) -> Trajectory:
    after = np.concatenate([values[1:], np.full_like(values[:1], BEYOND)])
    after[taus.terminated] = np.nan
    uncut = np.zeros_like(taus.alive)
    arrays = (taus.reward, values, after, taus.terminated, uncut, taus.alive)
    return Trajectory(*map(jnp.asarray, arrays))


def _pairs(trajectory: Trajectory) -> jax.Array:
    """Psi_t of trajectory i by leave_one_out, next to trajectory j alone.  `[T, N_i, N_j]`"""

    def one_pair(i, j):
        pair = jax.tree.map(lambda x: jnp.stack([x[:, i], x[:, j]], axis=1), trajectory)
        return ESTIMATORS["leave_one_out"](pair, Discounts(1.0))[:, 0]  # [T]

    each = jnp.arange(trajectory.rewards.shape[1])
    return jax.vmap(jax.vmap(one_pair, (None, 0), 1), (0, None), 1)(each, each)

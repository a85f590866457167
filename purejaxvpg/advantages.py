"""The mathematics of vanilla policy gradient: seven choices of one weight.

The policy gradient theorem lets us climb the expected return J(theta) along

    g = E[ sum_t  grad log pi_theta(a_t | s_t)  Psi_t ]                                   (1)

where a trajectory is (s_0, a_0, r_1), (s_1, a_1, r_2), ...: action a_t earns r_{t+1}, and its
future starts with that reward.  (Schulman et al. write r_t for it.)  Every method below leaves (1)
as it is and changes only the weight Psi_t (Schulman et al. 2016, "High-dimensional continuous
control using generalized advantage estimation", equation 1):

    total_return     R(tau), the return of the whole episode      unbiased*, noisiest
    future_return    what came after a_t, the "reward-to-go"      unbiased*, less noise
    leave_one_out    future_return - mean of the others' at t     unbiased*, needs no V
    value_baseline   future_return - V(s_t)                       unbiased* for any V
    td               r_{t+1} + gamma V(s_{t+1}) - V(s_t)          least noise, biased if V is wrong
    n_step           n rewards + gamma^n V(s_{t+n}) - V(s_t)      between the two
    gae              a mean of every n_step, by powers of lambda  between the two, smoothly

    * where every episode ends inside the rollout.  Where one is cut, V stands for the rewards that
      are missing, in every method, and an error of V there biases Psi.

The term - V(s_t) never adds bias.  Bias comes from bootstrapped values, V(s_{t+k}) with k >= 1,
where V is wrong.  gae with lambda < 1 gives later rewards less weight and puts V(s_{t+1}),
V(s_{t+2}), ... in their place, so it is biased if V is wrong; with lambda = 1 it is value_baseline.

One convention holds for all of them.  Arrays are `[T, N]`: T steps, time first, of N
environments.  At step t, with the action a_t just taken in s_t:

    rewards[t]       r_{t+1}
    values[t]        V(s_t)
    next_values[t]   V(s_{t+1}), of the state that the step led to *before* any reset
    terminated[t]    nothing follows s_{t+1}: 0 is used in place of V(s_{t+1})
    truncated[t]     a time limit stopped the episode at s_{t+1}: V(s_{t+1}) stands for the rest

and `done = terminated | truncated` ends the episode: no reward from beyond it may flow back.
The rollout stops at t = T-1 while episodes go on; V(s_T) stands for the rest there, as for a
truncation.  If a step is both, terminated wins.  At a truncated step, as at t = T-1, every weight
but total_return and leave_one_out is r_{t+1} + gamma V(s_{t+1}), less V(s_t) if it subtracts V.

With gamma < 1 the exact gradient of the *discounted* return from s_0 multiplies term t by gamma^t
(but for `total_return`).  The estimators here leave gamma^t out, as nearly every implementation
does, so that late states count fully; Nota and Thomas 2020, "Is the policy gradient a gradient?",
explain the effect.

Everything is dtype-generic: float32 in, float32 out; float64 in, float64 out.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from purejaxvpg.compute import accumulate
from purejaxvpg.fields import MOST, check_count


class Trajectory(NamedTuple):
    """T steps of N environments, `[T, N]` each: three floats of one dtype, three booleans.

    The functions below raise AssertionError for arrays of another rank, shape, kind or dtype.
    """

    rewards: Array  # r_{t+1}
    values: Array  # V(s_t)
    next_values: Array  # V(s_{t+1}), before any reset
    terminated: Array  # bool
    truncated: Array  # bool
    alive: Array  # bool; False: the step lies beyond the end of the episode, and has no weight


class Discounts(NamedTuple):
    """Discount and its kin: gamma and lambda in [0, 1] may be traced; n_step is an int >= 1."""

    gamma: ArrayLike
    gae_lambda: ArrayLike = 0.95
    n_step: int = 5


def total_return(trajectory: Trajectory, discounts: Discounts) -> Array:
    """Return of the whole episode, the same for each of its steps.

        R(tau) = sum_{k >= 0} gamma^k r_{k+1}         =      R^f at the episode's first step

    A truncated episode of length L adds gamma^L V(s_L).  Two passes: backward for R^f_t, then
    forward to copy the first step's R^f over its whole episode.  Row 0 of the arrays must
    therefore be the first step of an episode (`rollout="episodes"`).
    Source: Williams 1992 (REINFORCE); Spinning Up, "Deriving the simplest policy gradient".

    Returns: `[T, N]`, R(tau).
    """
    future = future_return(trajectory, discounts)
    done = _done(trajectory)
    starts = jnp.concatenate([jnp.ones_like(done[:1]), done[:-1]])  # [T, N], the first step
    return accumulate(jnp.where(starts, future, 0), 1, starts, reverse=False)


def future_return(trajectory: Trajectory, discounts: Discounts) -> Array:
    """Discounted sum of the rewards that follow each action, the "reward-to-go".

        R^f_t = sum_{k >= t} gamma^(k-t) r_{k+1}      =      r_{t+1} + gamma R^f_{t+1}

    The recursion runs backward.  At the last step of an episode, 0 (terminated) or V(s_{t+1})
    (truncated, or cut by the end of the rollout) replaces R^f_{t+1}.
    Source: Sutton & Barto 2018, equation 3.9; Spinning Up, "Don't let the past distract you".

    Returns: `[T, N]`, R^f_t.
    """
    bootstrap, done = _bootstrap(trajectory), _done(trajectory)
    ends = jnp.concatenate([done[:-1], jnp.ones_like(done[-1:])])  # [T, N], of episode or rollout
    addends = trajectory.rewards + discounts.gamma * jnp.where(ends, bootstrap, 0)
    return accumulate(addends, discounts.gamma, ends)


def leave_one_out(trajectory: Trajectory, discounts: Discounts) -> Array:
    """Future return, less the mean future return of the other trajectories at the same step.

        Psi[t, i] = R^f[t, i] - mean_{j != i} R^f[t, j]        over the j still alive at t

    The other episodes do not depend on a_t of this one, so their mean is a baseline that leaves the
    expectation of (1) untouched; V is needed only where an episode is cut.  Where no other is
    alive the baseline is 0.  Made for `rollout="episodes"`, where step t is the t-th of every
    episode.
    Source: Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for free!" (there the samples
    share one context; here the states at t differ, which makes the baseline weaker).

    Returns: `[T, N]`, Psi_t.
    """
    future = future_return(trajectory, discounts)
    counted = jnp.where(trajectory.alive, future, 0)  # [T, N]
    others = trajectory.alive.sum(1, keepdims=True) - trajectory.alive  # [T, N], how many
    baseline = (counted.sum(1, keepdims=True) - counted) / jnp.maximum(others, 1)
    return future - baseline.astype(future.dtype)


def value_baseline(trajectory: Trajectory, discounts: Discounts) -> Array:
    """Future return, less its expected value V(s_t).

        Psi_t = R^f_t - V(s_t)

    A baseline that does not depend on a_t leaves the expectation of (1) untouched, since
    E_a[ grad log pi(a|s) ] V(s) = 0.  It removes the variance that comes from the state alone.
    On `rollout="segments"` this is the advantage of A3C: the rewards up to the end of a segment of
    at most t_max steps, so that their number k is bounded by t_max, then V.  Readers who look for
    A2C (synchronous A3C) come closest with this estimator, `num_steps=5`, `shared_torso=True`,
    `value_iterations=1`, `normalize_advantages=False`, `optimizer="rmsprop"` and
    `entropy_coef=0.01`; A2C takes one joint step where the value head here takes its own.
    Source: Williams 1992, section 4; Sutton & Barto 2018, section 13.4; Mnih et al. 2016,
    "Asynchronous methods for deep reinforcement learning", section 4 and algorithm S3.

    Returns: `[T, N]`, Psi_t.
    """
    return future_return(trajectory, discounts) - trajectory.values


def td(trajectory: Trajectory, discounts: Discounts) -> Array:
    """Temporal-difference residual: one real reward, then V.

        delta_t = r_{t+1} + gamma V(s_{t+1}) - V(s_t)

    A truncated step has the same formula: its `next_values` is V of the last observation before
    the reset.
    Source: Sutton & Barto 2018, equation 6.5; Schulman et al. 2016, section 3.

    Returns: `[T, N]`, delta_t.
    """
    return trajectory.rewards + discounts.gamma * _bootstrap(trajectory) - trajectory.values


def n_step(trajectory: Trajectory, discounts: Discounts) -> Array:
    """n real rewards, then V.

        Psi_t = r_{t+1} + ... + gamma^(n-1) r_{t+n} + gamma^n V(s_{t+n}) - V(s_t)

    Built from one reward upward: G^(1)_t = r_{t+1} + gamma V(s_{t+1}), and each turn of the loop
    adds one reward, G^(k)_t = r_{t+1} + gamma G^(k-1)_{t+1}.  The window is shorter where the
    episode or the rollout ends before it.  n = 1 is `td`; n >= T is `value_baseline`.
    Source: Sutton & Barto 2018, equation 7.1 (the return, without the baseline).

    Returns: `[T, N]`, Psi_t.  Raises: ValueError or TypeError for n_step that is no int >= 1.
    """
    check_count("n_step", discounts.n_step, MOST)
    bootstrap, done = _bootstrap(trajectory), _done(trajectory)
    rewards, gamma = trajectory.rewards, discounts.gamma
    one_reward = rewards + gamma * bootstrap  # [T, N], G^(1)

    def one_more(target: Array, _: None) -> tuple[Array, None]:
        later = jnp.concatenate([target[1:], bootstrap[-1:]])  # [T, N], G^(k-1)_{t+1}
        return rewards + gamma * jnp.where(done, bootstrap, later), None

    longer = max(0, min(discounts.n_step, len(rewards)) - 1)  # rewards after the first
    return lax.scan(one_more, one_reward, length=longer)[0] - trajectory.values


def gae(trajectory: Trajectory, discounts: Discounts) -> Array:
    """Generalized advantage estimation: the mean of all n-step estimates, by powers of lambda.

        A_t = (1 - lambda) sum_{n >= 1} lambda^(n-1) Psi^(n)_t          Psi^(n): n_step
            = sum_{k >= 0} (gamma lambda)^k delta_{t+k}   =   delta_t + gamma lambda A_{t+1}

    lambda = 1 is `value_baseline`, lambda = 0 is `td`.  The sum stops at the episode's end.
    Source: Schulman et al. 2016, equations 11 to 16.

    Returns: `[T, N]`, A_t.
    """
    decay = discounts.gamma * discounts.gae_lambda
    return accumulate(td(trajectory, discounts), decay, _done(trajectory))


def lambda_return(trajectory: Trajectory, discounts: Discounts) -> Array:
    """A_t + V(s_t), a target for V: the smaller lambda, the less noise and the more bias.

    Source: Sutton & Barto 2018, equation 12.3.

    Returns: `[T, N]`.
    """
    return gae(trajectory, discounts) + trajectory.values


ESTIMATORS: dict[str, Callable[[Trajectory, Discounts], Array]] = {
    "total_return": total_return,
    "future_return": future_return,
    "leave_one_out": leave_one_out,
    "value_baseline": value_baseline,
    "td": td,
    "n_step": n_step,
    "gae": gae,
}
"""Psi_t of equation (1) by the estimator's name."""

VALUE_TARGETS: dict[str, Callable[[Trajectory, Discounts], Array]] = {
    "future_return": future_return,
    "lambda_return": lambda_return,
}
"""R^_t, the target that V(s_t) is regressed on.  `future_return` is the Monte-Carlo target of the
textbook algorithm (Spinning Up, "Vanilla Policy Gradient", line 8 of its pseudocode)."""

COMPARES_ENVIRONMENTS = (leave_one_out,)
"""Estimators whose column n depends on other columns too.  Of all others it depends on its own."""


def _bootstrap(trajectory: Trajectory) -> Array:
    """V(s_{t+1}), 0 if nothing follows.  `[T, N]`"""
    _check(trajectory)
    return jnp.where(trajectory.terminated, 0, trajectory.next_values)


def _done(trajectory: Trajectory) -> Array:
    return trajectory.terminated | trajectory.truncated  # [T, N]


def _check(trajectory: Trajectory) -> None:
    """AssertionError for arrays that are not all `[T, N]`: `[T, N, 1]` would broadcast."""
    chex.assert_rank(list(trajectory), 2)
    chex.assert_equal_shape(list(trajectory))
    chex.assert_type(list(trajectory), [float] * 3 + [bool] * 3)
    chex.assert_type(list(trajectory)[:3], trajectory.rewards.dtype)

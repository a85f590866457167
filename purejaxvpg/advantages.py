"""The mathematics of vanilla policy gradient: six choices of one weight.

The policy gradient theorem lets us climb the expected return J(theta) along

    g = E[ sum_t  grad log pi_theta(a_t | s_t)  Psi_t ]                                   (1)

where a trajectory is (s_0, a_0, r_1), (s_1, a_1, r_2), ...: the reward that action a_t brings
is the first reward of its future.  Every method below leaves (1) as it is and changes only
the weight Psi_t (Schulman et al. 2016, "High-dimensional continuous control using generalized
advantage estimation", equation 1):

    total_return     R(tau), the return of the whole episode      unbiased*, noisiest
    future_return    what came after a_t, the "reward-to-go"      unbiased*, less noise
    value_baseline   future_return - V(s_t)                       unbiased* for any V
    td               r_{t+1} + gamma V(s_{t+1}) - V(s_t)          least noise, biased if V is wrong
    n_step           n real rewards, then V, minus V(s_t)         between the two
    gae              every n_step at once, weighted by lambda^n   between the two, smoothly

    * where every episode is seen to its true end; a cut one counts on V for what it did not see

One convention holds for all of them.  Arrays are `[T, N]`: T steps, time first, of N
environments.  At step t, with the action a_t just taken in s_t:

    rewards[t]       r_{t+1}
    values[t]        V(s_t)
    next_values[t]   V(s_{t+1}), of the state that the step led to *before* any reset
    terminated[t]    nothing follows s_{t+1}: its value is zero, whatever V says
    truncated[t]     the clock cut the episode at s_{t+1}: what would follow is V(s_{t+1})

and `done = terminated | truncated` ends the episode: no reward from beyond it may flow back.
Where the rollout itself is cut, at t = T-1, the episode goes on unseen and V(s_T) stands for
the rest, as for a truncation.  If a step is both, terminated wins.

With gamma < 1 the gradient of the *discounted* return from s_0 carries a further gamma^t in
every term but that of `total_return`.  Like nearly every implementation, and for the same
reason (late states matter too), the estimators here leave it out; Nota and Thomas 2020, "Is
the policy gradient a gradient?", tells what that means.

Everything is dtype-generic: float32 in, float32 out; float64 in, float64 out.
"""

from typing import Literal, get_args

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from purejaxvpg.recurrence import accumulate

Estimator = Literal["total_return", "future_return", "value_baseline", "td", "n_step", "gae"]
ESTIMATORS: tuple[str, ...] = get_args(Estimator)

ValueTarget = Literal["future_return", "lambda_return"]
VALUE_TARGETS: tuple[str, ...] = get_args(ValueTarget)


def future_return(
    rewards: Array, next_values: Array, terminated: Array, truncated: Array, gamma: ArrayLike
) -> Array:
    """Discounted sum of the rewards that follow each action, the "reward-to-go".

        R^f_t = sum_{k >= t} gamma^(k-t) r_{k+1}      =      r_{t+1} + gamma R^f_{t+1}

    The recursion runs backward and stops at the episode's end, where R^f_{t+1} gives way to 0
    (terminated) or to V(s_{t+1}) (truncated, or cut by the end of the rollout).
    Source: Sutton & Barto 2018, equation 3.9; Spinning Up, "Don't let the past distract you".

    Args:
      rewards, next_values: `[T, N]` floats. terminated, truncated: `[T, N]` booleans.
      gamma: discount, a scalar in [0, 1].

    Returns: `[T, N]`, R^f_t.
    """
    bootstrap = jnp.where(terminated, 0, next_values)  # [T, N], V(s_{t+1}), 0 if nothing follows
    done = terminated | truncated  # [T, N]
    ends = jnp.concatenate([done[:-1], jnp.ones_like(done[-1:])])  # [T, N], the rollout's too
    return accumulate(rewards + gamma * jnp.where(ends, bootstrap, 0), gamma, ends)


def total_return(
    rewards: Array, next_values: Array, terminated: Array, truncated: Array, gamma: ArrayLike
) -> Array:
    """Return of the whole episode, the same for each of its steps.

        R(tau) = sum_{k >= 0} gamma^k r_{k+1}         =      R^f_0 of the episode

    (of a truncated episode of length L, plus gamma^L V(s_L)).  Two passes: backward for R^f_t,
    then forward to copy the first step's R^f over its whole episode.  Row 0 of the arrays must
    therefore be the first step of an episode (`rollout="episodes"`).
    Source: Williams 1992, "REINFORCE"; Spinning Up, "Deriving the simplest policy gradient".

    Args and Returns: as `future_return`.
    """
    future = future_return(rewards, next_values, terminated, truncated, gamma)
    done = terminated | truncated
    starts = jnp.concatenate([jnp.ones_like(done[:1]), done[:-1]])  # [T, N], a first step

    return accumulate(jnp.where(starts, future, 0), 1, starts, reverse=False)


def value_baseline(
    rewards: Array,
    values: Array,
    next_values: Array,
    terminated: Array,
    truncated: Array,
    gamma: ArrayLike,
) -> Array:
    """Future return, less what was to be expected of the state.

        Psi_t = R^f_t - V(s_t)

    A baseline that does not depend on a_t leaves the expectation of (1) untouched, since
    E_a[ grad log pi(a|s) ] V(s) = 0, and takes out the noise that is the state's alone.
    Source: Williams 1992, section 4; Sutton & Barto 2018, section 13.4.

    Args: as `future_return`, and values: `[T, N]`, V(s_t).  Returns: `[T, N]`, Psi_t.
    """
    return future_return(rewards, next_values, terminated, truncated, gamma) - values


def td(
    rewards: Array, values: Array, next_values: Array, terminated: Array, gamma: ArrayLike
) -> Array:
    """Temporal-difference residual: one real reward, then trust V.

        delta_t = r_{t+1} + gamma V(s_{t+1}) - V(s_t)

    Source: Sutton & Barto 2018, equation 6.5; Schulman et al. 2016, equation 10.

    Args: as `value_baseline` (a truncated step differs from any other only in whose value
    `next_values` holds).  Returns: `[T, N]`, delta_t.
    """
    bootstrap = jnp.where(terminated, 0, next_values)  # [T, N], V(s_{t+1}), 0 if nothing follows
    return rewards + gamma * bootstrap - values


def n_step(
    rewards: Array,
    values: Array,
    next_values: Array,
    terminated: Array,
    truncated: Array,
    gamma: ArrayLike,
    n: int,
) -> Array:
    """n real rewards, then trust V.

        Psi_t = r_{t+1} + ... + gamma^(n-1) r_{t+n} + gamma^n V(s_{t+n}) - V(s_t)

    Built from one reward upward: G^(1)_t = r_{t+1} + gamma V(s_{t+1}), and one more reward in
    front of a window of k-1 makes a window of k, G^(k)_t = r_{t+1} + gamma G^(k-1)_{t+1}.
    n = 1 is `td`; n >= T is `value_baseline`.
    Source: Sutton & Barto 2018, equation 7.1; Mnih et al. 2016, "A3C", section 4.

    Args: as `value_baseline`, and n: how many rewards, static, at least 1.
    Returns: `[T, N]`, Psi_t.
    """
    done = terminated | truncated  # [T, N]
    bootstrap = jnp.where(terminated, 0, next_values)  # [T, N], V(s_{t+1}), 0 if nothing follows
    one_reward = rewards + gamma * bootstrap  # [T, N], G^(1)

    def one_more(target: Array, _: None) -> tuple[Array, None]:
        later = jnp.concatenate([target[1:], bootstrap[-1:]])  # [T, N], G^(k-1)_{t+1}
        return rewards + gamma * jnp.where(done, bootstrap, later), None

    target, _ = lax.scan(one_more, one_reward, length=min(n, len(rewards)) - 1)
    return target - values


def gae(
    rewards: Array,
    values: Array,
    next_values: Array,
    terminated: Array,
    truncated: Array,
    gamma: ArrayLike,
    gae_lambda: ArrayLike,
) -> Array:
    """Generalized advantage estimation: all n-step estimates, weighted by lambda^(n-1).

        A_t = sum_{k >= 0} (gamma lambda)^k delta_{t+k}   =   delta_t + gamma lambda A_{t+1}

    lambda = 1 is `value_baseline`, lambda = 0 is `td`.  The sum stops at the episode's end.
    Source: Schulman et al. 2016, equations 11 to 16.

    Args: as `value_baseline`, and gae_lambda: a scalar in [0, 1].  Returns: `[T, N]`, A_t.
    """
    delta = td(rewards, values, next_values, terminated, gamma)  # [T, N]
    return accumulate(delta, gamma * gae_lambda, terminated | truncated)


def policy_weight(
    estimator: str,
    rewards: Array,
    values: Array,
    next_values: Array,
    terminated: Array,
    truncated: Array,
    gamma: ArrayLike,
    gae_lambda: ArrayLike,
    n: int,
) -> Array:
    """Psi_t of equation (1) by the estimator's name.

    Args: as the six functions above.  Returns: `[T, N]`.
    Raises: ValueError for an unknown estimator.
    """
    ends = (terminated, truncated)
    if estimator == "total_return":
        return total_return(rewards, next_values, *ends, gamma)
    elif estimator == "future_return":
        return future_return(rewards, next_values, *ends, gamma)
    elif estimator == "value_baseline":
        return value_baseline(rewards, values, next_values, *ends, gamma)
    elif estimator == "td":
        return td(rewards, values, next_values, terminated, gamma)
    elif estimator == "n_step":
        return n_step(rewards, values, next_values, *ends, gamma, n)
    elif estimator == "gae":
        return gae(rewards, values, next_values, *ends, gamma, gae_lambda)
    else:
        raise ValueError(f"estimator={estimator!r} is unknown; choose one of {ESTIMATORS}")


def value_regression_target(
    target: str,
    rewards: Array,
    values: Array,
    next_values: Array,
    terminated: Array,
    truncated: Array,
    gamma: ArrayLike,
    gae_lambda: ArrayLike,
) -> Array:
    """R^_t, what V(s_t) is regressed on.

    `future_return` is the Monte-Carlo target of the textbook algorithm (Spinning Up, "VPG",
    line 7); `lambda_return` is A_t + V(s_t), which trades noise for bias just as gae does
    (Sutton & Barto 2018, equation 12.3).

    Args: as `gae`.  Returns: `[T, N]`.  Raises: ValueError for an unknown target.
    """
    ends = (terminated, truncated)
    if target == "future_return":
        return future_return(rewards, next_values, *ends, gamma)
    elif target == "lambda_return":
        return gae(rewards, values, next_values, *ends, gamma, gae_lambda) + values
    else:
        raise ValueError(f"value_target={target!r} is unknown; choose one of {VALUE_TARGETS}")

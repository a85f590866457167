"""Types: training state, metrics of an update, result of a run.  Arrays only, no functions.

Letters: T steps per rollout, N environments, U updates, E evaluation episodes.
"""

from typing import Any, NamedTuple

from jax import Array


class Params(NamedTuple):
    """Parameters of both networks, each with an optimizer of its own."""

    policy: Any  # policy head and its torso
    value: Any  # value head and, unless the torso is shared, its torso


class Memory(NamedTuple):
    """Hidden state of recurrent networks; () without memory."""

    policy: Any  # [N, ...]
    value: Any  # [N, ...]; () where V reads the policy's features


class RunningStats(NamedTuple):
    """Mean and variance of everything merged so far.  float32; the identity while count is 0."""

    mean: Any  # [...]; of observations of several arrays a dict
    var: Any  # [...], population variance
    count: Array  # [], how many rows were merged


class RewardStats(NamedTuple):
    """State of the reward scale."""

    returns: Array  # [N], discounted sum of the running episode's rewards so far
    stats: RunningStats  # [], of that sum over all steps


class EpisodeStats(NamedTuple):
    """Running episodes of N environments."""

    returns: Array  # [N] float32, undiscounted sum of the rewards so far
    lengths: Array  # [N] int32, steps so far
    lost: Array  # [N] float32, what the sum has lost to rounding so far


class Spares(NamedTuple):
    """Reset states drawn ahead: where each of N environments will go on after an end."""

    inner: Any  # [N, ...] pytree
    obs: Any  # [N, ...] pytree
    used: Array  # [N] bool: an episode began here, another must not


class VectorState(NamedTuple):
    """State of N environments."""

    inner: Any  # [N, ...] pytree, the library's states
    episode: EpisodeStats
    spares: Spares | None  # None where none are needed


class TrainState(NamedTuple):
    """Everything that a run carries from one update to the next.  vmap, donate, shard, save it."""

    params: Params  # policy and value networks
    opt_state: Params  # of their optimizers
    env_state: VectorState  # [N, ...]
    obs: Any  # [N, ...] pytree, the observation that the next action answers to
    obs_stats: RunningStats  # of observations as networks see them
    reward_stats: RewardStats  # [N] and []
    key: Array  # [] PRNG key
    update: Array  # [] int32, updates done
    finite: Array  # [] bool; False: the run has diverged, and stays at its last finite state
    memory: Memory = Memory((), ())  # [N, ...], before the next step; zero where an episode begins


class EpisodeSums(NamedTuple):
    """Episodes that ended during a rollout."""

    episode_return_sum: Array  # undiscounted, unnormalised
    episode_length_sum: Array  # steps
    episode_count: Array


class Metrics(NamedTuple):
    """One update in numbers, each a float32 scalar `[]` unless noted; stacked to `[U]` by train.

    Episodes come as sums and counts, so that every finished episode weighs the same in a mean
    over any span of updates: `episode_return_sum.sum(-1) / episode_count.sum(-1)`.

    The first update that is not finite shows its numbers as they are; it changed nothing.  In
    the updates after it no episode ends, and all else is NaN.

    Three are None without `VPGConfig.diagnostics`: kl, policy_loss_change and value_loss_after.
    Studies and files have NaN in their place.
    """

    episode_return_sum: Array  # undiscounted, unnormalised, over the episodes that ended
    episode_length_sum: Array  # steps
    episode_count: Array
    policy_loss: Array  # -sum weight log pi Psi, before the step
    policy_loss_change: Array  # after the step, less before
    kl: Array  # KL(before || after the step), mean over the batch, nats
    entropy: Array  # mean over the batch, before the step, nats
    policy_grad_norm: Array  # global norm, before clipping (of all that the policy's step moves)
    value_loss: Array  # mean (V - R^)^2, before fitting
    value_loss_after: Array  # after fitting
    value_grad_norm: Array  # global norm at the first value iteration, before clipping
    explained_variance: Array  # 1 - Var(R^ - V) / Var(R^), before fitting; 0 if all R^ are equal
    finite: Array  # bool, of all updates so far: no number was NaN or infinite, and no parameter or
    # gradient norm beyond 1.8e19, whose square is


class Evaluation(NamedTuple):
    """Outcome of E episodes."""

    returns: Array  # [E] float32, undiscounted and unnormalised
    lengths: Array  # [E] int32, steps
    finished: Array  # [E] bool; False: cut by the step bound, the return is of what was seen


class TrainResult(NamedTuple):
    """State and numbers of a run, as `train` returns them."""

    state: TrainState
    metrics: Metrics  # [U]
    evaluations: Evaluation | None  # [U / eval_every, E]; None if eval_every is 0

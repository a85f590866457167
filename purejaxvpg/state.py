"""What there is between two updates, and what a run leaves."""

from typing import NamedTuple

from jax import Array

from purejaxvpg.envs import VectorState
from purejaxvpg.evaluate import Evaluation
from purejaxvpg.networks import Params
from purejaxvpg.normalize import RewardStats, RunningStats


class TrainState(NamedTuple):
    """All there is to a run between two updates.  Arrays only: vmap, donate, shard, save it."""

    params: Params  # policy and value networks
    opt_state: Params  # of their optimizers
    env_state: VectorState  # [N, ...]
    obs: Array  # [N, *obs_shape], the observation that the next action answers to
    obs_stats: RunningStats  # [*obs_shape]
    reward_stats: RewardStats  # [N] and []
    key: Array  # [] PRNG key
    update: Array  # [] int32, updates done
    finite: Array  # [] bool; False: the run has diverged, and stays at its last finite state


class EpisodeSums(NamedTuple):
    """Episodes that ended during a rollout."""

    episode_return_sum: Array  # undiscounted, unnormalised
    episode_length_sum: Array  # steps
    episode_count: Array


class Metrics(NamedTuple):
    """One update in numbers, each a float32 scalar `[]` unless noted; stacked to `[U]` by train.

    Episodes come as sums and counts, so that every finished episode weighs the same in a mean
    over any span of updates: `episode_return_sum.sum(-1) / episode_count.sum(-1)`.

    The first update that is not finite shows its numbers as they are; it changed nothing, and in
    those after it no episode ended and all else is NaN.
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
    explained_variance: Array  # 1 - Var(R^ - V) / Var(R^), before fitting; 0 if R^ is constant
    finite: Array  # bool: all so far, parameters, losses and gradients are below 1.8e19, none NaN


class TrainResult(NamedTuple):
    """What `train` returns."""

    state: TrainState
    metrics: Metrics  # [U]
    evaluations: Evaluation | None  # [U / eval_every, E]; None if eval_every is 0

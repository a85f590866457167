"""Vanilla policy gradient, top to bottom: collect, judge, improve, fit.

    for each of U updates:
        collect   T steps in N environments with the policy pi                      [T, N]
        judge     each action by a weight Psi_t, from rewards and the value function V
        improve   pi by one step along  g = E[ sum_t grad log pi(a_t | s_t) Psi_t ]
        fit       V by `value_iterations` steps down  E[ (V(s_t) - R^_t)^2 ]

Sources: Williams 1992 (REINFORCE); Sutton et al. 2000 (the policy gradient theorem); Schulman
et al. 2016 (GAE); Achiam 2018, "Spinning Up", "Vanilla Policy Gradient".

Everything here is pure, so that `jax.jit`, `jax.vmap` and `jax.lax.scan` apply to all of it.
The mathematics of Psi_t is in advantages.py.  Letters: T steps, N environments, B = T N rows
of the flattened batch, O outputs of the policy network, U updates, E evaluation episodes.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from purejaxvpg.advantages import policy_weight, value_regression_target
from purejaxvpg.agent import Agent, make_agent
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.envs import VectorEnv, VectorState, vectorize
from purejaxvpg.evaluate import Evaluation, make_evaluate
from purejaxvpg.networks import Params
from purejaxvpg.normalize import (
    RewardStats,
    RunningStats,
    init_reward_stats,
    init_stats,
    merge,
    scale_rewards,
)
from purejaxvpg.optimize import make_optimizer, summed_grad
from purejaxvpg.policy import Policy

# ------------------------------------------------------------------------------- WHAT IS KEPT


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


class Metrics(NamedTuple):
    """One update in numbers, each a float32 scalar `[]` unless noted; stacked to `[U]` by train.

    Episodes come as sums and counts, so that the mean over any span of updates is unbiased:
    `episode_return_sum.sum() / episode_count.sum()`.
    """

    episode_return_sum: Array  # undiscounted, unnormalised, over episodes that ended
    episode_length_sum: Array  # steps
    episode_count: Array
    policy_loss: Array  # -sum_t log pi Psi_t, mean over the batch, before the step
    policy_loss_change: Array  # after the step, less before
    kl: Array  # KL(before || after the step), mean over the batch
    entropy: Array  # nats, before the step
    policy_grad_norm: Array  # global norm, before clipping
    value_loss: Array  # mean (V - R^)^2 before fitting
    value_loss_after: Array  # after fitting
    value_grad_norm: Array  # of the first value iteration, before clipping
    explained_variance: Array  # 1 - Var(R^ - V) / Var(R^), before fitting
    finite: Array  # bool: parameters, losses and gradients are all finite


class TrainResult(NamedTuple):
    """What `train` returns."""

    state: TrainState
    metrics: Metrics  # [U]
    evaluations: Evaluation | None  # [U / eval_every, E]; None if eval_every is 0


class Learner(NamedTuple):
    """The algorithm as a pair of pure functions."""

    init: Callable[..., TrainState]  # (key, hp=None) -> TrainState
    update: Callable[..., tuple[TrainState, Metrics]]  # (state, hp=None) -> (TrainState, Metrics)


# ------------------------------------------------------------------------------ THE ALGORITHM


@functools.lru_cache(maxsize=256)
def make_learner(config: VPGConfig) -> Learner:
    """Vanilla policy gradient for a config.  Equal configs give the same functions.

    Raises: ValueError, TypeError or RuntimeError, in one line, if the config's environment,
    action space or networks cannot be had.
    """
    agent = make_agent(config)
    env = vectorize(agent.env, config.num_envs, config.max_episode_steps)
    _check_episodes_fit(config, agent)

    def init(key: Array, hp: Hyperparams | None = None) -> TrainState:
        hp = Hyperparams() if hp is None else hp
        key, network_key, env_key = jax.random.split(key, 3)
        env_state, obs = env.reset(env_key, agent.env_params(hp))
        params = agent.networks.init(network_key, obs)
        optimizer = make_optimizer(config, hp, 0.0, 0)
        return TrainState(
            params=params,
            opt_state=Params(optimizer.init(params.policy), optimizer.init(params.value)),
            env_state=env_state,
            obs=obs,
            obs_stats=init_stats(agent.env.obs_shape),
            reward_stats=init_reward_stats(config.num_envs),
            key=key,
            update=jnp.zeros((), jnp.int32),
        )

    def update(state: TrainState, hp: Hyperparams | None = None) -> tuple[TrainState, Metrics]:
        hp = Hyperparams() if hp is None else hp
        policy = agent.policy(agent.env_params(hp))

        batch, after = collect(config, agent, env, policy, state, hp)
        rows, judged = judge(config, agent, state, batch, after, hp)
        policy_params, policy_opt, improved = improve(config, agent, policy, state, rows, hp)
        inputs = agent.networks.value_inputs(policy_params, rows.obs)
        value_params, value_opt, fitted = fit(config, agent, state, inputs, rows, hp)

        params = Params(policy_params, value_params)
        metrics = Metrics(
            **batch.episodes._asdict(),
            **judged.metrics,
            **improved,
            **fitted,
            finite=jnp.array(True),
        )
        state = TrainState(
            params=params,
            opt_state=Params(policy_opt, value_opt),
            env_state=after.env_state,
            obs=after.obs,
            obs_stats=judged.obs_stats,
            reward_stats=judged.reward_stats,
            key=after.key,
            update=state.update + 1,
        )
        return state, metrics._replace(finite=_all_finite(config, params, metrics))

    return Learner(init, update)


# ------------------------------------------------------------------------------------ COLLECT


class EpisodeSums(NamedTuple):
    """Episodes that ended during the rollout."""

    episode_return_sum: Array
    episode_length_sum: Array
    episode_count: Array


class Batch(NamedTuple):
    """A rollout.  All `[T, N, ...]`, but the sums."""

    obs: Array  # [T, N, *obs_shape], s_t
    action: Array  # [T, N] or [T, N, n], a_t, raw (see policy.py)
    outputs: Array  # [T, N, O], of the policy network at s_t
    reward: Array  # [T, N], r_{t+1}
    terminated: Array  # [T, N] bool
    truncated: Array  # [T, N] bool
    final_obs: Array  # [T, N, *obs_shape], s_{t+1} before any reset
    alive: Array  # [T, N] bool; rollout="episodes": False after the episode's end
    episodes: EpisodeSums  # []


class After(NamedTuple):
    """Where the rollout left off."""

    env_state: VectorState
    obs: Array  # [N, *obs_shape], s_T
    key: Array


def collect(
    config: VPGConfig,
    agent: Agent,
    env: VectorEnv,
    policy: Policy,
    state: TrainState,
    hp: Hyperparams,
) -> tuple[Batch, After]:
    """Act for T steps in N environments.

    `segments` goes on where the last rollout stopped.  `episodes` starts afresh and marks what
    lies beyond the end of each environment's first episode as not alive.
    """
    key, reset_key, greedy_key, steps_key = jax.random.split(state.key, 4)
    env_params = agent.env_params(hp)
    whole_episodes = config.rollout == "episodes"
    env_state, obs = env.reset(reset_key, env_params) if whole_episodes else state[2:4]

    # Exploration yields to exploitation: a growing fraction of actions is greedy (0 by default).
    # (1) assumes a_t ~ pi, so a greedy action biases the gradient.
    progress = state.update / max(config.num_updates - 1, 1)
    greedy_fraction = hp.greedy_start + (hp.greedy_end - hp.greedy_start) * progress
    greedy = jax.random.bernoulli(greedy_key, greedy_fraction, (config.num_steps, config.num_envs))

    def one_step(carry: Any, xs: Any) -> tuple[Any, Any]:
        env_state, obs, alive, sums = carry
        key, greedy, is_last = xs
        action_key, env_key = jax.random.split(key)

        outputs = agent.networks.policy(state.params.policy, agent.see(state.obs_stats, obs))
        sampled, mode = policy.sample(outputs, action_key), policy.mode(outputs)
        action = jnp.where(greedy.reshape(greedy.shape + (1,) * (mode.ndim - 1)), mode, sampled)
        env_state, out = env.step(env_key, env_state, policy.to_env(action), env_params)

        truncated = out.truncated
        if whole_episodes:  # the end of the rollout cuts what still runs, like a time limit
            truncated |= is_last & ~out.terminated
        done = out.terminated | truncated
        ended = alive & done
        sums = EpisodeSums(  # per environment; `where`, so that a NaN stays in its own episode
            sums.episode_return_sum + jnp.where(ended, out.episode.returns, 0),
            sums.episode_length_sum + jnp.where(ended, out.episode.lengths, 0),
            sums.episode_count + ended,
        )
        step = (obs, action, outputs, out.reward, out.terminated, truncated, out.final_obs, alive)
        alive = alive & ~done if whole_episodes else alive
        return (env_state, out.obs, alive, sums), step

    sums = EpisodeSums(*[jnp.zeros(config.num_envs, jnp.float32)] * 3)
    carry = (env_state, obs, jnp.ones(config.num_envs, bool), sums)
    is_last = jnp.arange(config.num_steps) == config.num_steps - 1
    xs = (jax.random.split(steps_key, config.num_steps), greedy, is_last)
    (env_state, obs, _, sums), steps = lax.scan(one_step, carry, xs)
    episodes = jax.tree.map(jnp.sum, sums)
    return Batch(*steps, episodes=episodes), After(env_state, obs, key)


# -------------------------------------------------------------------------------------- JUDGE


class Rows(NamedTuple):
    """The batch, judged and flattened to rows.  One matrix multiply over `[B, F]` is twice as
    fast as one over `[T, N, F]`, whose gradient XLA lays out badly."""

    obs: Array  # [B, *obs_shape], as the networks see it
    action: Array  # [B] or [B, n]
    outputs: Array  # [B, O], before the step
    psi: Array  # [B], Psi_t
    target: Array  # [B], R^_t
    policy_weight: Array  # [B], of the row in the policy's loss
    value_weight: Array  # [B], of the row in the value's loss; sums to 1


class Judged(NamedTuple):
    """What judging leaves for the next state, and for the record."""

    obs_stats: RunningStats
    reward_stats: RewardStats
    metrics: dict[str, Array]


def judge(
    config: VPGConfig,
    agent: Agent,
    state: TrainState,
    batch: Batch,
    after: After,
    hp: Hyperparams,
) -> tuple[Rows, Judged]:
    """Weigh every action by Psi_t, and set the value function's target R^_t."""
    obs = agent.see(state.obs_stats, batch.obs)  # [T, N, *obs_shape]

    def value(obs: Array) -> Array:  # [M, *obs_shape], as seen -> [M]
        inputs = agent.networks.value_inputs(state.params.policy, obs)
        return agent.networks.value(state.params.value, inputs)

    values = value(_flatten(obs)).reshape(batch.reward.shape)  # [T, N], V(s_t)
    last_value = value(agent.see(state.obs_stats, after.obs))  # [N], V(s_T)
    next_values = jnp.concatenate([values[1:], last_value[None]])  # [T, N], V(s_{t+1})
    # ... which after an end is the value of the *next* episode's first state.  A terminated
    # step never looks at it; a truncated one needs V(final_obs) in its place.
    next_values = _replace_truncated(
        lambda final_obs: value(agent.see(state.obs_stats, final_obs)), batch, next_values
    )

    rewards, reward_stats = batch.reward, state.reward_stats
    if config.normalize_rewards:
        if config.rollout == "episodes":
            reward_stats = reward_stats._replace(returns=jnp.zeros_like(reward_stats.returns))
        done = batch.terminated | batch.truncated
        reward_stats, rewards = scale_rewards(reward_stats, rewards, done, batch.alive, hp.gamma)

    trajectory = (rewards, values, next_values, batch.terminated, batch.truncated)
    psi = policy_weight(config.estimator, *trajectory, hp.gamma, hp.gae_lambda, config.n_step)
    target = value_regression_target(config.value_target, *trajectory, hp.gamma, hp.gae_lambda)

    share = batch.alive / batch.alive.sum()  # [T, N], sums to 1
    if config.normalize_advantages:
        mean = (share * psi).sum()
        std = jnp.sqrt((share * jnp.square(psi - mean)).sum())
        psi = (psi - mean) / (std + 1e-8)

    # episodes: 1/|D| sum_tau sum_t, as the formula has it; segments: the mean over steps.
    weight = batch.alive / config.num_envs if config.rollout == "episodes" else share
    flat = [_flatten(x) for x in (obs, batch.action, batch.outputs, psi, target, weight, share)]

    obs_stats = state.obs_stats
    if config.normalize_obs:  # merged after acting: one batch is seen through one set of stats
        obs_stats = merge(obs_stats, _flatten(batch.obs), _flatten(batch.alive))
    error, center = target - values, (share * target).sum()
    error_var = (share * jnp.square(error - (share * error).sum())).sum()
    target_var = (share * jnp.square(target - center)).sum()
    metrics = {
        "value_loss": (share * jnp.square(error)).sum(),
        "explained_variance": 1 - error_var / jnp.where(target_var > 0, target_var, 1.0),
    }
    return Rows(*flat), Judged(obs_stats, reward_stats, metrics)


def _replace_truncated(
    value: Callable[[Array], Array], batch: Batch, next_values: Array
) -> Array:
    """`next_values` `[T, N]` with V(final_obs) at the truncated steps.

    Few steps are truncated, so evaluating V on all T N final observations would waste nearly
    all of it, and `lax.cond` would not help under vmap, where it computes both branches.  A
    `while_loop` over N truncated rows at a time does no work where there are none.
    """
    num_steps, num_envs = next_values.shape
    final_obs = _flatten(batch.final_obs)  # [B, *obs_shape]
    num_rows = num_steps * num_envs

    def some_left(carry: tuple[Array, Array]) -> Array:
        return carry[1].any()

    def replace_some(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        next_values, left = carry  # [B], [B]
        rows = jnp.nonzero(left, size=num_envs, fill_value=num_rows)[0]  # [N]
        found = value(final_obs.at[rows].get(mode="clip"))  # [N]; padding is dropped below
        return (
            next_values.at[rows].set(found, mode="drop"),
            left.at[rows].set(False, mode="drop"),
        )

    carry = (next_values.reshape(num_rows), batch.truncated.reshape(num_rows))
    return lax.while_loop(some_left, replace_some, carry)[0].reshape(next_values.shape)


# ------------------------------------------------------------------------------------ IMPROVE


def improve(
    config: VPGConfig,
    agent: Agent,
    policy: Policy,
    state: TrainState,
    rows: Rows,
    hp: Hyperparams,
) -> tuple[Any, Any, dict[str, Array]]:
    """One step of the policy up the gradient (1).

    The loss  L = -sum_rows weight ( log pi(a|s) Psi + entropy_coef H(pi(.|s)) )  has minus that
    gradient, and no other meaning: Psi depends on the policy too, so a falling L is no progress.
    """

    def loss(params: Any, rows: Rows) -> tuple[Array, dict[str, Array]]:
        outputs = agent.networks.policy(params, rows.obs)  # [B, O]
        log_prob = policy.log_prob(outputs, rows.action)  # [B]
        entropy = policy.entropy(outputs, rows.action)  # [B]
        policy_loss = -(rows.policy_weight * log_prob * rows.psi).sum()
        total = policy_loss - hp.entropy_coef * (rows.policy_weight * entropy).sum()
        if config.shared_torso:
            values = agent.networks.value(
                state.params.value, agent.networks.value_inputs(params, rows.obs)
            )
            squares = jnp.square(values - rows.target)
            total += hp.value_coef * (rows.value_weight * squares).sum()
        mean_entropy = (rows.value_weight * entropy).sum()
        return total, {"policy_loss": policy_loss, "entropy": mean_entropy}

    old = state.params.policy
    (_, metrics), grads = summed_grad(loss, old, rows, config.gradient_rows)
    optimizer = make_optimizer(config, hp, hp.policy_lr, state.update)
    step, opt_state = optimizer.update(grads, state.opt_state.policy, old)
    params = optax.apply_updates(old, step)

    metrics |= {"policy_grad_norm": optax.global_norm(grads)}
    metrics |= {"kl": _NOT_MEASURED, "policy_loss_change": _NOT_MEASURED}
    if config.diagnostics:
        outputs = agent.networks.policy(params, rows.obs)
        log_prob = policy.log_prob(outputs, rows.action)
        policy_loss = -(rows.policy_weight * log_prob * rows.psi).sum()
        metrics["policy_loss_change"] = policy_loss - metrics["policy_loss"]
        metrics["kl"] = (rows.value_weight * policy.kl(rows.outputs, outputs)).sum()
    return params, opt_state, metrics


# ---------------------------------------------------------------------------------------- FIT


def fit(
    config: VPGConfig,
    agent: Agent,
    state: TrainState,
    inputs: Array,
    rows: Rows,
    hp: Hyperparams,
) -> tuple[Any, Any, dict[str, Array]]:
    """`value_iterations` steps of V down the squared error  sum_rows weight (V(s) - R^)^2.

    Args: inputs: `[B, ...]`, what V is computed from (the observations, or a shared torso's
    features, which stay as they are while the head is fitted).
    """

    def loss(params: Any, rows: tuple[Array, Array, Array]) -> tuple[Array, None]:
        inputs, target, weight = rows
        return (weight * jnp.square(agent.networks.value(params, inputs) - target)).sum(), None

    optimizer = make_optimizer(config, hp, hp.value_lr, state.update)
    data = (inputs, rows.target, rows.value_weight)

    def one_step(carry: tuple[Any, Any], _: None) -> tuple[Any, Array]:
        params, opt_state = carry
        _, grads = summed_grad(loss, params, data, config.gradient_rows)
        step, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, step), opt_state), optax.global_norm(grads)

    carry = (state.params.value, state.opt_state.value)
    (params, opt_state), norms = lax.scan(one_step, carry, length=config.value_iterations)

    after = loss(params, data)[0] if config.diagnostics else _NOT_MEASURED
    norm = norms[0] if config.value_iterations else jnp.zeros(())
    return params, opt_state, {"value_loss_after": after, "value_grad_norm": norm}


# ----------------------------------------------------------------------------- A WHOLE RUN


def make_train(config: VPGConfig) -> Callable[..., TrainResult]:
    """A whole run as one pure function, `train(key, hp=None) -> TrainResult`.

    `jax.jit(train)`; `jax.vmap(train)` over keys, over hyperparameters, over both.

    Raises: as `make_learner`.
    """
    learner = make_learner(config)
    go_on = make_segment(config, config.num_updates)

    def train(key: Array, hp: Hyperparams | None = None) -> TrainResult:
        return go_on(learner.init(key, hp), hp)

    return train


@functools.lru_cache(maxsize=256)
def make_segment(config: VPGConfig, num_updates: int) -> Callable[..., TrainResult]:
    """`num_updates` updates of a run, `segment(state, hp=None) -> TrainResult`.

    Segments laid end to end give the same numbers as one call of `train`.

    Raises: ValueError if `eval_every` does not divide `num_updates`; else as `make_learner`.
    """
    learner = make_learner(config)
    every = config.eval_every or num_updates
    if num_updates % every:
        raise ValueError(f"eval_every={every} does not divide a segment of {num_updates} updates")
    evaluate = make_evaluate(config) if config.eval_every else None

    def segment(state: TrainState, hp: Hyperparams | None = None) -> TrainResult:
        def updates(state: TrainState, _: None) -> tuple[TrainState, tuple[Metrics, Any]]:
            state, metrics = lax.scan(lambda s, _: learner.update(s, hp), state, length=every)
            if evaluate is None:
                return state, (metrics, None)
            key, eval_key = jax.random.split(state.key)
            evaluation = evaluate(eval_key, state.params.policy, state.obs_stats, hp)
            return state._replace(key=key), (metrics, evaluation)

        state, (metrics, evaluations) = lax.scan(updates, state, length=num_updates // every)
        return TrainResult(state, jax.tree.map(_flatten, metrics), evaluations)

    return segment


# ------------------------------------------------------------------------------------ HELPERS

_NOT_MEASURED = np.float32(np.nan)


def _flatten(x: Array) -> Array:
    """`[A, B, ...]` -> `[A * B, ...]`."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def _all_finite(config: VPGConfig, params: Params, metrics: Metrics) -> Array:
    numbers = metrics
    if not config.diagnostics:  # these are NaN by design
        numbers = metrics._replace(kl=0.0, policy_loss_change=0.0, value_loss_after=0.0)
    return jnp.all(jnp.array([jnp.isfinite(x).all() for x in jax.tree.leaves((params, numbers))]))


def _check_episodes_fit(config: VPGConfig, agent: Agent) -> None:
    if config.rollout != "episodes":
        return
    limits = (config.max_episode_steps, getattr(agent.env.default_params, "max_steps_in_episode", None))
    limit = min((int(x) for x in limits if x is not None), default=None)
    if limit is not None and limit > config.num_steps:
        raise ValueError(
            f"rollout='episodes' with num_steps={config.num_steps} cannot hold whole episodes of "
            f"{agent.env.name}, which last up to {limit} steps; pass num_steps={limit}, or "
            f"max_episode_steps={config.num_steps} to end episodes sooner"
        )

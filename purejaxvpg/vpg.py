"""Vanilla policy gradient, top to bottom: collect, judge, improve, fit.

    for each of U updates:
        collect   T steps in N environments with the policy pi                      [T, N]
        judge     each action by a weight Psi_t, from rewards and the value function V
        improve   pi by one step along  g = E[ sum_t grad log pi(a_t | s_t) Psi_t ]        (1)
        fit       V by `value_iterations` steps down  E[ (V(s_t) - R^_t)^2 ]               (2)

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
from purejaxvpg.bootstrap import replace_truncated
from purejaxvpg.config import Hyperparams, VPGConfig, as_float32
from purejaxvpg.cpu import on_cpu, one_by_one
from purejaxvpg.envs import VectorEnv, VectorState, select, vectorize
from purejaxvpg.networks import Params
from purejaxvpg.normalize import init_reward_stats, init_stats, merge, scale_rewards
from purejaxvpg.optimize import make_optimizer, take_step
from purejaxvpg.policy import Policy
from purejaxvpg.rows import map_rows, summed_grad
from purejaxvpg.spread import ALONE, Spread
from purejaxvpg.state import EpisodeSums, Metrics, TrainState

# ------------------------------------------------------------------------------ THE ALGORITHM


class Learner(NamedTuple):
    """The algorithm as a pair of pure functions."""

    init: Callable[..., TrainState]  # (key, hp=None) -> TrainState
    update: Callable[..., tuple[TrainState, Metrics]]  # (state, hp=None) -> (TrainState, Metrics)


class Setup(NamedTuple):
    """What stays the same through a run."""

    config: VPGConfig
    agent: Agent
    env: VectorEnv  # N environments
    spread: Spread = ALONE  # over several devices; N and B are then of this device

    @property
    def num_envs(self) -> int:  # N
        return self.config.num_envs // self.spread.devices

    def policy(self, hp: Hyperparams) -> Policy:
        return self.agent.policy(self.agent.env_params(hp))


@functools.lru_cache(maxsize=256)
def make_learner(config: VPGConfig, spread: Spread = ALONE) -> Learner:
    """Vanilla policy gradient for a config.  Equal configs give the same functions.  (Those of a
    run that is spread over devices are for `jax.shard_map`, see spread.py.)

    Raises: as `make_agent`.
    """
    agent = make_agent(config)
    env = vectorize(agent.env, config.num_envs, config.max_episode_steps, spread)
    setup = Setup(config, agent, env, spread)

    def init(key: Array, hp: Hyperparams | None = None) -> TrainState:
        hp = as_float32(hp)
        key, network_key, env_key = jax.random.split(key, 3)
        env_state, obs = setup.env.reset(env_key, agent.env_params(hp))
        params = agent.networks.init(network_key, obs)
        optimizer = make_optimizer(config, hp, learning_rate=0.0, update=0)
        return TrainState(
            params=params,
            opt_state=Params(optimizer.init(params.policy), optimizer.init(params.value)),
            env_state=env_state,
            obs=obs,
            obs_stats=init_stats(agent.env.obs_shape),
            reward_stats=init_reward_stats(setup.num_envs),
            key=key,
            update=jnp.zeros((), jnp.int32),
            finite=jnp.ones((), bool),
        )

    @one_by_one  # under vmap: collect in all runs at once, learn in one after the other (on a CPU)
    def learn(
        state: TrainState, batch: Batch, hp: Hyperparams
    ) -> tuple[TrainState, dict[str, Array]]:
        state, rows, judged = judge(setup, state, batch, hp)
        state, improved = improve(setup, state, rows, hp)
        state, fitted = fit(setup, state, rows, hp)
        return state, {**judged, **improved, **fitted}

    def update(state: TrainState, hp: Hyperparams | None = None) -> tuple[TrainState, Metrics]:
        hp, before = as_float32(hp), state
        state, batch, episodes = collect(setup, state, hp)
        state, learned = learn(state, batch, hp)
        numbers = {**episodes._asdict(), **learned}
        finite = before.finite & _all_finite(config, state.params, numbers)
        state = _unless_diverged(finite, state._replace(update=state.update + 1), before)
        return state, Metrics(**_while_alive(before.finite, numbers), finite=finite)

    return Learner(init, update)


# ------------------------------------------------------------------------------------ COLLECT


class Batch(NamedTuple):
    """A rollout, `[T, N, ...]`."""

    obs: Array  # [T, N, *obs_shape], s_t
    action: Array  # [T, N] or [T, N, n], a_t, raw (see policy.py)
    outputs: Array  # [T, N, O], of the policy network at s_t
    reward: Array  # [T, N], r_{t+1}
    terminated: Array  # [T, N] bool
    truncated: Array  # [T, N] bool
    final_obs: Array  # [T, N, *obs_shape], s_{t+1} before any reset
    alive: Array  # [T, N] bool; rollout="episodes": False after the episode's end


# An accelerator waits as long for a turn of a loop as for what is in it.
STEPS_AT_A_TIME = 8


class Carry(NamedTuple):
    """What one step of the rollout hands to the next."""

    env_state: VectorState  # [N, ...]
    obs: Array  # [N, *obs_shape]
    alive: Array  # [N] bool
    sums: EpisodeSums  # [N] each, of the episodes that ended so far


def collect(
    setup: Setup, state: TrainState, hp: Hyperparams
) -> tuple[TrainState, Batch, EpisodeSums]:
    """Act for T steps in N environments.

    `segments` goes on where the last rollout stopped.  `episodes` starts afresh, and marks what
    lies beyond the end of each environment's first episode as not alive; an episode that is
    still running after T steps is truncated there, as by a time limit, and counted so.
    """
    config, agent, env, spread = setup
    policy, env_params = setup.policy(hp), agent.env_params(hp)
    whole_episodes = config.rollout == "episodes"
    key, reset_key, greedy_key, action_key, env_key = jax.random.split(state.key, 5)
    env_state, obs = state.env_state, state.obs
    if whole_episodes:
        env_state, obs = env.reset(reset_key, env_params)

    # Exploration yields to exploitation: a growing fraction of actions is greedy (0 by default).
    # (1) holds for a_t ~ pi, so greedy actions bias the gradient.
    progress = state.update / max(config.num_updates - 1, 1)
    greedy_fraction = (1 - progress) * hp.greedy_start + progress * hp.greedy_end
    every_step = (config.num_steps, config.num_envs)
    greedy = spread.own(jax.random.bernoulli(greedy_key, greedy_fraction, every_step), axis=1)

    def one_step(carry: Carry, x: tuple[Any, Array, Array, Array]) -> tuple[Carry, Batch]:
        env_keys, noise, greedy, is_last = x  # [N], [N, ...], [N], []
        outputs = agent.networks.policy(state.params.policy, agent.see(state.obs_stats, carry.obs))
        action = select(greedy, policy.mode(outputs), policy.sample(outputs, noise))
        env_state, out = env.step(env_keys, carry.env_state, policy.to_env(action), env_params)

        truncated = out.truncated
        if whole_episodes:  # the end of the rollout cuts what still runs, like a time limit
            truncated |= is_last & ~out.terminated
        done = out.terminated | truncated
        ends = carry.alive & done  # `where` below: a NaN stays within its own episode
        sums = EpisodeSums(
            carry.sums.episode_return_sum + jnp.where(ends, out.episode.returns, 0),
            carry.sums.episode_length_sum + jnp.where(ends, out.episode.lengths, 0),
            carry.sums.episode_count + ends,
        )
        # fmt: off
        row = Batch(carry.obs, action, outputs, out.reward, out.terminated, truncated,
                    out.final_obs, carry.alive)
        # fmt: on
        alive = carry.alive & ~done if whole_episodes else carry.alive
        return Carry(env_state, out.obs, alive, sums), row

    none_ended = EpisodeSums(*[jnp.zeros(setup.num_envs, jnp.float32)] * 3)
    start = Carry(env_state, obs, jnp.ones(setup.num_envs, bool), none_ended)
    # All that chance decides is drawn at once: many small draws would cost far more.
    noise = spread.own(policy.noise(action_key, every_step), axis=1)  # [T, N, ...]
    index = jnp.arange(config.num_steps)  # [T]
    env_keys = jax.vmap(env.keys)(jax.random.split(env_key, config.num_steps), index)
    xs = (env_keys, noise, greedy, index == config.num_steps - 1)
    unroll = 1 if on_cpu() else STEPS_AT_A_TIME
    end, batch = lax.scan(one_step, start, xs, unroll=unroll)
    if not whole_episodes:
        batch = batch._replace(alive=jnp.ones_like(batch.terminated))
    state = state._replace(env_state=end.env_state, obs=end.obs, key=key)
    return state, batch, spread.total(jax.tree.map(jnp.sum, end.sums))


# -------------------------------------------------------------------------------------- JUDGE


class Rows(NamedTuple):
    """The batch, judged and flattened.  (A matrix multiply over `[B, F]` is twice as fast as
    one over `[T, N, F]`, whose gradient XLA lays out badly.)"""

    obs: Array  # [B, *obs_shape], as the networks see it
    action: Array  # [B] or [B, n]
    outputs: Array  # [B, O], before the step
    psi: Array  # [B], Psi_t
    target: Array  # [B], R^_t
    weight: Array  # [B], of the row in (1): 1/B, or alive/N for whole episodes
    share: Array  # [B], of the row in any mean over the batch: alive / number alive


def judge(
    setup: Setup, state: TrainState, batch: Batch, hp: Hyperparams
) -> tuple[TrainState, Rows, dict[str, Array]]:
    """Weigh every action by Psi_t, and set the value function's target R^_t."""
    config, agent, _, spread = setup

    def value(obs: Array) -> Array:  # [M, *obs_shape], as seen -> [M]
        inputs = agent.networks.value_inputs(state.params.policy, obs)
        return agent.networks.value(state.params.value, inputs)

    def see(obs: Array) -> Array:  # raw -> as the networks see it
        return agent.see(state.obs_stats, obs)

    obs = see(_flatten(batch.obs))  # [B, *obs_shape]
    values = map_rows(value, obs, config.gradient_rows)  # [B], V(s_t)
    values = values.reshape(batch.reward.shape)  # [T, N]
    next_values = jnp.concatenate([values[1:], value(see(state.obs))[None]])  # [T, N], V(s_{t+1})
    # values[t+1] is V(s_{t+1}) only while the episode goes on; after an end it is the value of the
    # next episode's first state.  A terminated step never reads it; a truncated one gets
    # V(final_obs) in its place.
    next_values = replace_truncated(
        next_values, batch.truncated, batch.final_obs, lambda final_obs: value(see(final_obs))
    )

    # `where`: a weight of 0 alone would not silence a reward of inf after the end.
    rewards, reward_stats = jnp.where(batch.alive, batch.reward, 0), state.reward_stats
    if config.normalize_rewards:
        if config.rollout == "episodes":  # which start afresh
            reward_stats = reward_stats._replace(returns=jnp.zeros_like(reward_stats.returns))
        done = batch.terminated | batch.truncated
        reward_stats, rewards = scale_rewards(
            reward_stats, rewards, done, batch.alive, hp.gamma, spread
        )

    trajectory = (rewards, values, next_values, batch.terminated, batch.truncated)
    psi = policy_weight(config.estimator, *trajectory, hp.gamma, hp.gae_lambda, config.n_step)
    target = value_regression_target(config.value_target, *trajectory, hp.gamma, hp.gae_lambda)

    alive = batch.alive.astype(jnp.float32)
    share = alive / spread.total(alive.sum())  # [T, N], sums to 1
    if config.normalize_advantages:
        mean, variance = _mean_and_variance(psi, share, spread)
        psi = (psi - mean) / (jnp.sqrt(variance) + 1e-8)
    # episodes: 1/|D| sum_tau sum_t, as the formula has it; segments: the mean over steps.
    weight = alive / config.num_envs if config.rollout == "episodes" else share

    _, unexplained = _mean_and_variance(target - values, share, spread)
    _, variance = _mean_and_variance(target, share, spread)
    metrics = {
        "value_loss": spread.total((share * jnp.square(target - values)).sum()),
        "explained_variance": jnp.where(
            variance > 0, 1 - unexplained / jnp.where(variance > 0, variance, 1.0), 0.0
        ),
    }
    rows = Rows(obs, *map(_flatten, (batch.action, batch.outputs, psi, target, weight, share)))
    if config.normalize_obs:  # only now: one batch is seen through one set of statistics
        obs_stats = merge(state.obs_stats, _flatten(batch.obs), _flatten(batch.alive), spread)
        state = state._replace(obs_stats=obs_stats)
    return state._replace(reward_stats=reward_stats), rows, metrics


# ------------------------------------------------------------------------------------ IMPROVE


def improve(
    setup: Setup, state: TrainState, rows: Rows, hp: Hyperparams
) -> tuple[TrainState, dict[str, Array]]:
    """One step of the policy up the gradient (1).

        g = E[ sum_t grad log pi(a_t | s_t) Psi_t ]                                            (1)

    Minimising  L = -sum_rows weight ( log pi(a|s) Psi + entropy_coef H(pi(.|s)) )  climbs it (a
    shared torso adds value_coef times the error (2)).  The value of L measures nothing: Psi was
    taken under the old policy, so a lower L is not a better policy.
    """
    config, agent, _, spread = setup
    policy = setup.policy(hp)

    def policy_loss(outputs: Array, rows: Rows) -> Array:
        return -(rows.weight * policy.log_prob(outputs, rows.action) * rows.psi).sum()

    def loss(params: Any, rows: Rows) -> tuple[Array, dict[str, Array]]:
        outputs = agent.networks.policy(params, rows.obs)  # [B, O]
        entropy = policy.entropy(outputs, rows.action)  # [B]
        loss_pi = policy_loss(outputs, rows)
        total = loss_pi - hp.entropy_coef * (rows.weight * entropy).sum()
        if config.shared_torso:
            inputs = agent.networks.value_inputs(params, rows.obs)
            errors = agent.networks.value(state.params.value, inputs) - rows.target
            total += hp.value_coef * (rows.share * jnp.square(errors)).sum()
        return total, {"policy_loss": loss_pi, "entropy": (rows.share * entropy).sum()}

    old = state.params.policy
    (_, metrics), grads = spread.total(summed_grad(loss, old, rows, config.gradient_rows))
    optimizer = make_optimizer(config, hp, hp.policy_lr, state.update)
    new, opt_state = take_step(optimizer, grads, state.opt_state.policy, old)

    metrics["policy_grad_norm"] = optax.global_norm(grads)
    metrics["kl"] = metrics["policy_loss_change"] = _NOT_MEASURED
    if config.diagnostics:
        outputs = agent.networks.policy(new, rows.obs)  # [B, O], after the step
        kl = (rows.share * policy.kl(rows.outputs, outputs)).sum()
        metrics["kl"], loss_pi = spread.total((kl, policy_loss(outputs, rows)))
        metrics["policy_loss_change"] = loss_pi - metrics["policy_loss"]
    state = state._replace(
        params=state.params._replace(policy=new),
        opt_state=state.opt_state._replace(policy=opt_state),
    )
    return state, metrics


# ---------------------------------------------------------------------------------------- FIT


def fit(
    setup: Setup, state: TrainState, rows: Rows, hp: Hyperparams
) -> tuple[TrainState, dict[str, Array]]:
    """`value_iterations` steps of V down the squared error.

        E[ (V(s_t) - R^_t)^2 ]                                                                 (2)

    V is computed from the observations or, with a shared torso, from its features as they are
    after the policy's step; they stay put while the value head is fitted.
    """
    config, agent, _, spread = setup
    inputs = agent.networks.value_inputs(state.params.policy, rows.obs)  # [B, ...]
    data = (inputs, rows.target, rows.share)

    def loss(params: Any, data: tuple[Array, Array, Array]) -> tuple[Array, None]:
        inputs, target, share = data
        return (share * jnp.square(agent.networks.value(params, inputs) - target)).sum(), None

    optimizer = make_optimizer(config, hp, hp.value_lr, state.update)

    def one_step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], Array]:
        params, opt_state = carry
        grads = spread.total(summed_grad(loss, params, data, config.gradient_rows)[1])
        return take_step(optimizer, grads, opt_state, params), optax.global_norm(grads)

    start = (state.params.value, state.opt_state.value)
    (params, opt_state), norms = lax.scan(one_step, start, length=config.value_iterations)

    after = spread.total(loss(params, data)[0]) if config.diagnostics else _NOT_MEASURED
    metrics = {
        "value_loss_after": after,
        "value_grad_norm": norms[0] if config.value_iterations else jnp.zeros(()),
    }
    state = state._replace(
        params=state.params._replace(value=params),
        opt_state=state.opt_state._replace(value=opt_state),
    )
    return state, metrics


# ------------------------------------------------------------------------------------ HELPERS

# A number whose square is beyond float32 is lost: an error or a norm taken of it is infinite.  (A
# policy of weights 1e30 is saturated, and its loss may well be 0.)
OVERFLOWS = float(np.sqrt(np.finfo(np.float32).max))  # 1.8e19
_NOT_MEASURED: Any = np.float32(np.nan)  # numpy: jax would claim a device on import


def _flatten(x: Array) -> Array:
    """`[A, B, ...]` -> `[A * B, ...]`."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def _mean_and_variance(x: Array, share: Array, spread: Spread) -> tuple[Array, Array]:
    """Of x under weights that sum to 1; both `[T, N]`."""
    mean = spread.total((share * x).sum())
    return mean, spread.total((share * jnp.square(x - mean)).sum())


def _unless_diverged(finite: Array, after: TrainState, before: TrainState) -> TrainState:
    """A run that is no longer finite stays at its last finite state, for good.  (Its neighbours
    under `vmap` are rows of their own, and go on as if it were not there.)"""
    # The key too, so that what it drew can be found again.  As data: it has been used, and jax's
    # checker of keys takes a choice between two of them for another use.
    impl = jax.random.key_impl(before.key)
    after, before = (s._replace(key=jax.random.key_data(s.key)) for s in (after, before))
    kept = select(finite, after, before)
    return kept._replace(key=jax.random.wrap_key_data(kept.key, impl=impl), finite=finite)


def _while_alive(alive: Array, metrics: dict[str, Array]) -> dict[str, Array]:
    """Metrics of a run that diverged before this update: what it would do again tells nothing."""
    nothing = {name: 0.0 if name in EpisodeSums._fields else jnp.nan for name in metrics}
    return {name: jnp.where(alive, x, nothing[name]) for name, x in metrics.items()}


def _all_finite(config: VPGConfig, params: Params, metrics: dict[str, Array]) -> Array:
    # Without diagnostics three metrics are NaN by design.
    unmeasured = () if config.diagnostics else ("kl", "policy_loss_change", "value_loss_after")
    numbers = [x for name, x in metrics.items() if name not in unmeasured]
    leaves = jax.tree.leaves((params, numbers))
    return jnp.all(jnp.array([(jnp.abs(x) < OVERFLOWS).all() for x in leaves]))

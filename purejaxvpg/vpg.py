"""Vanilla policy gradient, top to bottom: collect, judge, improve, fit.

    for each of U updates:
        collect   T steps in N environments with the policy pi                      [T, N]
        judge     each action by a weight Psi_t, from rewards and the value function V
        improve   pi by one step along  g = E[ sum_t grad log pi(a_t | s_t) Psi_t ]        (1)
        fit       V by `value_iterations` steps down  E[ (V(s_t) - R^_t)^2 ]               (2)

Sources: Williams 1992 (REINFORCE); Sutton et al. 2000 (the policy gradient theorem); Schulman
et al. 2016 (GAE); Achiam 2018, "Spinning Up", "Vanilla Policy Gradient".

Everything here is pure: `jax.jit`, `jax.vmap` and `jax.lax.scan` apply to all of it.  Psi_t is in
advantages.py.  `compute` gives the results of plain JAX in less time: `grad`, `map`, `scan` as in
jax, `sum` over the devices that a run is split over (one: nothing to add).

Letters: T steps, N environments, B = T N rows of the batch, O outputs of the policy, U updates.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from purejaxvpg import agent
from purejaxvpg.advantages import VALUE_TARGETS, Discounts, Trajectory
from purejaxvpg.agent import Setup
from purejaxvpg.compute import flatten, keep_finite, memoized, select
from purejaxvpg.config import Hyperparams, VPGConfig, as_float32
from purejaxvpg.state import EpisodeSums, Metrics, TrainState, VectorState

Learned = tuple[TrainState, dict[str, Array]]  # the state after a phase, and its metrics
Collected = tuple[TrainState, "Batch", EpisodeSums]


class Learner(NamedTuple):
    """The algorithm as a pair of pure functions."""

    init: Callable[..., TrainState]  # (key, hp=None) -> TrainState
    update: Callable[..., tuple[TrainState, Metrics]]  # (state, hp=None) -> (TrainState, Metrics)


@memoized(256)
def make_learner(config: VPGConfig, devices: int = 1) -> Learner:
    """Vanilla policy gradient for a config.  Equal configs give the same functions.

    Args:
      devices: the N environments are split over so many.  If there are several, call the
        functions inside `jax.shard_map` over an axis "envs" of that size.

    Raises: as `agent.make_setup`.
    """
    setup = agent.make_setup(config, devices)

    def init(key: Array, hp: Hyperparams | None = None) -> TrainState:
        return agent.first_state(setup, key, as_float32(hp))

    @setup.compute.in_turn  # of many runs under vmap, one learns after the other
    def learn(state: TrainState, batch: Batch, hp: Hyperparams) -> Learned:
        state, rows, judged = judge(setup, state, batch, hp)
        state, improved = improve(setup, state, rows, hp)
        state, fitted = fit(setup, state, rows, hp)
        return state, {**judged, **improved, **fitted}

    def update(state: TrainState, hp: Hyperparams | None = None) -> tuple[TrainState, Metrics]:
        agent.check_state(setup, state)
        hp = as_float32(hp)
        acted, batch, episodes = collect(setup, state, hp)
        learned, numbers = learn(acted, batch, hp)
        # A non-finite update is dropped, its key too: the run stays as it was, with metrics NaN.
        return keep_finite(state, learned, episodes, numbers)

    return Learner(init, update)


# ------------------------------------------------------------------------------------ COLLECT


class Batch(NamedTuple):
    """A rollout, `[T, N, ...]`."""

    obs: Any  # [T, N, ...], s_t
    action: Any  # [T, N] or [T, N, n], a_t, raw (see agent/policy.py)
    outputs: Array  # [T, N, O], of the policy network at s_t
    reward: Array  # [T, N], r_{t+1}
    terminated: Array  # [T, N] bool
    truncated: Array  # [T, N] bool
    final_obs: Any  # [T, N, ...], s_{t+1} before any reset; of large ones V alone, [T, N]
    alive: Array  # [T, N] bool; rollout="episodes": False after the episode's end
    memory: Any  # [N, ...], of both networks at the rollout's start; () without memory
    after: Any  # [T, N, ...], the policy's memory after each step, before any reset


class Carry(NamedTuple):
    """The rollout between two steps."""

    env_state: VectorState  # [N, ...]
    obs: Any  # [N, ...]
    memory: Any  # [N, ...], of the policy
    alive: Array  # [N] bool
    sums: EpisodeSums  # [N] each, of the episodes that ended so far


def collect(setup: Setup, state: TrainState, hp: Hyperparams) -> Collected:
    """Act for T steps in N environments.

    `segments` goes on where the last rollout stopped.  `episodes` starts afresh, and marks steps
    beyond the end of each environment's first episode as not alive; an episode that is still
    running after T steps is truncated there, as by a time limit.
    """
    config, networks, env, compute = setup.config, setup.agent.networks, setup.env, setup.compute
    policy, env_params = setup.policy(hp), setup.agent.env_params(hp)
    whole_episodes = config.rollout == "episodes"
    key, reset_key, greedy_key, action_key, env_key = jax.random.split(state.key, 5)
    env_state, obs, memory = state.env_state, state.obs, state.memory
    nothing = networks.no_memory(setup.num_envs)
    if whole_episodes:
        state = state._replace(reward_stats=agent.restart(state.reward_stats))
        (env_state, obs), memory = env.reset(reset_key, env_params), nothing

    # Greedy actions (by default none) bias (1), where a_t ~ pi.
    progress = state.update / max(config.num_updates - 1, 1)
    greedy_fraction = (1 - progress) * hp.greedy_start + progress * hp.greedy_end
    every_step = (config.num_steps, config.num_envs)
    greedy = compute.local(jax.random.bernoulli(greedy_key, greedy_fraction, every_step), axis=1)

    def one_step(carry: Carry, x: tuple[Any, Array, Array, Array]) -> tuple[Carry, Batch]:
        env_keys, noise, greedy, is_last = x  # [N], [N, ...], [N], []
        seen = setup.agent.see(state.obs_stats, carry.obs)
        memory, outputs = networks.act(state.params.policy, seen, carry.memory)
        action = select(greedy, policy.mode(outputs), policy.sample(outputs, noise))
        env_state, out = env.step(env_keys, carry.env_state, policy.to_env(action), env_params)

        truncated = out.truncated
        if whole_episodes:  # the end of the rollout cuts what still runs, like a time limit
            truncated |= is_last & ~out.terminated
        done = out.terminated | truncated
        ends = carry.alive & done  # `where` below, not a product: 0 * NaN is NaN
        episode = EpisodeSums(out.episode.returns, out.episode.lengths, jnp.ones_like(ends))
        sums = jax.tree.map(lambda x, y: x + jnp.where(ends, y, 0), carry.sums, episode)
        final_obs = agent.store_final(setup, state, out.final_obs, truncated)
        flags = (out.terminated, truncated, final_obs, carry.alive)
        row = Batch(carry.obs, action, outputs, out.reward, *flags, (), memory)
        alive = carry.alive & ~done if whole_episodes else carry.alive
        memory = select(done, nothing.policy, memory)  # an episode begins without memories
        return Carry(env_state, out.obs, memory, alive, sums), row

    none_ended = EpisodeSums(*[jnp.zeros(setup.num_envs, jnp.float32)] * 3)
    start = Carry(env_state, obs, memory.policy, jnp.ones(setup.num_envs, bool), none_ended)
    # All random numbers are drawn at once: many small draws would cost far more.
    noise = compute.local(policy.noise(action_key, every_step), axis=1)  # [T, N, ...]
    index = jnp.arange(config.num_steps)  # [T]
    env_keys = jax.vmap(env.keys)(jax.random.split(env_key, config.num_steps), index)
    each_step = (env_keys, noise, greedy, index == config.num_steps - 1)
    end, batch = compute.scan(one_step, start, each_step)
    alive = batch.alive if whole_episodes else jnp.ones_like(batch.terminated)
    batch, memory = batch._replace(alive=alive, memory=memory), memory._replace(policy=end.memory)
    state = state._replace(env_state=end.env_state, obs=end.obs, memory=memory, key=key)
    return state, batch, compute.sum(jax.tree.map(jnp.sum, end.sums))


# -------------------------------------------------------------------------------------- JUDGE


class Rows(NamedTuple):
    """The batch, judged and flattened: a matrix multiply over `[B, F]` is twice as fast as one over
    `[T, N, F]`.  Networks with memory are given whole sequences, `[N, T]` in place of `[B]`."""

    obs: Any  # [B, ...], as the networks are given it
    action: Any  # [B] or [B, n]
    outputs: Array  # [B, O], before the policy's step
    psi: Array  # [B], Psi_t
    target: Array  # [B], R^_t
    weight: Array  # [B], of the row in (1): 1/B, or alive/N for whole episodes
    share: Array  # [B], of the row in any mean over the batch: alive / number alive


def judge(
    setup: Setup, state: TrainState, batch: Batch, hp: Hyperparams
) -> tuple[TrainState, Rows, dict[str, Array]]:
    """Compute Psi_t for every action, and the target R^_t for V, with V as it is before its fit."""
    config, networks, compute = setup.config, setup.agent.networks, setup.compute
    see = functools.partial(setup.agent.see, state.obs_stats)  # raw -> as the networks see it

    obs = setup.sequences(see(setup.rows(batch.obs)), batch)  # [B, ...]
    # [T, N], V(s_t); and what V remembers after s_t, [T, N, ...]
    values, memory = setup.steps(compute.map(functools.partial(networks.values, state.params), obs))
    state, last_memory = agent.remember(setup, state, memory, batch)
    last = agent.value_after(setup, state, last_memory, state.obs)  # [N], V(s_T)
    next_values = jnp.concatenate([values[1:], last[None]])  # [T, N], V(s_{t+1})
    # values[t+1] is V(s_{t+1}) only while the episode goes on; after an end it is the value of the
    # next episode's first state.  A terminated step never reads it; a truncated one gets
    # V(final_obs) in its place.
    next_values = agent.bootstrap(setup, state, next_values, memory, batch)

    # `where`: a weight of 0 would not do, for 0 * inf is NaN.
    rewards, ends = jnp.where(batch.alive, batch.reward, 0), (batch.terminated, batch.truncated)
    trajectory = Trajectory(rewards, values, next_values, *ends, batch.alive)
    if config.normalize_rewards:
        state, trajectory = agent.scale_rewards(state, trajectory, hp.gamma, compute)
    discounts = Discounts(hp.gamma, hp.gae_lambda, config.n_step)
    psi = setup.estimator(trajectory, discounts)
    target = VALUE_TARGETS[config.value_target](trajectory, discounts)

    alive = batch.alive.astype(jnp.float32)
    count = compute.sum(alive.sum())
    share = alive / count  # [T, N], sums to 1
    if config.normalize_advantages:  # (Psi - mean) / standard deviation; 0 where all are equal
        psi = compute.standardized(psi, share, count)
    # episodes: a sum over steps, a mean over episodes, as in (1); segments: a mean over steps.
    weight = alive / config.num_envs if config.rollout == "episodes" else share

    value_loss = compute.sum((share * jnp.square(target - values)).sum())
    explained = compute.explained_variance(target, values, share)
    metrics = {"value_loss": value_loss, "explained_variance": explained}
    rows = Rows(obs, *map(setup.rows, (batch.action, batch.outputs, psi, target, weight, share)))
    if config.normalize_obs:  # last, so that the whole batch is seen through the same statistics
        raw, counted = setup.agent.encoder(flatten(batch.obs)), flatten(batch.alive)
        state = state._replace(obs_stats=agent.merge(state.obs_stats, raw, counted, compute))
    return state, rows, metrics


# ------------------------------------------------------------------------------------ IMPROVE


def improve(setup: Setup, state: TrainState, rows: Rows, hp: Hyperparams) -> Learned:
    """One step of the policy up the gradient (1).

        g = E[ sum_t grad log pi(a_t | s_t) Psi_t ]                                            (1)

    The gradient of  L = -sum_rows weight ( log pi(a|s) Psi + entropy_coef H(pi(.|s)) )  is -g, less
    that of the entropy bonus; a shared torso adds weight value_coef (V(s) - R^)^2.  The value of L
    measures nothing: Psi comes from the old policy, so a lower L is not a better policy.
    """
    config, networks, compute = setup.config, setup.agent.networks, setup.compute
    policy = setup.policy(hp)

    def policy_loss(outputs: Array, rows: Rows) -> Array:
        return -(rows.weight * policy.log_prob(outputs, rows.action) * rows.psi).sum()

    def loss(params: Any, rows: Rows) -> tuple[Array, dict[str, Array]]:
        features = networks.features(params, rows.obs)  # [B, F]
        outputs = networks.outputs(params, features, rows.obs)  # [B, O]
        entropy = policy.entropy(outputs, rows.action)  # [B]; of tanh: estimated at the action
        loss_pi = policy_loss(outputs, rows)
        total = loss_pi - hp.entropy_coef * (rows.weight * entropy).sum()
        if config.shared_torso:
            errors = networks.value(state.params.value, features) - rows.target
            total += hp.value_coef * (rows.weight * jnp.square(errors)).sum()
        return total, {"policy_loss": loss_pi, "entropy": (rows.share * entropy).sum()}

    (_, metrics), grads = compute.grad(loss, state.params.policy, rows)
    optimizer = agent.make_optimizer(config, hp, hp.policy_lr, state.update)
    new, opt_state = agent.take_step(optimizer, grads, state.opt_state.policy, state.params.policy)
    metrics["policy_grad_norm"] = agent.global_norm(grads)
    if config.diagnostics:
        outputs = compute.map_large(functools.partial(networks.policy, new), rows.obs)  # [B, O]
        kl = (rows.share * policy.kl(rows.outputs, outputs)).sum()
        metrics["kl"], loss_pi = compute.sum((kl, policy_loss(outputs, rows)))
        metrics["policy_loss_change"] = loss_pi - metrics["policy_loss"]
    return agent.with_network(state, "policy", new, opt_state), metrics


# ---------------------------------------------------------------------------------------- FIT


def fit(setup: Setup, state: TrainState, rows: Rows, hp: Hyperparams) -> Learned:
    """`value_iterations` steps of V down the squared error.

        E[ (V(s_t) - R^_t)^2 ]                                                                 (2)

    V reads the observations or, with a shared torso, features: after the step; with memory, before.
    """
    config, networks, compute = setup.config, setup.agent.networks, setup.compute
    look = functools.partial(networks.value_inputs, state.params.policy)
    inputs = compute.map_large(look, rows.obs) if config.shared_torso else look(rows.obs)
    data = (inputs, rows.target, rows.share)  # [B, ...] each

    def loss(params: Any, data: tuple[Array, Array, Array]) -> tuple[Array, None]:
        inputs, target, share = data
        return (share * jnp.square(networks.value(params, inputs) - target)).sum(), None

    optimizer = agent.make_optimizer(config, hp, hp.value_lr, state.update)

    def one_step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], Array]:
        params, opt_state = carry
        grads = compute.grad(loss, params, data)[1]
        return agent.take_step(optimizer, grads, opt_state, params), agent.global_norm(grads)

    start = (state.params.value, state.opt_state.value)
    (params, opt_state), norms = lax.scan(one_step, start, length=config.value_iterations)
    metrics = {"value_grad_norm": norms[0] if config.value_iterations else jnp.zeros(())}
    if config.diagnostics:
        values = compute.map_large(functools.partial(networks.value, params), inputs)  # [B]
        errors = values - rows.target
        metrics["value_loss_after"] = compute.sum((rows.share * jnp.square(errors)).sum())
    return agent.with_network(state, "value", params, opt_state), metrics

"""The parts of a run, put together: environment, policy, networks, compute."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer

from purejaxvpg import envs
from purejaxvpg.advantages import COMPARES_ENVIRONMENTS, ESTIMATORS, Discounts, Trajectory
from purejaxvpg.agent.encoding import Encoder, make_encoder
from purejaxvpg.agent.imported import with_imported
from purejaxvpg.agent.limits import check_episodes_fit, check_limit, check_renewal
from purejaxvpg.agent.memory import Sequence, steps_first
from purejaxvpg.agent.networks import Networks, check_torso, make_networks, param_shapes
from purejaxvpg.agent.normalize import init_reward_stats, init_stats, normalize
from purejaxvpg.agent.optimize import check_optimizer, make_optimizer
from purejaxvpg.agent.policy import Policy, make_policy
from purejaxvpg.compute import Compute, flatten, is_large, memoized, select, vary_like
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.envs import Environment, VectorEnv, vectorize
from purejaxvpg.envs.faults import user_code
from purejaxvpg.envs.protocol import BrokenContract, Masked
from purejaxvpg.envs.spaces import why_empty
from purejaxvpg.fields import as_key, short
from purejaxvpg.state import Params, RunningStats, TrainState
from purejaxvpg.variables import trained


class Agent(NamedTuple):
    """An environment, and a policy and a value function for it.  Pure functions; parameters are
    arguments."""

    env: Environment
    networks: Networks
    env_params: Callable[[Hyperparams], Any]  # the environment's parameters under `hp`, or Ranged
    policy: Callable[[Any], Policy]  # env_params -> Policy (bounds may depend on them)
    encoder: Encoder  # obs [..., *shape] -> float32, one array or several by name
    see: Callable[[RunningStats, Any], Any]  # (stats, obs [...]) -> what the networks are given


class Setup(NamedTuple):
    """Everything that stays the same through a run."""

    config: VPGConfig
    agent: Agent
    env: VectorEnv  # the environments of this device
    num_envs: int  # of this device, N / D
    compute: Compute
    estimator: Callable[[Trajectory, Discounts], Array]  # Psi `[T, N / D]`

    def policy(self, hp: Hyperparams) -> Policy:
        """The policy in the environment that `hp` describes."""
        return self.agent.policy(self.agent.env_params(hp))

    def rows(self, tree: Any) -> Any:
        """`[T, N, ...]` -> `[B, ...]`; with memory, sequences `[N, T, ...]`.  Pytrees."""
        return flatten(tree) if self.config.memory is None else jax.tree.map(steps_first, tree)

    def steps(self, tree: Any) -> Any:
        """Rows back as `[T, N, ...]`."""
        if self.config.memory is not None:
            return jax.tree.map(steps_first, tree)
        shape = (self.config.num_steps, self.num_envs)
        return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), tree)

    def sequences(self, obs: Any, batch: Any) -> Any:
        """Observations in rows as networks learn from them: with memory, a `Sequence`.

        Args: batch: has `terminated` and `truncated` `[T, N]`; `memory` `[N, ...]` before it, and
          `after` `[T, N, ...]`, the policy's after each step.
        """
        if self.config.memory is None:
            return obs
        done = batch.terminated | batch.truncated
        starts = jnp.concatenate([jnp.zeros_like(done[:1]), done[:-1]])  # [T, N]
        return Sequence(obs, steps_first(starts), batch.memory, self.rows(batch.after))


def make_setup(
    config: VPGConfig, devices: int = 1, num_envs: int | None = None, restart: bool = True
) -> Setup:
    """The one place where agent, environments and compute are put together.

    Args:
      devices: D, over which the environments are split (`split="envs"`); a divisor of N.
      num_envs: N, if other than the config's (evaluation).
      restart: an environment whose episode ended goes on from a reset.

    Raises: as `make_agent`; ValueError if D does not divide N.
    """
    agent = make_agent(config)
    config = with_imported(config)
    num_envs = config.num_envs if num_envs is None else num_envs
    if num_envs % devices:
        raise ValueError(
            f"split='envs' splits num_envs={num_envs} over {devices} devices, which does not "
            f"divide it; choose a multiple"
        )
    rows = config.gradient_rows
    if config.memory is not None and rows is not None:  # a row is a sequence of T steps
        rows = max(1, rows // config.num_steps)
    compute = Compute(rows, devices, large=is_large(agent.env.observed))
    local_envs = num_envs // devices
    limit, renewal = config.max_episode_steps, config.renewal
    env = vectorize(agent.env, local_envs, limit, compute, restart, renewal)
    return Setup(config, agent, env, local_envs, compute, _make_estimator(config, compute))


def first_state(setup: Setup, key: Array, hp: Hyperparams) -> TrainState:
    """Before the first update: networks at their initial weights, environments just reset."""
    key, network_key, env_key = jax.random.split(as_key(key), 3)
    env_params = setup.agent.env_params(hp)
    check_limit(setup.config, setup.agent.env, env_params)
    env_state, obs = setup.env.reset(env_key, env_params)
    params = setup.agent.networks.init(network_key, obs)
    optimizer = make_optimizer(setup.config, hp, learning_rate=0.0, update=0)
    state = TrainState(
        params=params,
        opt_state=Params(*[optimizer.init(trained(network)) for network in params]),
        env_state=env_state,
        obs=obs,
        obs_stats=init_stats(setup.agent.encoder.shapes),
        reward_stats=init_reward_stats(setup.num_envs),
        key=key,
        update=jnp.zeros((), jnp.int32),
        finite=jnp.ones((), bool),
        memory=setup.agent.networks.no_memory(setup.num_envs),
    )
    return _unshared(vary_like(state, (state, hp)))


def _unshared(state: TrainState) -> TrainState:
    """The same state, no array twice.  An un-jitted `init` shares some (an observation that is part
    of its environment's state), and a buffer cannot be donated twice."""
    seen: set[int] = set()

    def one(x: Array) -> Array:
        if isinstance(x, Tracer) or id(x) not in seen:
            seen.add(id(x))
            return x
        return jnp.copy(x)

    return jax.tree.map(one, state)


def remember(setup: Setup, state: TrainState, memory: Any, batch: Any) -> tuple[TrainState, Any]:
    """The state with what V remembers at the end of a rollout, and the same before any reset.

    Args: memory: `[T, N, ...]`, after each step.
    """
    last = jax.tree.map(lambda x: x[-1], memory)  # [N, ...]
    if setup.config.memory is None or setup.config.shared_torso:
        return state, last  # nothing, or it is the policy's
    done = batch.terminated[-1] | batch.truncated[-1]
    value = select(done, setup.agent.networks.no_memory(setup.num_envs).value, last)
    return state._replace(memory=state.memory._replace(value=value)), last


def with_network(state: TrainState, name: str, params: Any, opt_state: Any) -> TrainState:
    """The state with new parameters and optimizer state of the policy or of the value network."""
    return state._replace(
        params=state.params._replace(**{name: params}),
        opt_state=state.opt_state._replace(**{name: opt_state}),
    )


@memoized(256)
def make_agent(config: VPGConfig) -> Agent:
    """The agent of a config; the same object for equal configs.

    Raises: ValueError, TypeError, RuntimeError or ImportError, in one line, for an environment, an
    action space, a network or an optimizer that cannot be had (see `envs.make`, `make_policy`,
    `make_networks`, `check_torso`, `check_optimizer`, `with_imported`), and for whole episodes that
    are longer than a rollout or a renewal that does nothing.
    """
    if not isinstance(config, VPGConfig):
        raise TypeError(f"config={config!r} is not a VPGConfig; pass VPGConfig(...)")
    config = with_imported(config)
    env = envs.make(config.env, **dict(config.env_kwargs))
    check_episodes_fit(config, env, env.default_params)
    check_renewal(config, env)
    default_space = env.action_space(env.default_params)
    if reason := why_empty(default_space):
        raise ValueError(
            f"{env.name} has no action: {reason} in its action space {short(default_space)}; "
            f"accepted: a Discrete of n >= 1, or a Box of one dimension or more with low <= high"
        )
    policy = make_policy(config, default_space)
    encoder = make_encoder(env)
    networks = make_networks(config, encoder, policy)
    check_torso(config, networks, encoder)
    if callable(config.optimizer):
        check_optimizer(config, trained(param_shapes(networks, encoder).policy))

    def see(stats: RunningStats, obs: Any) -> Any:
        if not config.normalize_obs:
            return obs  # the networks encode the rows that they look at
        if isinstance(obs, Masked):
            return obs._replace(obs=see(stats, obs.obs))
        return normalize(stats, encoder(obs), config.obs_clip)

    return Agent(
        env=env,
        networks=networks,
        env_params=lambda hp: envs.resolve_params(env, hp.env_params),
        policy=lambda env_params: make_policy(
            config, env.action_space(envs.without_ranges(env_params)), default_space
        ),
        encoder=encoder,
        see=see,
    )


def _make_estimator(
    config: VPGConfig, compute: Compute
) -> Callable[[Trajectory, Discounts], Array]:
    """Psi by the config's name or function; one that compares environments sees all of them."""
    if isinstance(config.estimator, str):
        function = ESTIMATORS[config.estimator]
        alone = function not in COMPARES_ENVIRONMENTS
        return function if alone else compute.on_all_envs(function)
    users: Callable[..., Any] = config.estimator
    label = f"estimator={getattr(users, '__name__', short(users))}"

    def checked(trajectory: Trajectory, discounts: Discounts) -> Array:
        psi, rewards = users(trajectory, discounts), trajectory.rewards
        given = (getattr(psi, "shape", None), str(getattr(psi, "dtype", type(psi).__name__)))
        expected = (rewards.shape, str(rewards.dtype))
        if given != expected:
            raise BrokenContract(
                f"{label} returned {given[1]} of shape {given[0]}; expected Psi, "
                f"{expected[1]} of shape [T, N] = {expected[0]}"
            )
        return psi

    shape = (config.num_steps, config.num_envs)  # [T, N]

    def example() -> Array:
        floats, flags = jnp.zeros(shape, jnp.float32), jnp.zeros(shape, bool)
        trajectory = Trajectory(floats, floats, floats, flags, flags, flags)
        return checked(trajectory, Discounts(jnp.float32(0.5), jnp.float32(0.5), config.n_step))

    with user_code(label):
        jax.eval_shape(example)  # refused now, and not in the first update
    return compute.on_all_envs(checked)

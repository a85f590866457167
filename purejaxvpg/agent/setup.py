"""The parts of a run, put together: environment, policy, networks, compute."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer

from purejaxvpg import envs
from purejaxvpg.advantages import COMPARES_ENVIRONMENTS, ESTIMATORS, Discounts, Trajectory
from purejaxvpg.agent.imported import with_imported
from purejaxvpg.agent.networks import Networks, check_torso, make_networks, param_shapes
from purejaxvpg.agent.normalize import init_reward_stats, init_stats, normalize
from purejaxvpg.agent.optimize import check_optimizer, make_optimizer
from purejaxvpg.agent.policy import Policy, make_policy
from purejaxvpg.compute import Compute, memoized, vary_like
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.envs import Environment, VectorEnv, vectorize
from purejaxvpg.envs.contract import user_code
from purejaxvpg.envs.protocol import BrokenContract
from purejaxvpg.envs.spaces import why_empty
from purejaxvpg.fields import as_key, short
from purejaxvpg.state import Params, RunningStats, TrainState
from purejaxvpg.variables import trained


class Agent(NamedTuple):
    """An environment, and a policy and a value function for it.  Pure functions; parameters are
    arguments."""

    env: Environment
    networks: Networks
    env_params: Callable[[Hyperparams], Any]  # the environment's parameters under `hp`
    policy: Callable[[Any], Policy]  # env_params -> Policy (bounds may depend on them)
    see: Callable[[RunningStats, Array], Array]  # (stats, obs [..., *obs_shape]) -> network input


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
    compute = Compute(config.gradient_rows, devices)
    local_envs = num_envs // devices
    env = vectorize(agent.env, local_envs, config.max_episode_steps, compute, restart)
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
        obs_stats=init_stats(setup.agent.env.obs_shape),
        reward_stats=init_reward_stats(setup.num_envs),
        key=key,
        update=jnp.zeros((), jnp.int32),
        finite=jnp.ones((), bool),
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
    are longer than a rollout.
    """
    if not isinstance(config, VPGConfig):
        raise TypeError(f"config={config!r} is not a VPGConfig; pass VPGConfig(...)")
    config = with_imported(config)
    env = envs.make(config.env, **dict(config.env_kwargs))
    check_episodes_fit(config, env, env.default_params)
    default_space = env.action_space(env.default_params)
    if reason := why_empty(default_space):
        raise ValueError(
            f"{env.name} has no action: {reason} in its action space {short(default_space)}; "
            f"accepted: a Discrete of n >= 1, or a Box of one dimension or more with low <= high"
        )
    policy = make_policy(config, default_space)
    networks = make_networks(config, env.obs_shape, policy.num_outputs, policy.free_std)
    check_torso(config, networks, env.obs_shape)
    if callable(config.optimizer):
        check_optimizer(config, trained(param_shapes(networks, env.obs_shape).policy))

    def see(stats: RunningStats, obs: Array) -> Array:
        return normalize(stats, obs, config.obs_clip) if config.normalize_obs else obs

    return Agent(
        env=env,
        networks=networks,
        env_params=lambda hp: envs.resolve_params(env, hp.env_params),
        policy=lambda env_params: make_policy(config, env.action_space(env_params), default_space),
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


def episode_limit(config: VPGConfig, env_params: Any) -> Any:
    """Longest episode in steps: the environment's limit and the config's, whichever is less.

    None where neither sets one.  Traced if the environment's parameters are.
    """
    limits = [envs.get_param(env_params, "max_steps_in_episode"), config.max_episode_steps]
    given = [limit for limit in limits if limit is not None]
    if not any(isinstance(limit, Tracer) for limit in given):
        return min(given, default=None)  # concrete, where `make_train` is called inside `jit` too
    return functools.reduce(jnp.minimum, given)


def check_limit(config: VPGConfig, env: Environment, env_params: Any) -> None:
    """ValueError if max_episode_steps is above the environment's limit; traced parameters pass."""
    asked_for, limit = config.max_episode_steps, envs.get_param(env_params, "max_steps_in_episode")
    if asked_for is None or limit is None or isinstance(limit, Tracer) or asked_for <= limit:
        return
    raise ValueError(
        f"max_episode_steps={asked_for} does nothing: {env.name} ends episodes after {limit} steps "
        f"itself; raise its own limit instead, the environment parameter "
        f"max_steps_in_episode={asked_for}"
    )


def check_episodes_fit(config: VPGConfig, env: Environment, env_params: Any) -> None:
    """ValueError if rollout="episodes" and episodes may outlast it; concrete parameters only."""
    limit = episode_limit(config, env_params)
    if config.rollout == "episodes" and limit is not None and limit > config.num_steps:
        raise ValueError(
            f"rollout='episodes' with num_steps={config.num_steps} cannot hold whole episodes of "
            f"{env.name}, which last up to {int(limit)} steps; pass num_steps={int(limit)}, "
            f"or max_episode_steps={config.num_steps} to end episodes sooner"
        )

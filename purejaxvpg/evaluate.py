"""Evaluation: E whole episodes, compiled, with nothing counted twice and nothing left out."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from purejaxvpg.agent import check_policy, episode_limit, make_setup
from purejaxvpg.compute import vary_like
from purejaxvpg.config import Hyperparams, VPGConfig, as_float32
from purejaxvpg.envs import without_ranges
from purejaxvpg.envs.vector import VectorStep
from purejaxvpg.fields import MOST, MOST_EPISODES, as_key, check_count
from purejaxvpg.state import Evaluation, RunningStats, VectorState


class Loop(NamedTuple):
    """Episodes between two steps."""

    step: Array  # []
    state: VectorState  # [E, ...]
    obs: Any  # [E, ...]
    memory: Any  # [E, ...], of the policy
    alive: Array  # [E] bool, the first episode is still running
    returns: Array  # [E]
    lengths: Array  # [E]


class Course(NamedTuple):
    """E episodes, side by side: where they begin, and how they go on."""

    start: Loop
    step: Callable[[Loop], tuple[Loop, VectorStep]]
    bound: Any  # [] int, the longest episode
    env_params: Any  # of the environment


def make_evaluate(
    config: VPGConfig,
    num_episodes: int | None = None,
    greedy: bool = True,
    max_steps: int | None = None,
) -> Callable[..., Evaluation]:
    """A pure function `evaluate(key, policy_params, obs_stats, hp=None) -> Evaluation`.

    E environments run one episode each.  Exactly the first episode of each counts: taking the
    first E to finish of a longer run would favour short ones.

    Args:
      num_episodes: E; `config.eval_episodes` if None.
      greedy: take the policy's mode; otherwise sample, as in training.
      max_steps: bound of an episode; if None, the environment's limit under `hp`, lowered by
        `config.max_episode_steps`, or `config.eval_steps` where neither is set.

    The environment has the parameters `hp.env_params`, of ranges its defaults.
    Raises: as `make_setup`, and for arguments out of range; `evaluate` as `agent.check_policy`.
    """
    make_course = make_episodes(config, num_episodes, greedy, max_steps)

    def evaluate(
        key: Array, policy_params: Any, obs_stats: RunningStats, hp: Hyperparams | None = None
    ) -> Evaluation:
        course = make_course(key, policy_params, obs_stats, hp)
        end = lax.while_loop(
            lambda x: x.alive.any() & (x.step < course.bound),
            lambda x: course.step(x)[0],
            course.start,
        )
        return Evaluation(end.returns, end.lengths, ~end.alive)

    return evaluate


def make_episodes(
    config: VPGConfig, num_episodes: int | None, greedy: bool, max_steps: int | None
) -> Callable[..., Course]:
    """The episodes of an evaluation, for a loop over their steps.

    Args: as of `make_evaluate`; of the function that it returns, as of `evaluate`.
    Raises: as `make_evaluate`.
    """
    num_episodes = config.eval_episodes if num_episodes is None else num_episodes
    _check_arguments(num_episodes, greedy, max_steps)
    setup = make_setup(config, num_envs=num_episodes, restart=False)
    agent, env = setup.agent, setup.env

    def make_course(
        key: Array, policy_params: Any, obs_stats: RunningStats, hp: Hyperparams | None = None
    ) -> Course:
        check_policy(config, agent, policy_params, obs_stats)
        env_params = without_ranges(agent.env_params(as_float32(hp)))
        policy = agent.policy(env_params)
        bound = max_steps if max_steps is not None else episode_limit(config, agent.env, env_params)
        bound = config.eval_steps if bound is None else bound
        reset_key, key = jax.random.split(as_key(key))
        state, obs = env.reset(reset_key, env_params)

        def one_step(loop: Loop) -> tuple[Loop, VectorStep]:
            act_key, env_key = jax.random.split(jax.random.fold_in(key, loop.step))
            seen = agent.see(obs_stats, loop.obs)
            memory, outputs = agent.networks.act(policy_params, seen, loop.memory)
            noise = policy.noise(act_key, (num_episodes,))
            raw = policy.mode(outputs) if greedy else policy.sample(outputs, noise)
            keys = env.keys(env_key, loop.step)
            state, out = env.step(keys, loop.state, policy.to_env(raw), env_params)
            after = Loop(
                step=loop.step + 1,
                state=state,
                obs=out.obs,
                memory=memory,
                alive=loop.alive & ~(out.terminated | out.truncated),
                returns=jnp.where(loop.alive, out.episode.returns, loop.returns),
                lengths=jnp.where(loop.alive, out.episode.lengths, loop.lengths),
            )
            return after, out

        start = _first(state, obs, agent.networks.no_memory(num_episodes).policy, num_episodes)
        start = vary_like(start, (start, key, policy_params, obs_stats, env_params))
        return Course(start, one_step, bound, env_params)

    return make_course


def _first(state: VectorState, obs: Any, memory: Any, num_episodes: int) -> Loop:
    """Before the first step."""
    alive, returns = jnp.ones(num_episodes, bool), jnp.zeros(num_episodes, jnp.float32)
    lengths = jnp.zeros(num_episodes, jnp.int32)
    return Loop(jnp.zeros((), jnp.int32), state, obs, memory, alive, returns, lengths)


def _check_arguments(num_episodes: int, greedy: Any, max_steps: int | None) -> None:
    check_count("num_episodes", num_episodes, MOST_EPISODES)
    check_count("max_steps", 1 if max_steps is None else max_steps, MOST)
    if not isinstance(greedy, bool | np.bool_):
        raise TypeError(f"greedy={greedy!r} is neither True nor False")

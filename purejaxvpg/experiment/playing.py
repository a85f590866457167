"""Whole episodes of a policy that a study keeps, with every state, to be looked at."""

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purejaxvpg.agent import make_agent
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.envs import Environment, pictures
from purejaxvpg.evaluate import Loop, make_episodes
from purejaxvpg.experiment.evaluation import evaluation_keys, policies_of
from purejaxvpg.experiment.folder import load_study
from purejaxvpg.experiment.study import Study
from purejaxvpg.fields import MOST_EPISODES, check_count
from purejaxvpg.state import RunningStats


class Moment(NamedTuple):
    """An environment between two steps."""

    state: Any  # pytree; None after the last step of an environment that resets itself
    obs: Any  # pytree, the observation that the next action answers to


class Episode(NamedTuple):
    """One episode of L steps."""

    env: Environment
    env_params: Any
    moments: list[Moment]  # L + 1, before each step and after the last one
    returns: np.ndarray  # [L + 1] float32, the return so far at each moment; 0 first
    finished: bool  # False: `max_steps` cut it

    @property
    def length(self) -> int:
        """L, its steps."""
        return len(self.moments) - 1

    @property
    def drawn(self) -> list[int]:
        """Moments of which there are pictures: all but a last state that is gone."""
        gone = self.env.render is not None and self.moments[-1].state is None
        return list(range(len(self.moments) - gone))

    def pictures(self) -> Iterator[np.ndarray]:
        """A picture of each moment of `drawn`, uint8 `[H, W, 3]`.

        Raises: as `pictures.painter`; RuntimeError, in one line, if this machine cannot draw.
        """
        paint = pictures.painter(self.env, self.env_params)
        for place in self.drawn:
            state, obs = self.moments[place]
            yield paint(jax.device_put(state), obs)


def play(
    study: Study | str | os.PathLike,
    setting: int = 0,
    seed: int | None = None,
    num_episodes: int = 1,
    greedy: bool = True,
    eval_seed: int = 0,
    max_steps: int | None = None,
) -> list[Episode]:
    """Episodes of one policy: those that `evaluate_setting` counts with the same arguments.

    Args:
      study: a study, or its folder.  setting: its place in the design.
      seed: training seed whose policy it is; None: that of `best_seed`.
      num_episodes: E.  greedy: the policy's mode, or else draws from it.
      eval_seed: seed of the evaluation.
      max_steps: bound of an episode; None: as `make_evaluate`.

    Returns: E episodes.
    Raises: ValueError, in one line, for a policy that is not kept and an environment that cannot
    be drawn; else as `make_evaluate` and `load_study`.
    """
    study = study if isinstance(study, Study) else load_study(study)
    check_count("num_episodes", num_episodes, MOST_EPISODES)
    config, hp = study.setting(setting)
    env = make_agent(config).env
    pictures.painter(env, env.default_params)  # refused now, and not after the episodes
    seed = best_seed(study, setting) if seed is None else seed
    policy = policies_of(study, setting, np.asarray([seed]))
    params, obs_stats = jax.tree.map(lambda x: x[0], policy)
    key = evaluation_keys(np.asarray([seed]), eval_seed)[0]
    how = (num_episodes, greedy, max_steps)
    return _episodes(config, hp, how, env, key, params, obs_stats)


def best_seed(study: Study, setting: int) -> int:
    """The seed of the highest score in training, of the runs that are done, and that did not
    diverge if any did not.

    Raises: ValueError, in one line, if no run is done.
    """
    done, diverged = study.done[setting], study.diverged[setting]  # [S]
    if not done.any():
        raise ValueError(f"no run of setting {setting} is done, so it has no policy to play")
    eligible = done & ~diverged if (done & ~diverged).any() else done
    scores = np.nan_to_num(study.scores()[setting], nan=-np.inf)
    return int(study.seeds[eligible][np.argmax(scores[eligible])])


def _episodes(
    config: VPGConfig, hp: Hyperparams, how: tuple[int, bool, int | None], env: Environment,
    key: jax.Array, params: Any, obs_stats: RunningStats,
) -> list[Episode]:  # fmt: skip
    make_course = make_episodes(config, *how)

    def begin() -> tuple[Loop, Any, Any]:
        course = make_course(key, params, obs_stats, hp)
        return course.start, jnp.asarray(course.bound), course.env_params

    # One step a call, for the host takes each state.
    step = jax.jit(lambda loop: make_course(key, params, obs_stats, hp).step(loop))
    loop, bound, env_params = jax.jit(begin)()
    moments: list[list[Moment]] = [[] for _ in range(how[0])]
    returns: list[list[float]] = [[0.0] for _ in moments]
    alive = np.asarray(loop.alive)
    while alive.any() and int(loop.step) < int(bound):
        before = _on_host(Moment(loop.state.inner, loop.obs))
        loop, out = step(loop)
        now_alive, so_far = np.asarray(loop.alive), np.asarray(loop.returns)
        over = int(loop.step) == int(bound)
        last = _on_host(Moment(loop.state.inner, out.final_obs))
        for e in np.flatnonzero(alive).tolist():
            moments[e].append(_row(before, e))
            returns[e].append(so_far[e])
            if not now_alive[e] or over:
                begun_anew = env.resets_itself and not now_alive[e]
                end = _row(last, e)
                moments[e].append(end._replace(state=None) if begun_anew else end)
        alive = now_alive
    return [
        Episode(env, env_params, moments[e], np.asarray(returns[e], np.float32), not alive[e])
        for e in range(how[0])
    ]


def _on_host(tree: Any) -> Any:
    """Arrays as numpy; random keys, which numpy has not, as they are."""

    def one(x: Any) -> Any:
        return x if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray(x)

    return jax.tree.map(one, tree)


def _row(tree: Any, place: int) -> Any:
    return jax.tree.map(lambda x: x[place], tree)

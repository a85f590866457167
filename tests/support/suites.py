"""Tests that every suite of environments gets: its own API, limits, a little training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejaxvpg import VPGConfig, envs, make_learner
from purejaxvpg.envs.contract import settle
from purejaxvpg.envs.protocol import Masked
from purejaxvpg.envs.spaces import random_actions
from purejaxvpg.envs.vector import vectorize
from support.probes import quick_jit

KEY = jax.random.key(0)


def need(package):
    """The module, or a skip that names it."""
    return pytest.importorskip(package, reason=f"{package} is not installed")


def bare(obs):
    """An observation without its mask."""
    return obs.obs if isinstance(obs, Masked) else obs


def assert_equal(tree, other):
    """Two trees alike: shapes, types and bits of their leaves."""
    leaves, others = jax.tree.leaves(tree), jax.tree.leaves(other)
    assert len(leaves) == len(others)
    for x, y in zip(leaves, others, strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        np.testing.assert_array_equal(x, y)


def walk(env, actions, params=None, key=KEY, keys=None):
    """Steps from one reset until the actions or the episode end.

    Returns: the observation of the reset; the steps (a list of `Step`).
    """
    params = env.default_params if params is None else params
    obs, state = quick_jit(env.reset)(key, params)
    step, steps = quick_jit(env.step), []
    for k, action in enumerate(actions):
        out = step(jax.random.key(k) if keys is None else keys[k], state, action, params)
        steps.append(out)
        state = out.state
        if out.terminated or out.truncated:
            break
    return obs, steps


def allowed_actions(env, seed=0):
    """A function from an observation to a random action that its mask allows."""
    rng = np.random.default_rng(seed)
    space = env.action_space(env.default_params)

    def choose(obs):
        mask = jax.tree.map(lambda x: np.asarray(x)[None], getattr(obs, "mask", None))
        return jax.tree.map(lambda x: x[0], random_actions(space, rng, 1, mask))

    return choose


def assert_follows(env, reset, step, num_steps=50):
    """The environment gives what the library's own API gives: bits, types, 50 steps, any ends.

    Args:
      reset: key -> (obs, state).
      step: (key, state, action) -> (obs, state, reward, terminated, truncated), of the library.
    """
    params = env.default_params  # as constants of the program, for they are so in the library's
    ours, theirs = map(quick_jit, (lambda *x: env.step(*x, params), step))
    reset, our_reset = map(quick_jit, (reset, env.reset))
    choose = allowed_actions(env)
    done, ends = True, 0
    for k in range(num_steps):
        key = jax.random.key(k)
        if done:
            obs, state = our_reset(key, params)
            their_obs, their_state = reset(key)
            assert_equal(bare(obs), their_obs)
        action = choose(obs)
        out = ours(key, state, action)
        their_obs, their_state, reward, terminated, truncated = theirs(key, their_state, action)
        assert_equal(bare(out.final_obs), their_obs)
        assert (float(out.reward), bool(out.terminated)) == (float(reward), bool(terminated))
        assert bool(out.truncated) == bool(truncated)
        obs, state, done = out.obs, out.state, bool(out.terminated | out.truncated)
        ends += done
    return ends


def assert_cut_at_five(env, params=None):
    """A limit of 5 truncates at the fifth step; final_obs is what a step without limit gives.

    Args: params: with a limit of 5; None: the limit is `max_episode_steps`.
    """
    by_params = params is not None
    many = vectorize(env, 2, None if by_params else 5)
    params = params if by_params else env.default_params
    state, obs = quick_jit(many.reset)(KEY, params)
    step, alone = quick_jit(many.step), quick_jit(jax.vmap(env.step, in_axes=(0, 0, 0, None)))
    chooses = [allowed_actions(env, seed) for seed in range(2)]
    for k in range(1, 11):
        actions = [
            choose(jax.tree.map(lambda x, i=i: x[i], obs)) for i, choose in enumerate(chooses)
        ]
        actions = jax.tree.map(lambda *x: jnp.stack(x), *actions)
        keys = many.keys(jax.random.key(k), k)
        inner = state.inner
        state, out = step(keys, state, actions, params)
        assert not out.terminated.any()
        assert (out.truncated == (k % 5 == 0)).all()
        assert_equal(bare(out.final_obs), bare(alone(keys.step, inner, actions, params).final_obs))
        if k % 5 == 0:
            assert (out.episode.lengths == 5).all()
            first = jax.tree.leaves(bare(out.obs))
            last = jax.tree.leaves(bare(out.final_obs))
            assert any((x != y).any() for x, y in zip(first, last, strict=True))
        obs = out.obs


def three_updates(env, **fields):
    """Metrics `[3, 2]` of three updates of two seeds, under jit and vmap; all finite."""
    fields = {"num_steps": 5, "hidden_sizes": (8,), "value_iterations": 1} | fields
    config = VPGConfig(env=env, num_envs=2, total_steps=6 * fields["num_steps"], **fields)
    learner = make_learner(config)
    state = quick_jit(jax.vmap(learner.init))(jax.random.split(KEY, 2))
    update, metrics = quick_jit(jax.vmap(learner.update)), []
    for _ in range(3):
        state, latest = update(state)
        metrics.append(latest)
    metrics = jax.tree.map(lambda *x: np.stack(x), *metrics)
    assert metrics.finite.all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))
    return metrics


def assert_trains_with_a_limit(env):
    """Three updates with VPGConfig(max_episode_steps=5): all episodes have length 5."""
    metrics = three_updates(env, max_episode_steps=5)
    assert (metrics.episode_count == 2).all()
    assert (metrics.episode_length_sum == 10).all()


def assert_steps(name, **kwargs):
    """An environment is made, and its reset and step are compiled and run."""
    env = settle(envs.suites.make(name, **kwargs))
    obs, state = quick_jit(env.reset)(KEY, env.default_params)
    action = allowed_actions(env)(obs)
    out = quick_jit(env.step)(KEY, state, action, env.default_params)
    assert jax.tree.structure(out.obs) == jax.tree.structure(obs)
    assert np.isfinite(out.reward)
    return env


def assert_names_the_extra(monkeypatch, suite):
    """A suite that is not installed is one line that names the extra."""

    def missing(module):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module.split(".")[0])

    monkeypatch.setattr("purejaxvpg.extras.importlib.import_module", missing)
    with pytest.raises(ImportError, match=rf"pip install 'purejaxvpg\[{suite}\]'") as error:
        envs.suites.SUITES[suite].load()
    monkeypatch.undo()
    assert "\n" not in str(error.value)


def assert_mujoco_pictures(pictures):
    """Pictures of MuJoCo's size, with something in them, of which the first two differ."""
    for picture in pictures:
        assert (picture.shape, picture.dtype) == ((240, 320, 3), np.uint8)
        assert picture.std() > 5
    assert (pictures[0] != pictures[1]).any()

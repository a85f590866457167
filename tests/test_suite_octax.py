"""octax: games of the CHIP-8."""

import pathlib
import sys

import jax
import numpy as np
import pytest
from support import suites

from purejaxvpg import envs
from purejaxvpg.agent.encoding import make_encoder
from purejaxvpg.envs import octax_adapter

suites.need("cv2")
suites.need("octax")


def test_it_is_the_librarys_game():
    """Pictures are its frames turned: [frames, width, height] -> [height, width, frames]."""
    from octax.environments import create_environment

    game, _ = create_environment("pong")

    @jax.jit
    def reset(key):
        state, frames, _ = game.reset(key)
        return frames.T, state

    @envs.octax_adapter.quietly
    def step(key, state, action):
        state, frames, reward, terminated, truncated, _ = game.step(state, action)
        return frames.T, state, reward, terminated, truncated

    suites.assert_follows(envs.make("octax/pong"), reset, step)


def test_a_picture_is_upright_and_convolved():
    env = envs.make("octax/pong")
    ((_, part),) = make_encoder(env).parts
    assert (part.seen_shape, part.dtype) == ((32, 64, 4), "bool")
    _, state = jax.jit(env.reset)(suites.KEY, env.default_params)
    out = jax.jit(env.step)(suites.KEY, state, 0, env.default_params)
    drawn = env.render(out.state, env.default_params)
    assert (drawn.shape, drawn.dtype) == ((256, 512, 3), np.uint8)
    np.testing.assert_array_equal(drawn[::8, ::8].any(-1), out.obs[:, :, -1])
    assert 0 < out.obs[:, :, -1].sum() < 300


def test_a_game_that_is_lost_is_terminated():
    """Brix without a move: the ball hits one brick, and is lost in the 19th step."""
    _, steps = suites.walk(envs.make("octax/brix"), [2] * 30)
    assert sum(float(out.reward) for out in steps) == 1
    assert (len(steps), bool(steps[-1].terminated), bool(steps[-1].truncated)) == (19, True, False)


def test_the_traced_limit_cuts():
    env = envs.make("octax/pong", max_num_steps_per_episodes=9)
    assert env.default_params == {"max_steps_in_episode": 9}
    suites.assert_cut_at_five(env, {"max_steps_in_episode": 5})


def test_max_episode_steps_cuts():
    suites.assert_trains_with_a_limit("octax/pong")


@pytest.mark.parametrize(
    ("kwargs", "line"),
    [
        ({"frame_skp": 2}, "no parameter or argument 'frame_skp'; did you mean frame_skip"),
        ({"render_mode": None}, "no parameter or argument 'render_mode'"),
        ({"frame_skip": "x"}, "octax/pong raised TypeError at .*env.py"),
        ({"max_num_steps_per_episodes": 3, "max_steps_in_episode": 4}, "takes one of max_steps"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(kwargs, line):
    with pytest.raises(ValueError, match=line) as error:
        envs.make("octax/pong", **kwargs)
    assert "\n" not in str(error.value)


def test_every_game_has_its_names():
    """Files of the library, with a number for each level that has one."""
    import octax.environments as library

    (folder,) = library.__path__
    games = {path.stem for path in pathlib.Path(folder).glob("[a-z]*.py")}
    assert {name.rstrip("0123456789") for name in octax_adapter.NAMES} == games


def test_a_missing_suite_names_its_extra(monkeypatch):
    suites.assert_names_the_extra(monkeypatch, "octax")


def test_what_it_does_not_declare_is_named_too(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r"this needs cv2, .*pip install 'purejaxvpg\[octax\]'"):
        envs.suites.SUITES["octax"].load()


@pytest.mark.slow
@pytest.mark.parametrize("name", octax_adapter.NAMES)
def test_every_name_steps_and_draws(name):
    env = suites.assert_steps(f"octax/{name}")
    _, state = jax.jit(env.reset)(suites.KEY, env.default_params)
    assert env.render(state, env.default_params).shape == (256, 512, 3)

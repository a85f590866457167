"""Craftax and Craftax-Classic."""

import jax
import numpy as np
import pytest
from support import suites
from support.probes import quick_jit

from purejaxvpg import envs
from purejaxvpg.envs import craftax_adapter

suites.need("craftax")
CLASSIC = "Craftax-Classic-Symbolic-v1"
NOOP = 0


def library(name=CLASSIC):
    from craftax.craftax_env import make_craftax_env_from_name

    return make_craftax_env_from_name(name, auto_reset=False)


@pytest.fixture(scope="module")
def env():
    return envs.make(f"craftax/{CLASSIC}")


@pytest.fixture(scope="module")
def compiled(env):
    """Reset and step of Classic with its parameters traced."""
    return quick_jit(env.reset), quick_jit(env.step)


def idle(env, compiled, limit, num_steps):
    """Steps of one episode without an action; step k has jax.random.key(k)."""
    reset, step = compiled
    params = env.default_params | {"max_steps_in_episode": limit}
    _, state = reset(suites.KEY, params)
    steps = []
    for k in range(num_steps):
        steps.append(step(jax.random.key(k), state, NOOP, params))
        state = steps[-1].state
        if steps[-1].terminated or steps[-1].truncated:
            break
    return steps


def ends(out):
    return bool(out.terminated), bool(out.truncated)


def test_idling_dies_after_231_steps(env, compiled):
    steps = idle(env, compiled, 10_000, 300)
    assert len(steps) == 231
    assert ends(steps[-1]) == (True, False)
    assert sum(float(out.reward) for out in steps) == pytest.approx(-0.9, abs=1e-6)


def test_the_limit_truncates(env, compiled):
    """The library's own says terminated.  Death at the very limit is a termination."""
    steps = idle(env, compiled, 5, 10)
    assert [ends(out) for out in steps] == [(False, False)] * 4 + [(False, True)]
    unlimited = idle(env, compiled, 10_000, 5)
    suites.assert_equal(steps[-1].final_obs, unlimited[-1].final_obs)
    assert len(idle(env, compiled, 230, 300)) == 230
    assert ends(idle(env, compiled, 231, 300)[-1]) == (True, False)


@pytest.mark.slow
def test_it_is_the_librarys_environment(env, compiled):
    """50 steps with its own API, and the same limit as a termination."""
    game = library()
    limited = game.default_params.replace(max_timesteps=20)
    reset, step = compiled
    params = env.default_params | {"max_steps_in_episode": 20}
    their_reset, their_step = (quick_jit(f) for f in (game.reset, game.step))
    choose = suites.allowed_actions(env)
    ended, count = True, 0
    for k in range(50):
        key = jax.random.key(k)
        if ended:
            (obs, state), (their_obs, their_state) = reset(key, params), their_reset(key, limited)
            suites.assert_equal(obs, their_obs)
        action = choose(obs)
        out = step(key, state, action, params)
        their_obs, their_state, reward, done, _ = their_step(key, their_state, action, limited)
        suites.assert_equal(out.final_obs, their_obs)
        suites.assert_equal(out.reward, reward)
        assert bool(out.terminated | out.truncated) == bool(done)
        obs, state, ended = out.obs, out.state, bool(done)
        count += ended
    assert count == 2


def test_parameters_and_sizes(env):
    assert env.reset_cost == "dear"
    assert env.obs_shape == (1345,)
    assert env.action_space(None).n == 17
    assert env.default_params["max_steps_in_episode"] == 10_000
    assert env.time_limit(env.default_params) == 10_000
    small = envs.make(f"craftax/{CLASSIC}", map_size=[32, 32], max_zombies=5, day_length=99)
    _, state = jax.eval_shape(small.reset, suites.KEY, small.default_params)
    assert state.map.shape == (32, 32)
    assert state.zombies.mask.shape == (5,)
    assert small.default_params["day_length"] == 99


def test_a_parameter_is_traced(env, compiled):
    """Days of two steps: light depends on the time within a day."""
    reset, step = compiled

    def light(day_length):
        params = env.default_params | {"day_length": day_length}
        _, state = reset(suites.KEY, params)
        return float(step(suites.KEY, state, NOOP, params).state.light_level)

    def expected(day_length):
        return 1 - abs(np.cos(np.pi * ((1 / day_length) % 1 + 0.3))) ** 3

    for day_length in (2, 300):
        assert light(day_length) == pytest.approx(expected(day_length), abs=1e-5)


@pytest.mark.slow
def test_max_episode_steps_cuts():
    suites.assert_trains_with_a_limit(f"craftax/{CLASSIC}")


@pytest.mark.parametrize(
    ("name", "kwargs", "line"),
    [
        ("Craftax-Classic-Symbolic-v2", {}, "is unknown; did you mean Craftax-Classic-Symbolic-v1"),
        (CLASSIC, {"max_timesteps": 5}, "'max_timesteps'; did you mean .*max_steps_in_episode"),
        (CLASSIC, {"max_steps_in_episode": 0}, "max_steps_in_episode=0 is out of range"),
        (CLASSIC, {"day_length": "long"}, "day_length='long' is not a number"),
        (CLASSIC, {"max_zombie": 5}, "'max_zombie'; did you mean max_zombies"),
    ],
)
def test_what_it_does_not_know_is_refused(name, kwargs, line):
    with pytest.raises(ValueError, match=line) as error:
        envs.make(f"craftax/{name}", **kwargs)
    assert "\n" not in str(error.value)


def test_every_name_of_the_library_is_listed():
    for name in craftax_adapter.NAMES:
        if "Symbolic" in name:  # the others build textures
            library(name)
        assert name.replace("Symbolic", "Pixels") in craftax_adapter.NAMES
    assert len(craftax_adapter.NAMES) == 4


def test_a_missing_suite_names_its_extra(monkeypatch):
    suites.assert_names_the_extra(monkeypatch, "craftax")


def test_textures_are_loaded_in_silence_or_refused_in_one_line(capsys):
    """A folder that may not be written to."""
    with craftax_adapter._textures("Craftax"):
        print("Loading Craftax textures from cache.")
    assert capsys.readouterr().out == ""
    refused = pytest.raises(RuntimeError, match=r"load or store its textures \(\[Errno 13\]")
    with refused, craftax_adapter._textures("Craftax"):
        raise PermissionError(13, "Permission denied", "texture_cache.pbz2")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape"), [(CLASSIC, (288, 288, 3)), ("Craftax-Symbolic-v1", (416, 352, 3))]
)
def test_it_draws(name, shape):
    """The library's own picture of the state, enlarged; the first time builds textures."""
    env = envs.make(f"craftax/{name}")
    _, state = quick_jit(env.reset)(suites.KEY, env.default_params)
    picture = env.render(state, env.default_params)
    assert (picture.shape, picture.dtype) == (shape, np.uint8)
    np.testing.assert_array_equal(picture[::2, ::2], picture[1::2, 1::2])
    assert picture.std() > 20


@pytest.mark.slow
@pytest.mark.timeout(1800)  # Craftax alone compiles for minutes
@pytest.mark.parametrize("name", craftax_adapter.NAMES)
def test_every_name_steps(name):
    suites.assert_steps(f"craftax/{name}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_classic_keeps_its_contract():
    """Random actions for a while: types, spaces, a limit that truncates."""
    envs.check_env(f"craftax/{CLASSIC}", 60)

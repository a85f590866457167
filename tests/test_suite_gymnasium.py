"""gymnasium's functional environments."""

import importlib

import jax
import numpy as np
import pytest
from support import suites
from support.slow import slow_but

from purejaxvpg import envs
from purejaxvpg.agent.encoding import make_encoder
from purejaxvpg.envs import gymnasium_adapter

gymnasium = suites.need("gymnasium")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CART_POLE, PENDULUM = "gymnasium/phys2d/CartPole-v1", "gymnasium/phys2d/Pendulum-v0"
BLACKJACK, CLIFF = "gymnasium/tabular/Blackjack-v0", "gymnasium/tabular/CliffWalking-v0"


def library(name):
    """reset and step of the functional class, called as gymnasium's own wrapper calls them."""
    module, _, kind = gymnasium_adapter.CLASSES[name.removeprefix("gymnasium/")].partition(":")
    functional = getattr(importlib.import_module(f"gymnasium.envs.{module}"), kind)()

    def reset(key):
        state = functional.initial(rng=key)
        return functional.observation(state, key), state

    def step(key, state, action):
        action = action[None] if name == CLIFF else action
        after = functional.transition(state, action, key)
        reward = functional.reward(state, action, after, key)
        return functional.observation(after, key), after, reward, functional.terminal(after, key), 0

    return reset, step


@pytest.mark.parametrize(
    ("name", "ends"), [(CART_POLE, True), (PENDULUM, False), (BLACKJACK, True), (CLIFF, False)]
)
def test_it_is_the_librarys_environment(name, ends):
    assert bool(suites.assert_follows(envs.make(name), *library(name))) == ends


def test_a_walk_along_the_cliff():
    """Up, eleven to the right and down: 13 steps of -1; into the cliff costs 100 and goes on."""
    env = envs.make(CLIFF)
    obs, steps = suites.walk(env, [0, *[1] * 11, 2, 0])
    assert (obs.shape, int(obs[0])) == ((1,), 36)
    assert [float(out.reward) for out in steps] == [-1] * 13
    assert (bool(steps[-1].terminated), int(steps[-1].final_obs[0])) == (True, 47)
    _, steps = suites.walk(env, [1])
    assert (float(steps[0].reward), int(steps[0].obs[0])) == (-100, 36)
    assert not steps[0].terminated
    assert make_encoder(env).size == 48


def test_the_registrys_limit_truncates():
    limits = {name: gymnasium.spec(name).max_episode_steps for name in gymnasium_adapter.NAMES}
    assert limits["phys2d/CartPole-v1"] == 500
    for name, limit in limits.items():
        env = envs.suites.make(f"gymnasium/{name}")
        assert (env.default_params or {}).get("max_steps_in_episode") == limit


@pytest.mark.parametrize("name", [CART_POLE, PENDULUM])
def test_the_traced_limit_cuts(name):
    env = envs.make(name)
    suites.assert_cut_at_five(env, env.default_params | {"max_steps_in_episode": 5})


def test_a_tabular_game_may_be_given_a_limit():
    env = envs.make(CLIFF, max_steps_in_episode=7)
    assert env.default_params == {"max_steps_in_episode": 7}
    _, steps = suites.walk(env, [0] * 9)
    assert (len(steps), bool(steps[-1].terminated), bool(steps[-1].truncated)) == (7, False, True)


@pytest.mark.parametrize("name", slow_but([CLIFF], [PENDULUM, CLIFF]))
def test_max_episode_steps_cuts(name):
    if name == CLIFF:  # walls ahead: no policy is at the goal after five steps
        assert suites.three_updates(name, max_episode_steps=5).episode_count.min() == 2
    else:
        suites.assert_trains_with_a_limit(name)


def test_parameters_are_traced():
    """Without gravity a pendulum at rest stays; the torque is -2, and speed follows from it."""
    env = envs.make(PENDULUM, g=0.0, high_x=0.0, high_y=0.0)
    _, steps = suites.walk(env, [np.array([-2.0])])
    np.testing.assert_allclose(steps[0].obs[2], -2 * 3 * 0.05, rtol=1e-6)
    params = env.default_params | {"dt": 0.1}
    _, steps = suites.walk(env, [np.array([-2.0])], params)
    np.testing.assert_allclose(steps[0].obs[2], -2 * 3 * 0.1, rtol=1e-6)


def test_what_blackjack_branches_on_is_an_argument():
    assert envs.make(BLACKJACK).default_params is None
    env = envs.suites.make(BLACKJACK, sutton_and_barto=False, natural=True)
    _, state = env.reset(suites.KEY, None)
    cards = lambda *hand: jax.numpy.zeros(21).at[: len(hand)].set(jax.numpy.array(hand))  # noqa: E731
    state = state._replace(player_hand=cards(1, 10), dealer_hand=cards(10, 10))
    out = env.step(suites.KEY, state, jax.numpy.asarray(0), None)
    assert (float(out.reward), bool(out.terminated)) == (1.5, True)


@pytest.mark.parametrize(
    ("name", "kwargs", "line"),
    [
        (CART_POLE, {"gravty": 5}, "no parameter or argument 'gravty'; did you mean gravity"),
        (CART_POLE, {"gravity": "5"}, "parameter gravity='5' is not a number"),
        (CLIFF, {"gravity": 5}, "no parameter or argument 'gravity'; known: max_steps_in_episode"),
        ("gymnasium/CartPole-v1", {}, "is unknown; did you mean phys2d/CartPole-v1"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(name, kwargs, line):
    with pytest.raises(ValueError, match=line) as error:
        envs.make(name, **kwargs)
    assert "\n" not in str(error.value)


def test_a_missing_suite_names_its_extra(monkeypatch):
    suites.assert_names_the_extra(monkeypatch, "gymnasium")


@pytest.mark.parametrize("name", gymnasium_adapter.NAMES)
def test_it_draws_without_a_window(name):
    pygame = suites.need("pygame")
    env = envs.make(f"gymnasium/{name}")
    _, state = jax.jit(env.reset)(suites.KEY, env.default_params)
    picture = env.render(state, env.default_params)
    assert (picture.ndim, picture.shape[2], picture.dtype) == (3, 3, np.uint8)
    assert picture.std() > 20
    assert not pygame.display.get_init()
    assert pygame.mixer.get_init() is None


@pytest.mark.slow
@pytest.mark.parametrize("name", gymnasium_adapter.NAMES)
def test_every_name_steps(name):
    suites.assert_steps(f"gymnasium/{name}")

"""pgx: MinAtar and 2048."""

import jax
import numpy as np
import pytest
from support import suites

from purejaxvpg import envs
from purejaxvpg.envs import pgx_adapter
from purejaxvpg.envs.contract import settle

pgx = suites.need("pgx")


def bits_of(name):
    game = pgx.make(name)

    def reset(key):
        state = game.init(key)
        return state.observation, state

    def step(key, state, action):
        state = game.step(state, action, key)
        return state.observation, state, state.rewards[0], state.terminated, state.truncated

    return suites.assert_follows(envs.make(f"pgx/{name}"), reset, step)


def test_breakout_ends_after_16_steps():
    env = envs.make("pgx/minatar-breakout")
    obs, steps = suites.walk(env, [0] * 20)
    assert (obs.shape, str(obs.dtype)) == ((10, 10, 4), "bool")
    assert len(steps) == 16
    assert sum(float(out.reward) for out in steps) == 1
    assert (steps[-1].terminated, steps[-1].truncated) == (True, False)
    assert env.action_mask is None


def test_an_illegal_move_of_2048_costs_one_and_ends():
    env = envs.make("pgx/2048")
    _, steps = suites.walk(env, [0] * 9)
    assert not steps[-2].obs.mask[0]
    assert (float(steps[-1].reward), bool(steps[-1].terminated)) == (-1, True)
    assert steps[-1].obs.mask.all()


@pytest.mark.slow
@pytest.mark.parametrize("masked", [True, False])
def test_a_policy_of_2048_makes_illegal_moves_only_without_its_mask(masked):
    """Merges pay multiples of 4, and an illegal move -1."""
    env = pgx_adapter.make("2048")
    env = settle(env if masked else env._replace(action_mask=None))
    metrics = suites.three_updates(env, num_steps=250)
    assert (metrics.episode_count > 0).any()
    illegal = -metrics.episode_return_sum % 4  # ends by an illegal move, modulo 4
    np.testing.assert_array_equal(illegal, 0 if masked else metrics.episode_count % 4)


@pytest.mark.parametrize("name", ["minatar-breakout", "2048"])
def test_it_is_the_librarys_game(name):
    assert bits_of(name) > 0 or name == "2048"


def test_a_limit_cuts():
    env = envs.make("pgx/minatar-breakout", max_steps_in_episode=7)
    assert env.default_params == {"sticky_action_prob": 0.1, "max_steps_in_episode": 7}
    assert env.time_limit(env.default_params) == 7
    suites.assert_cut_at_five(env, env.default_params | {"max_steps_in_episode": 5})


def test_max_episode_steps_cuts():
    suites.assert_trains_with_a_limit("pgx/minatar-breakout")


def test_freeways_clock_truncates():
    """The library's own says terminated, at the same step."""
    env = envs.make("pgx/minatar-freeway")
    game = pgx.make("minatar-freeway")
    params = env.default_params

    @jax.jit
    def ends():
        def step(carry, key):
            ours, theirs = carry
            out = env.step(key, ours, 0, params)
            theirs = game.step(theirs, 0, key)
            return (out.state, theirs), (out.terminated, out.truncated, theirs.terminated)

        _, ours = env.reset(suites.KEY, params)
        keys = jax.random.split(suites.KEY, 2501)
        return jax.lax.scan(step, (ours, game.init(suites.KEY)), keys)[1]

    terminated, truncated, theirs = ends()
    assert not terminated.any()
    np.testing.assert_array_equal(truncated, theirs)
    assert truncated.argmax() == 2500
    assert truncated.sum() == 1


def test_the_chance_of_a_sticky_action_is_a_parameter():
    env = envs.make("pgx/minatar-breakout", sticky_action_prob=0.5)
    params = {"sticky_action_prob": 1.0}
    assert env.default_params == {"sticky_action_prob": 0.5}
    _, steps = suites.walk(env, [1] * 3, params)
    assert [int(out.state._last_action) for out in steps] == [0, 0, 0]
    _, steps = suites.walk(env, [1] * 3, {"sticky_action_prob": 0.0})
    assert [int(out.state._last_action) for out in steps] == [1, 1, 1]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("pgx/chess", "'pgx/chess' is refused: it is a game of 2 players; pgx's of one: 2048"),
        ("pgx/sparrow_mahjong", "a game of 3 players"),
        ("pgx/minatar-breakot", "is unknown; did you mean minatar-breakout"),
    ],
)
def test_other_names_are_refused_in_one_line(name, line):
    with pytest.raises(ValueError, match=line) as error:
        envs.make(name)
    assert "\n" not in str(error.value)


def test_unknown_keywords_are_refused():
    with pytest.raises(ValueError, match="no parameter or argument 'max_steps'; did you mean"):
        envs.make("pgx/2048", max_steps=5)


def test_every_name_of_the_library_is_accepted_or_refused():
    assert {*pgx_adapter.NAMES, *pgx_adapter.REFUSED} == {*pgx.available_envs(), "bridge_bidding"}
    assert all(pgx.make(name).num_players == 1 for name in pgx_adapter.NAMES)


def test_a_missing_suite_names_its_extra(monkeypatch):
    suites.assert_names_the_extra(monkeypatch, "pgx")


@pytest.mark.parametrize("name", ["2048", "minatar-breakout"])
def test_it_draws(name):
    env = envs.make(f"pgx/{name}")
    _, state = env.reset(suites.KEY, env.default_params)
    picture = env.render(state, env.default_params)
    assert (picture.shape, picture.dtype) == ((160, 160, 3), np.uint8)
    if name == "2048":  # two tiles on an empty board
        corners = picture[2::40, 2::40, 0]
        assert sorted(corners.ravel())[:3] < [242] * 3
        assert (corners == 242).sum() == 14
    else:  # the walls' three rows are one colour, and empty cells black
        assert (picture[16:64] == picture[16, 0]).all()
        assert (picture[:16] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", pgx_adapter.NAMES)
def test_every_name_steps(name):
    suites.assert_steps(f"pgx/{name}")

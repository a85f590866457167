"""A saved policy in a loop on the host: the observations it takes, and the actions it gives."""

import dataclasses

import gymnasium
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from support.named import by_hand
from support.probes import linear_policy

from purejaxvpg import VPGConfig
from purejaxvpg.agent import init_stats, make_agent
from purejaxvpg.agent.encoding import Encoder, Part, of_array
from purejaxvpg.experiment import load_policy, save_policy
from purejaxvpg.experiment.accepted import Accepted
from purejaxvpg.experiment.acting import make_act
from purejaxvpg.experiment.cards import describe_observations
from purejaxvpg.experiment.policy_files import SavedPolicy, compiled

CONFIG = VPGConfig(num_envs=2, num_steps=4, total_steps=16, hidden_sizes=(8,))


def act_of(rows, encoder=of_array((2,))):  # noqa: B008
    """`act` of a policy whose actions are `rows(obs, key)`."""
    return make_act(lambda obs, _, memory, key: (rows(obs, key), memory), Accepted(encoder, ("",)))


def larger(obs, key):
    """The place of the largest number, or with a key a coin."""
    if key is None:
        return jnp.argmax(obs, axis=-1).astype(jnp.int32)
    return jax.random.bernoulli(key, 0.5, obs.shape[:1]).astype(jnp.int32)


CARTPOLE = [gymnasium.spaces.Discrete(2), gymnasium.spaces.MultiDiscrete([2, 2, 2])]
PENDULUM = [gymnasium.spaces.Box(-2, 2, (1,)), gymnasium.spaces.Box(-2, 2, (3, 1))]


@pytest.mark.parametrize(
    ("rows", "spaces", "expected"),
    [
        (larger, CARTPOLE, [1, [1, 0, 1]]),
        (lambda obs, _: 2 * obs[:, 1:], PENDULUM, [[2.0], [[2.0], [0.0], [2.0]]]),
    ],
)
def test_actions_are_as_gymnasium_takes_them(rows, spaces, expected):
    """One, or a batch as a vector environment takes it; of the space's own type; and writable."""
    act = act_of(rows)
    obs = np.array([[0, 1], [1, 0], [0, 1]])
    for given, space, right in zip([obs[0], obs], spaces, expected, strict=True):
        for form in (given.astype(np.float64), jnp.asarray(given, jnp.float32), given.tolist()):
            action = act(form)
            assert space.contains(action), type(action)
            assert action.dtype == space.dtype
            np.testing.assert_array_equal(action, right)
    assert act(obs).flags.writeable
    if rows is larger:  # FrozenLake looks actions up in a dict
        assert {1: "right"}[act(obs[0])] == "right"


def test_a_key_draws_and_one_key_gives_one_draw():
    act, obs = act_of(larger), np.tile([0.0, 1.0], (64, 1))
    draws = act(obs, jax.random.key(3))
    assert 0 < draws.sum() < 64
    np.testing.assert_array_equal(draws, act(obs, jax.random.PRNGKey(3)))


@pytest.mark.parametrize("key", [0, "0", np.arange(2), jax.random.split(jax.random.key(0))])
def test_keys_that_are_none_are_one_line(key):
    with pytest.raises(TypeError, match=r"key=.* is not one key; pass jax.random.key\(seed\)"):
        act_of(larger)(np.zeros(2), key)


def test_where_it_is_traced_it_gives_jax():
    act = act_of(larger)
    obs, key = jnp.array([[0.0, 1.0], [1.0, 0.0]]), jax.random.key(0)
    for actions in (jax.jit(act)(obs), jax.vmap(act)(obs), jax.jit(lambda x: act(x[0]))(obs)[None]):
        assert isinstance(actions, jax.Array)
        np.testing.assert_array_equal(actions, [1, 0][: len(actions)])
    drawn = jax.jit(lambda key: act(np.asarray(obs), key))(key)
    np.testing.assert_array_equal(drawn, act(obs, key))


def test_the_compiled_program_draws_if_it_is_to():
    """It takes a key's data, and draws as `act` does with that key."""
    act, obs, key = act_of(larger), np.tile(np.float32([0, 1]), (32, 1)), KEY
    policy = SavedPolicy(act, {"encoder": of_array((2,)).to_json(), "mask": None})
    program = jax.export.deserialize(bytearray(compiled(policy, ("cpu",), sampled=True)))
    drawn = program.call(obs, jax.random.key_data(key))
    np.testing.assert_array_equal(drawn, act(obs, key))
    assert 0 < drawn.sum() < 32
    greedy = jax.export.deserialize(bytearray(compiled(policy, ("cpu",))))
    np.testing.assert_array_equal(greedy.call(obs), act(obs))


KEY = jax.random.key(5)
STATES = {"kind": "discrete", "number": 4}
DISCRETE = Encoder((("", Part((), "int32", 4)),))


@pytest.mark.parametrize(
    ("obs", "expected"),
    [
        (3, 3),
        (np.int64(2), 2),
        (np.array(1, np.uint8), 1),
        ([0, 3, 1, 2], [0, 3, 1, 2]),  # integers are states, and no one-hot row
        (np.array([3, 3], np.int32), [3, 3]),
        (np.array([0, 0, 1, 0], bool), 2),
        (np.array([0.0, 0, 0, 1]), 3),
        (np.eye(4)[[2, 0]], [2, 0]),
        (np.zeros(0, np.int64), []),
    ],
)
def test_discrete_observations_are_integers_or_one_hot(obs, expected):
    act = act_of(larger, DISCRETE)
    np.testing.assert_array_equal(act(obs), expected)
    if np.size(obs):
        np.testing.assert_array_equal(jax.jit(act)(np.asarray(obs)), expected)


@pytest.mark.parametrize(
    ("obs", "kind", "line"),
    [
        (4, ValueError, r"obs=4 is out of range; accepted: an integer in \[0, 4\), "),
        ([0, -1], ValueError, "obs=-1 is out of range"),
        (2.0, ValueError, r"obs has shape \(\); accepted: an integer in \[0, 4\)"),
        ((np.zeros(4), {}), TypeError, r"obs is a tuple, not .*env.reset\(\) returns obs and info"),
        ({"obs": 3}, TypeError, "obs is a dict, not an array of numbers"),
        ("3", TypeError, "obs is a str, not an array"),
        (None, TypeError, "obs is a NoneType, not an array"),
    ],
)
def test_other_observations_are_one_line(obs, kind, line):
    with pytest.raises(kind, match=line) as error:
        act_of(larger, DISCRETE)(obs)
    assert "\n" not in str(error.value)


def test_integers_of_a_box_are_no_states():
    """Pictures of bytes: the same actions as of floats."""
    act = act_of(lambda obs, _: obs[:, 1:])
    np.testing.assert_array_equal(act(np.array([7, 250], np.uint8)), np.float32([250.0]))
    with pytest.raises(ValueError, match=r"obs has shape \(\); accepted: \(2,\)"):
        act(3)


def test_observations_are_discrete_if_the_network_sees_them_one_hot():
    assert describe_observations(DISCRETE) == STATES
    assert describe_observations(Encoder((("", Part((), "int32")),))) == {"kind": "box"}
    assert describe_observations(of_array((4,))) == {"kind": "box"}


# ------------------------------------------------------------------------------------- IN FILES


def test_a_discrete_environment_gives_integers(tmp_path):
    """A policy for FrozenLake that takes action s mod 4 in state s."""
    config = dataclasses.replace(CONFIG, env="FrozenLake-misc", network=by_hand)
    save_policy(tmp_path, config, linear_policy(np.eye(4)[np.arange(16) % 4], np.zeros(4)))
    act = load_policy(tmp_path).act
    np.testing.assert_array_equal([act(state) for state in range(16)], np.arange(16) % 4)
    np.testing.assert_array_equal(act(np.arange(16)), np.arange(16) % 4)
    np.testing.assert_array_equal(act(np.eye(16)), np.arange(16) % 4)


NORMALIZING = dataclasses.replace(CONFIG, normalize_obs=True)


def first_policy(config):
    """Parameters of the right shapes."""
    init = make_agent(config).networks.init
    params = jax.eval_shape(init, jax.random.key(0), jax.ShapeDtypeStruct((1, 4), jnp.float32))
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), params.policy)


def test_statistics_that_are_needed_must_be_given(tmp_path):
    """And nothing is written without them."""
    params = first_policy(NORMALIZING)
    with pytest.raises(ValueError, match=r"obs_stats is missing.*pass obs_stats=state.obs_stats$"):
        save_policy(tmp_path / "new", NORMALIZING, params)
    with pytest.raises(TypeError, match=r"obs_stats is a tuple; pass state.obs_stats"):
        save_policy(tmp_path / "new", NORMALIZING, params, (0, 1, 2))  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()
    save_policy(tmp_path / "new", CONFIG, params)


def test_a_policy_of_before_without_statistics_says_so(tmp_path):
    """Earlier versions wrote statistics of no rows in their place."""
    save_policy(tmp_path, NORMALIZING, first_policy(NORMALIZING), init_stats((4,)))
    with pytest.warns(UserWarning, match="was saved without statistics of them"):
        load_policy(tmp_path)

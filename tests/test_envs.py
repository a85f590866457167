"""Environments: what gymnax's do that must not reach the algorithm, autoreset, statistics."""

import urllib.error

import gymnax
import gymnax.wrappers
import jax
import jax.numpy as jnp
import numpy as np
import probes
import pytest
from gymnax.environments import spaces

from purejaxvpg import envs
from purejaxvpg.envs.core import EpisodeStats, VectorState

KEY = jax.random.key(0)


def types_of_a_step(env):
    """What reset and step return, as shapes and dtypes; nothing is compiled."""

    def first(key):
        obs, state = env.reset(key, env.default_params)
        space = env.action_space(env.default_params)
        action = jnp.zeros(space.shape, space.dtype)
        return obs, state, env.step(key, state, action, env.default_params)

    return jax.eval_shape(first, KEY)


def unroll(env, num_envs, num_steps, key=KEY, params=None, limit=None, act=lambda key, obs: 0):
    """`[T, N]` steps and the vector states before each, of `num_envs` environments."""
    vector = envs.vectorize(env, num_envs, limit)
    params = env.default_params if params is None else params

    def step(carry, x):
        (state, obs), (key, index) = carry, x
        action_key, env_key = jax.random.split(key)
        action = jnp.broadcast_to(jnp.asarray(act(action_key, obs)), (num_envs,))
        after, out = vector.step(vector.keys(env_key, index), state, action, params)
        return (after, out.obs), (state, obs, out)

    @probes.quick_jit
    def run(key):
        reset_key, key = jax.random.split(key)
        carry = vector.reset(reset_key, params)
        return jax.lax.scan(step, carry, (jax.random.split(key, num_steps), jnp.arange(num_steps)))

    (last, _), (states, obs, out) = run(key)
    return jax.tree.map(np.asarray, (states, obs, out, last))


@pytest.fixture(scope="module")
def random_length():
    """400 steps of 8 environments whose episodes last 1 to 5 steps, with random actions."""
    env = envs.make(probes.RandomLength(5))
    return unroll(env, 8, 400, act=lambda key, obs: jax.random.randint(key, (8,), 0, 2))


# ------------------------------------------------------------------------ WHAT GYMNAX RETURNS


@pytest.mark.parametrize(
    "name",
    ["UmbrellaChain-bsuite", "BernoulliBandit-misc", "FourRooms-misc", "FrozenLake-misc",
     "DeepSea-bsuite", "SimpleBandit-bsuite", "CartPole-v1"],
)  # fmt: skip
def test_rewards_and_observations_are_float32(name):
    """Whatever an environment returns, rewards and observations are float32, ends booleans."""
    env = envs.make(name)
    obs, _, out = types_of_a_step(env)
    assert {obs.dtype, out.obs.dtype, out.final_obs.dtype, out.reward.dtype} == {jnp.dtype("f4")}
    assert out.terminated.dtype == out.truncated.dtype == jnp.bool_
    assert obs.shape == out.obs.shape == out.final_obs.shape == env.obs_shape


@pytest.mark.parametrize("name", ["UmbrellaChain-bsuite", "BernoulliBandit-misc"])
def test_the_reward_cast_is_needed(name):
    """gymnax itself gives int32 rewards here; the test above would say nothing otherwise."""
    raw, params = gymnax.make(name)
    reward = jax.eval_shape(lambda k: raw.step(k, raw.reset(k, params)[1], 0, params)[2], KEY)
    assert reward.dtype == jnp.int32


def test_frozen_lake_is_one_hot():
    """A Discrete observation becomes a one-hot vector of the same index."""
    env = envs.make("FrozenLake-misc")
    obs, state = env.reset(KEY, env.default_params)
    assert env.obs_shape == (16,)
    np.testing.assert_array_equal(obs, np.eye(16)[0])
    for action in (0, 1, 2, 3):
        out = env.step(KEY, state, jnp.array(action), env.default_params)
        assert out.final_obs.sum() == 1
        assert set(np.unique(out.final_obs)) == {0, 1}


def test_terminated_wins_over_truncated():
    """DeepSea sets both flags at its last row, where nothing follows."""
    raw, params = gymnax.make("DeepSea-bsuite", size=3)
    _, state = raw.reset(KEY, params)
    env = envs.make("DeepSea-bsuite", size=3)
    _, ours = env.reset(KEY, env.default_params)
    for last in (False, False, True):
        _, state, _, terminated, truncated, _ = raw.step(KEY, state, 0, params)
        out = env.step(KEY, ours, jnp.array(0), env.default_params)
        ours = out.state
        assert (bool(terminated), bool(truncated)) == (last, last)
        assert (bool(out.terminated), bool(out.truncated)) == (last, False)


def test_simple_bandit_resets_after_every_step():
    """Its reset gives ints where its step gives floats, which a loop's carry must bear."""
    _, _, out, _ = unroll(envs.make("SimpleBandit-bsuite"), 3, 6)
    assert out.terminated.all()
    assert not out.truncated.any()
    assert (out.episode.lengths == 1).all()
    assert ((out.reward >= 0) & (out.reward <= 1)).all()


def test_catch_is_ten_by_five():
    """The observation is the board, and has the shape that is observed, not one declared."""
    env = envs.make("Catch-bsuite")
    obs, _ = env.reset(KEY, env.default_params)
    assert env.obs_shape == obs.shape == (10, 5)


def test_state_types_do_not_change_from_reset_to_step():
    """The carry of a scan has one type, in each environment gymnax registers."""
    for name in envs.registered():
        if name != "MNISTBandit-bsuite":
            _, before, out = types_of_a_step(envs.make(name))
            same = jax.tree.map(lambda x, y: (x.shape, x.dtype) == (y.shape, y.dtype), before,
                                out.state)  # fmt: skip
            assert all(jax.tree.leaves(same)), name


# --------------------------------------------------------------------------------- WRAPPERS


def test_a_wrapper_is_not_bypassed():
    """gymnax's wrappers forward `step_env` to what they wrap; using it would skip the wrapper."""
    raw, _ = gymnax.make("CartPole-v1")
    always_sticky = gymnax.wrappers.StickyActionWrapper(raw, 1.0)  # repeats action 0 for ever
    assert hasattr(always_sticky, "step_env")
    env = envs.make(always_sticky)
    assert env.resets_itself
    assert not envs.make(raw).resets_itself
    params = env.default_params
    _, state = env.reset(KEY, params)
    left, right = (env.step(KEY, state, jnp.array(action), params) for action in (0, 1))
    np.testing.assert_array_equal(left.final_obs, right.final_obs)
    plain = envs.make(raw)
    _, state = plain.reset(KEY, params)
    left, right = (plain.step(KEY, state, jnp.array(action), params) for action in (0, 1))
    assert np.abs(left.final_obs - right.final_obs).max() > 0.1


def test_an_inherited_step_is_taken_apart_and_its_own_is_not():
    """Subclasses that keep gymnax's step reset here; DeepSea, which has its own, resets itself."""
    assert not envs.make("CartPole-v1").resets_itself
    assert envs.make("DeepSea-bsuite").resets_itself


# -------------------------------------------------------------------------------- AUTORESET


def test_after_an_end_comes_a_fresh_reset(random_length):
    """Each reset has a key of its own: no reset state is shared or used twice."""
    _, obs, out, _ = random_length
    done = out.terminated | out.truncated
    starts = np.concatenate([obs[0], out.obs[done]])  # [resets, (length, time, noise)]
    assert (starts[:, 1] == 0).all()
    noise = starts[:, 2]
    assert len(noise) > 900
    # 24 bits of noise collide by chance about once in 40 such tests; a shared reset, always.
    assert len(np.unique(noise)) >= len(noise) - 1
    np.testing.assert_array_equal(out.obs[~done], out.final_obs[~done])


def test_final_obs_is_the_observation_before_the_reset(random_length):
    """final_obs goes on from obs: same episode, one step later, ends included."""
    _, obs, out, _ = random_length
    done = out.terminated
    np.testing.assert_array_equal(out.final_obs[..., 1], obs[..., 1] + 1)
    np.testing.assert_array_equal(out.final_obs[..., ::2], obs[..., ::2])
    np.testing.assert_array_equal(out.final_obs[..., 0][done], out.final_obs[..., 1][done])
    np.testing.assert_array_equal(obs[1:], out.obs[:-1])


def test_the_time_limit_truncates_and_does_not_terminate():
    """An endless environment is cut by its clock alone, every `length` steps."""
    _, _, out, _ = unroll(envs.make(probes.Endless(4)), 2, 12)
    assert not out.terminated.any()
    np.testing.assert_array_equal(out.truncated[:, 0], np.arange(1, 13) % 4 == 0)


def test_cartpole_terminates_and_truncates_where_it_should():
    """A limit of 5 truncates, at 5; a fallen pole terminates."""
    env = envs.make("CartPole-v1", max_steps_in_episode=5)
    _, _, out, _ = unroll(env, 2, 10)
    assert not out.terminated.any()
    np.testing.assert_array_equal(out.truncated[:, 1], np.arange(1, 11) % 5 == 0)
    _, _, out, _ = unroll(envs.make("CartPole-v1"), 2, 20)
    assert out.terminated.any()
    assert not out.truncated.any()
    assert (np.abs(out.final_obs[out.terminated][:, 2]) > 0.2).all()


@pytest.mark.parametrize("make", [lambda: probes.Mortal(5), lambda: probes.PlainEnv(5)])
def test_max_episode_steps_truncates(make):
    """It cuts an episode before its own end, whoever resets, and starts a fresh one."""
    env = envs.make(make())
    _, _, out, _ = unroll(env, 2, 9, limit=3)
    assert not out.terminated.any()
    np.testing.assert_array_equal(out.truncated[:, 0], np.arange(1, 10) % 3 == 0)
    np.testing.assert_array_equal(out.episode.lengths[:, 0], [1, 2, 3] * 3)
    np.testing.assert_array_equal(out.obs[2], out.obs[5])
    assert (out.obs[2] != out.final_obs[2]).any()


@pytest.mark.parametrize("ends", ["terminated", "truncated"])
def test_max_episode_steps_leaves_earlier_ends_alone(ends):
    """At its own end, an environment that resets itself keeps the state of its own reset."""
    env = envs.make(probes.PlainEnv(3, ends))
    _, obs, out, _ = unroll(env, 2, 7, limit=3)  # both limits at once: its own end counts
    np.testing.assert_array_equal(getattr(out, ends)[:, 0], np.arange(1, 8) % 3 == 0)
    np.testing.assert_array_equal(obs[:, 0, 1], [0, 0, 0, 1, 1, 1, 2])  # it counts its episodes
    other = "truncated" if ends == "terminated" else "terminated"
    assert not getattr(out, other).any()


def test_an_environment_that_resets_itself_is_left_alone():
    """Without a further limit its own states and observations pass through."""
    _, obs, out, _ = unroll(envs.make(probes.PlainEnv(3)), 2, 7)
    np.testing.assert_array_equal(obs[:, 0, 0], [0, 1, 2, 0, 1, 2, 0])
    np.testing.assert_array_equal(out.final_obs[:, 0, 0], [1, 2, 3, 1, 2, 3, 1])


# ------------------------------------------------------------------------------- STATISTICS


def test_episode_returns_and_lengths_are_exact(random_length):
    """Every episode is counted once, with the sum of its own rewards and its own length."""
    _, obs, out, last = random_length
    done = out.terminated | out.truncated
    for n in range(done.shape[1]):
        ends = np.flatnonzero(done[:, n])
        starts = np.concatenate([[0], ends[:-1] + 1])
        lengths = ends + 1 - starts
        sums = [out.reward[a : b + 1, n].sum() for a, b in zip(starts, ends, strict=True)]
        np.testing.assert_array_equal(out.episode.lengths[ends, n], lengths)
        np.testing.assert_array_equal(out.episode.lengths[ends, n], obs[ends, n, 0])
        np.testing.assert_array_equal(out.episode.returns[ends, n], sums)
        assert last.episode.lengths[n] == done.shape[0] - ends[-1] - 1
    assert out.episode.lengths[done].sum() + last.episode.lengths.sum() == done.size


def test_statistics_count_rewards_before_anything_is_done_to_them():
    """A truncated episode's return is its own too: reward 1 a step, cut at 4."""
    _, _, out, _ = unroll(envs.make(probes.Endless(4)), 1, 8)
    np.testing.assert_array_equal(out.episode.returns[:, 0], [1, 2, 3, 4, 1, 2, 3, 4])


def test_a_nan_reward_stays_in_its_own_episode():
    """The statistics after the episode's end know nothing of it."""
    env = envs.make(probes.PlainEnv(2))
    params = {"reward": jnp.nan, "later_reward": 1.0}
    _, _, out, last = unroll(env, 2, 6, params=params)
    np.testing.assert_array_equal(out.episode.returns[:, 0], [np.nan, np.nan, 1, 2, 1, 2])
    np.testing.assert_array_equal(last.episode.returns, [0, 0])


def test_the_vector_state_holds_the_running_statistics():
    """So that they are saved, sharded and continued with the rest."""
    vector = envs.vectorize(envs.make(probes.Mortal(3)), 2)
    state, obs = vector.reset(KEY, probes.Params())
    assert isinstance(state, VectorState)
    assert isinstance(state.episode, EpisodeStats)
    assert obs.shape == (2, 3)
    assert state.episode.lengths.dtype == jnp.int32


# -------------------------------------------------------------------------------- BY NAME


def test_the_same_arguments_give_the_same_object():
    """A new object would compile anew."""
    assert envs.make("CartPole-v1") is envs.make("CartPole-v1")
    assert envs.make("DeepSea-bsuite", size=4) is envs.make("DeepSea-bsuite", size=4)
    assert envs.make("DeepSea-bsuite", size=4) is not envs.make("DeepSea-bsuite", size=5)
    probe = probes.PolicyOnly()
    env = envs.make(probe)
    assert envs.make(probe) is env
    assert envs.make(env) is env


def test_keyword_arguments_reach_parameters_and_constructors():
    """Fields of the parameters become defaults; constructor arguments build the environment."""
    heavy = envs.make("CartPole-v1", gravity=20.0)
    assert heavy.default_params.gravity == 20.0
    assert envs.make("CartPole-v1").default_params.gravity == pytest.approx(9.8)
    assert envs.make("DeepSea-bsuite", size=10).obs_shape == (10, 10)
    both = envs.make("DeepSea-bsuite", size=5, unscaled_move_cost=0.5)
    assert both.obs_shape == (5, 5)
    assert both.default_params.unscaled_move_cost == 0.5
    assert both.default_params.max_steps_in_episode == 5


@pytest.mark.parametrize(
    ("name", "kwargs", "mentions"),
    [
        ("CartPole-v2", {}, "CartPole-v1"),
        ("Breakout", {}, "Breakout-MinAtar"),
        ("CartPole-v1", {"gravitty": 1.0}, "gravity"),
        ("DeepSea-bsuite", {"sise": 4}, "size"),
    ],
)
def test_unknown_names_list_the_close_ones(name, kwargs, mentions):
    """In one line, with what was given and what was perhaps meant."""
    with pytest.raises(ValueError, match=f"did you mean .*{mentions}") as error:
        envs.make(name, **kwargs)
    assert "\n" not in str(error.value)
    assert (next(iter(kwargs), name)) in str(error.value)


def test_an_unknown_name_like_no_other_lists_them_all():
    """Where nothing is close, everything known is named, and nothing else."""
    with pytest.raises(ValueError, match=r"known: CartPole-v1, Pendulum-v1") as error:
        envs.make("?????????")
    assert all(name in str(error.value) for name in envs.registered())
    with pytest.raises(ValueError, match="has no parameter or argument") as error:
        envs.make("CartPole-v1", zzzzzzzz=1)
    assert "gravity" in str(error.value)
    assert "kwargs" not in str(error.value)


def test_data_that_cannot_be_loaded_give_one_clear_line(monkeypatch):
    """MNISTBandit downloads in its constructor; without a network that is a RuntimeError."""
    from gymnax.utils import load_mnist

    def no_network():
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(load_mnist, "load_mnist", no_network)
    with pytest.raises(
        RuntimeError, match=r"MNISTBandit-bsuite could not load .*no network here"
    ) as error:
        envs.make("MNISTBandit-bsuite")
    assert "\n" not in str(error.value)


def test_register_makes_a_name_known(monkeypatch):
    """A factory under a name, with its keyword arguments, once."""
    monkeypatch.setattr(envs, "_user_factories", {})
    envs.register("Test-Mortal", probes.Mortal)
    assert "Test-Mortal" in envs.registered()
    env = envs.make("Test-Mortal", length=7)
    assert (env.name, env.obs_shape) == ("Test-Mortal", (7,))
    assert envs.make("Test-Mortal", length=7) is env
    for name in ("Test-Mortal", "CartPole-v1"):
        with pytest.raises(ValueError, match=f"'{name}' is registered already"):
            envs.register(name, probes.Mortal)
    with pytest.raises(TypeError, match="cannot be called"):
        envs.register("Test-Other", 3)
    with pytest.raises(ValueError, match="did you mean Test-Mortal"):
        envs.make("Test-Mortel")
    # A factory may hand over an Environment that is made already.
    envs.register("Test-Made", lambda: env)
    assert envs.make("Test-Made") is env


def test_registered_lists_gymnax_names():
    """All of gymnax's, under its own names."""
    assert set(gymnax.registered_envs) <= set(envs.registered())


def test_keyword_arguments_go_with_names_only():
    """An object is made already."""
    with pytest.raises(ValueError, match="not with an object"):
        envs.make(probes.PolicyOnly(), reward=2.0)


def test_resolve_params():
    """Overrides replace fields of the defaults; unknown ones are refused with the close ones."""
    env = envs.make("CartPole-v1")
    params = envs.resolve_params(env, {"gravity": 5.0})
    assert params.gravity == 5.0
    assert params.length == env.default_params.length
    assert envs.resolve_params(env, None) is env.default_params
    assert envs.resolve_params(env, params) is params
    with pytest.raises(ValueError, match=r"env_params.gravty is not .*CartPole-v1.*gravity"):
        envs.resolve_params(env, {"gravty": 5.0})
    plain = envs.make(probes.PlainEnv(3))
    assert envs.resolve_params(plain, {"reward": 2.0}) == {"reward": 2.0, "later_reward": 1.0}
    with pytest.raises(ValueError, match="did you mean reward"):
        envs.resolve_params(plain, {"rewards": 2.0})
    assert set(envs.param_names(plain.default_params)) == {"reward", "later_reward"}


# --------------------------------------------------------------------------------- CONTRACT


def with_values(**changes):
    """A spoiler that replaces some of the six values by functions of them."""
    names = ("obs", "state", "reward", "terminated", "truncated", "info")

    def spoil(values):
        return tuple(
            changes.get(name, lambda x: x)(x) for name, x in zip(names, values, strict=True)
        )

    return spoil


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda v: (*v[:3], v[3] | v[4], v[5]), r"returned 5 values; expected 6"),
        (lambda v: v[0], r"returned 1 values; expected 6"),
        (with_values(reward=lambda r: r[None]), r"reward of shape \(1,\); expected a scalar"),
        (with_values(terminated=lambda t: t[None]), r"terminated of shape \(1,\)"),
        (with_values(truncated=lambda t: t[None]), r"truncated of shape \(1,\)"),
        (with_values(obs=lambda o: o[:1]), r"obs of shape \(1,\), and reset one of \(2,\)"),
        (with_values(info=lambda i: {}), r"no info\['final_observation'\]"),
        (
            with_values(info=lambda i: {"final_observation": jnp.zeros(3)}),
            r"final_obs of shape \(3,\), and reset one of \(2,\)",
        ),
        (with_values(state=lambda s: s[0]), "state of another structure or shape"),
        (with_values(state=lambda s: (s[0][None], s[1])), "state of another structure or shape"),
    ],
)  # fmt: skip
def test_a_broken_contract_gives_one_line(spoil, says):
    """What was returned, what is expected, and which environment it was."""
    with pytest.raises(ValueError, match=says) as error:
        envs.make(probes.SpoiledEnv(spoil))
    assert "\n" not in str(error.value)
    assert "SpoiledEnv" in str(error.value)


def test_an_unspoiled_environment_keeps_the_contract():
    """The same environment with nothing changed is accepted."""
    assert envs.make(probes.SpoiledEnv(lambda values: values)).obs_shape == (2,)


@pytest.mark.parametrize(
    "missing", ["default_params", "reset", "step", "action_space", "observation_space"]
)
def test_a_missing_attribute_is_named(missing):
    """An object that lacks part of gymnax's style is refused by that part's name."""
    whole = {
        name: getattr(probes.PlainEnv, name)
        for name in ("default_params", "reset", "step", "action_space", "observation_space")
    }
    whole.pop(missing)
    with pytest.raises(TypeError, match=f"has no '{missing}'") as error:
        envs.make(type("Half", (), whole)())
    assert "\n" not in str(error.value)


def test_observations_in_pieces_are_refused():
    """A Dict observation is named, with the remedy."""

    class Pieces(probes.PlainEnv):
        def observation_space(self, params):
            return spaces.Dict({"a": spaces.Discrete(2)})

    with pytest.raises(ValueError, match="flatten it to one array"):
        envs.make(Pieces(3))


# -------------------------------------------------------------------------------- PRECISION


@pytest.mark.usefixtures("x64")
def test_environments_step_in_float32_with_x64_on():
    """Rewards, observations and statistics stay float32, and a scan's carry keeps its type."""
    for instance in ("CartPole-v1", "SimpleBandit-bsuite"):
        states, obs, out, last = unroll(envs.make(instance), 2, 3)
        assert obs.dtype == out.reward.dtype == out.episode.returns.dtype == np.float32
        assert out.episode.lengths.dtype == np.int32
        types = jax.tree.map(lambda x, y: x.dtype == y.dtype, states, last)
        assert all(jax.tree.leaves(types))


def test_select_takes_whole_rows_of_key_arrays():
    """Keys in an environment's state, as many a row as there are rows."""
    mask = jnp.array([True, False])
    one, other = (jax.random.split(jax.random.key(i), (2, 2)) for i in range(2))
    taken = jax.random.key_data(envs.select(mask, one, other))
    np.testing.assert_array_equal(taken[0], jax.random.key_data(one)[0])
    np.testing.assert_array_equal(taken[1], jax.random.key_data(other)[1])


def test_a_hand_made_environment_is_checked_too():
    cartpole = envs.make("CartPole-v1")

    def step(*args):
        out = cartpole.step(*args)
        return out._replace(reward=out.reward[None])

    with pytest.raises(ValueError, match=r"reward of shape \(1,\)"):
        envs.make(cartpole._replace(step=step))


def test_a_class_is_not_an_environment():
    from gymnax.environments.classic_control.cartpole import CartPole

    with pytest.raises(TypeError, match="is a class; pass an instance"):
        envs.make(CartPole)


def test_a_parameter_of_another_shape_is_refused():
    """[N] gravities would broadcast over N environments instead of being swept."""
    with pytest.raises(ValueError, match=r"gravity has shape \(2,\).*jax.vmap"):
        envs.resolve_params(envs.make("CartPole-v1"), {"gravity": np.ones(2)})

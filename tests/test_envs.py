"""One environment: gymnax's adapted, wrappers, names, parameters, the contract."""

import urllib.error

import gymnax
import gymnax.wrappers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import probes

from purejaxvpg import envs
from purejaxvpg.agent.encoding import make_encoder

KEY = jax.random.key(0)


def types_of_a_step(env):
    """Shapes and dtypes that reset and step return; nothing is compiled."""

    def first(key):
        obs, state = env.reset(key, env.default_params)
        space = env.action_space(env.default_params)
        action = jnp.zeros(space.shape, space.dtype)
        return obs, state, env.step(key, state, action, env.default_params)

    return jax.eval_shape(first, KEY)


# ------------------------------------------------------------------------ WHAT GYMNAX RETURNS


@pytest.mark.parametrize(
    "name",
    ["UmbrellaChain-bsuite", "BernoulliBandit-misc", "FourRooms-misc", "FrozenLake-misc",
     "DeepSea-bsuite", "SimpleBandit-bsuite", "CartPole-v1"],
)  # fmt: skip
def test_types_of_a_step(name):
    """Rewards are float32 and ends booleans, whatever the environment returns; observations are
    float32, or the integers of a Discrete."""
    env = envs.make(name)
    obs, _, out = types_of_a_step(env)
    assert out.reward.dtype == jnp.float32
    seen = jnp.dtype("i4" if name in ("FrozenLake-misc", "FourRooms-misc") else "f4")
    assert {obs.dtype, out.obs.dtype, out.final_obs.dtype} == {seen}
    assert out.terminated.dtype == out.truncated.dtype == jnp.bool_
    assert obs.shape == out.obs.shape == out.final_obs.shape == env.obs_shape


@pytest.mark.parametrize("name", ["UmbrellaChain-bsuite", "BernoulliBandit-misc"])
def test_the_reward_cast_is_needed(name):
    """gymnax itself gives int32 rewards here; without that the test above could not fail."""
    raw, params = gymnax.make(name)
    reward = jax.eval_shape(lambda k: raw.step(k, raw.reset(k, params)[1], 0, params)[2], KEY)
    assert reward.dtype == jnp.int32


def test_frozen_lake_is_seen_one_hot():
    """Networks see a Discrete observation as a one-hot vector of the same index."""
    env = envs.make("FrozenLake-misc")
    encoder = make_encoder(env)
    obs, state = env.reset(KEY, env.default_params)
    assert (env.obs_shape, encoder.shapes) == ((), (16,))
    np.testing.assert_array_equal(encoder(obs), np.eye(16)[0])
    for action in (0, 1, 2, 3):
        out = env.step(KEY, state, jnp.array(action), env.default_params)
        np.testing.assert_array_equal(encoder(out.final_obs), np.eye(16)[int(out.final_obs)])


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
    """One line, with the name given and the close ones."""
    with pytest.raises(ValueError, match=f"did you mean .*{mentions}") as error:
        envs.make(name, **kwargs)
    assert "\n" not in str(error.value)
    assert (next(iter(kwargs), name)) in str(error.value)


def test_an_unknown_name_like_no_other_lists_them_all():
    """All known names are listed where none is close, and nothing else."""
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
    """A factory under a name, with its keyword arguments; gymnax's names stay gymnax's."""
    monkeypatch.setattr(envs, "_user_factories", {})
    envs.register("Test-Mortal", probes.Mortal)
    assert "Test-Mortal" in envs.registered()
    env = envs.make("Test-Mortal", length=7)
    assert (env.name, env.obs_shape) == ("Test-Mortal", (7,))
    assert envs.make("Test-Mortal", length=7) is env
    with pytest.raises(ValueError, match="'CartPole-v1' is gymnax's; choose another name"):
        envs.register("CartPole-v1", probes.Mortal)
    with pytest.raises(TypeError, match="cannot be called"):
        envs.register("Test-Other", 3)
    with pytest.raises(ValueError, match="did you mean Test-Mortal"):
        envs.make("Test-Mortel")
    # A factory may hand over an Environment that is made already.
    envs.register("Test-Made", lambda: env)
    assert envs.make("Test-Made") is env


def test_registered_lists_gymnax_names():
    """gymnax's environments are known under gymnax's names."""
    assert set(gymnax.registered_envs) <= set(envs.registered())


def test_keyword_arguments_go_with_names_only():
    """An object is made already: arguments for it are refused."""
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
    """One line: the environment, the values returned and the values expected."""
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


def test_a_hand_made_environment_is_checked_too():
    """An `Environment` whose step breaks the contract is refused as an adapted one is."""
    cartpole = envs.make("CartPole-v1")

    def step(*args):
        out = cartpole.step(*args)
        return out._replace(reward=out.reward[None])

    with pytest.raises(ValueError, match=r"reward of shape \(1,\)"):
        envs.make(cartpole._replace(step=step))


def test_a_class_is_not_an_environment():
    """The message says to pass an instance."""
    from gymnax.environments.classic_control.cartpole import CartPole

    with pytest.raises(TypeError, match="is a class; pass an instance"):
        envs.make(CartPole)


def test_a_parameter_of_another_shape_is_refused():
    """[N] gravities would broadcast over N environments instead of being swept."""
    with pytest.raises(ValueError, match=r"gravity has shape \(2,\).*jax.vmap"):
        envs.resolve_params(envs.make("CartPole-v1"), {"gravity": np.ones(2)})


def test_a_step_may_write_into_the_state_that_it_is_given():
    """It is given a copy: the caller's state stays, and types are those of before."""

    def reset(key, params):
        return jnp.zeros(1), {"time": jnp.zeros((), jnp.int32), "paid": 0}

    def step(key, state, action, params):
        state["time"] += 1
        state["paid"] = 0.5
        obs = jnp.ones(1) * state["time"]
        return envs.Step(state, obs, obs, state["paid"], state["time"] >= 3, False)

    spaces = gymnax.environments.spaces
    of_actions, of_obs = spaces.Discrete(2), spaces.Box(0, 3, (1,))
    env = envs.make(
        envs.Environment("writes", reset, step, None, lambda _: of_actions, lambda _: of_obs)
    )
    key = jax.random.key(0)
    _, before = env.reset(key, None)
    out = env.step(key, before, 0, None)
    assert (int(before["time"]), float(before["paid"])) == (0, 0.0)
    assert (int(out.state["time"]), float(out.state["paid"])) == (1, 0.5)
    assert before["paid"].dtype == out.state["paid"].dtype == jnp.float32

"""envelope: its adapters of other libraries, suites that register with it, and objects."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import suites
from support.probes import quick_jit

from purejaxvpg import envs
from purejaxvpg.envs import envelope_adapter
from purejaxvpg.envs.spaces import kind_of

envelope = suites.need("envelope")

HERE = ["gymnax", *[name for name in envelope_adapter._SUITES if envs.suites.SUITES[
    {"mujoco_playground": "playground"}.get(name, name)].installed]]  # fmt: skip
INSTALLED = [name for name in envelope_adapter.NAMES if name.partition("::")[0] in HERE]


def library(name, **kwargs):
    """Reset and step of envelope's own, without a limit."""
    env = envelope.create(name, max_episode_steps=None, **kwargs)

    def reset(key):
        state, info = env.init(key)
        return info.obs, state

    def step(key, state, action):
        state, info = env.step(state, action)
        return info.obs, state, info.reward, info.terminated, info.truncated

    return reset, step


@pytest.mark.parametrize(
    ("name", "ends"), [("gymnax::CartPole-v1", True), ("gymnax::Pendulum-v1", False)]
)
def test_it_is_the_librarys_environment(name, ends):
    assert bool(suites.assert_follows(envs.make(f"envelope/{name}"), *library(name))) == ends


def test_the_bridge_and_our_own_adapter_agree():
    """From the same state, the same action leads to the same: rewards, and observations."""
    theirs, ours = envs.make("envelope/gymnax::Pendulum-v1"), envs.make("Pendulum-v1")
    _, state = quick_jit(theirs.reset)(suites.KEY, theirs.default_params)
    action = jnp.ones(1)
    out = quick_jit(theirs.step)(suites.KEY, state, action, theirs.default_params)
    same = quick_jit(ours.step)(suites.KEY, state.inner.env_state, action, ours.default_params)
    np.testing.assert_array_equal(out.reward, same.reward)
    np.testing.assert_array_equal(out.final_obs, same.final_obs)


def test_a_limit_truncates():
    env = envs.make("envelope/gymnax::Pendulum-v1", max_steps_in_episode=3)
    _, steps = suites.walk(env, [np.zeros(1)] * 5)
    assert (len(steps), bool(steps[-1].terminated), bool(steps[-1].truncated)) == (3, False, True)


def test_the_traced_limit_cuts():
    env = envs.make("envelope/gymnax::Pendulum-v1")
    assert env.default_params["max_steps_in_episode"] == 200  # the library's default
    suites.assert_cut_at_five(env, env.default_params | {"max_steps_in_episode": 5})


def test_max_episode_steps_cuts():
    suites.assert_trains_with_a_limit("envelope/gymnax::Pendulum-v1")


def test_its_floats_are_parameters():
    """Twice the torque of gravity turns a hanging pendulum twice as fast."""
    env = envs.make("envelope/gymnax::Pendulum-v1", g=5.0)
    assert env.default_params["g"] == 5.0
    _, state = env.reset(suites.KEY, env.default_params)

    @quick_jit
    def speed(g):
        params = env.default_params | {"g": g}
        start = state.inner.env_state.replace(theta=jnp.array(jnp.pi / 2), theta_dot=jnp.zeros(()))
        inner = state._replace(inner=state.inner.update(env_state=start))
        return env.step(suites.KEY, inner, jnp.zeros(1), params).final_obs[2]

    assert speed(5.0) > 0
    np.testing.assert_allclose(speed(10.0), 2 * speed(5.0), rtol=1e-5)


# ------------------------------------------------------------------- OBJECTS, AND OTHER SUITES


def spaces_of_many_kinds():
    """Spaces of actions and of observations: named, unnamed, of several integers."""
    space = envelope.PyTreeSpace(
        {
            "move": envelope.Discrete(n=jnp.array([2, 3])),
            "both": (envelope.Discrete(n=2), envelope.Continuous(low=-1.0, high=1.0)),
        }
    )
    return space, envelope.PyTreeSpace((envelope.Continuous(low=0.0, high=9.0),))


@functools.cache
def one_of_ours():
    class Counter(envelope.Environment):
        """Pays `pay` for move[1] == 2; ends after 3 steps."""

        pay: float = 1.5

        def init(self, key):
            return jnp.zeros(()), self._info(jnp.zeros(()), 0.0)

        def step(self, state, action):
            assert isinstance(action["both"], tuple)
            return state + 1, self._info(state + 1, self.pay * (action["move"][1] == 2))

        def _info(self, state, reward):
            return envelope.InfoContainer(obs=(state,), reward=reward, terminated=state >= 3)

        @property
        def action_space(self):
            return spaces_of_many_kinds()[0]

        @property
        def observation_space(self):
            return spaces_of_many_kinds()[1]

    return Counter


def test_an_object_is_an_environment():
    env = envs.make(one_of_ours()(pay=2.0))
    assert env.default_params == {"pay": 2.0}
    assert env.time_limit is None
    space = env.action_space(env.default_params)
    assert kind_of(space.spaces["move"]) == "multi"
    assert [kind_of(x) for x in space.spaces["both"].spaces] == ["discrete", "box"]
    action = {"move": jnp.array([1, 2]), "both": (jnp.array(0), jnp.array(0.5))}
    _, steps = suites.walk(env, [action] * 5)
    assert [float(out.reward) for out in steps] == [2.0, 2.0, 2.0]
    assert steps[-1].terminated


def test_it_trains():
    metrics = suites.three_updates(one_of_ours()(), num_steps=6)
    assert (metrics.episode_length_sum == 3 * metrics.episode_count).all()
    assert (metrics.episode_count == 4).all()  # of two environments, six steps


def test_a_class_in_a_file_is_an_environment(tmp_path):
    """Its floats are arguments of the class, and parameters."""
    (tmp_path / "mine.py").write_text(
        "import envelope, jax.numpy as jnp\n"
        "class Mine(envelope.Environment):\n"
        "    pay: float = 1.5\n"
        "    def init(self, key):\n"
        "        return jnp.zeros(1), envelope.InfoContainer(jnp.zeros(1), 0.0, False)\n"
        "    def step(self, state, action):\n"
        "        return state, envelope.InfoContainer(state, self.pay * action, True)\n"
        "    action_space = envelope.Discrete(n=2)\n"
        "    observation_space = envelope.Continuous.from_shape(0.0, 1.0, (1,))\n"
    )
    env = envs.make(f"{tmp_path / 'mine.py'}:Mine", pay=2.5)
    assert env.default_params == {"pay": 2.5}
    _, steps = suites.walk(env, [jnp.array(1)])
    assert float(steps[0].reward) == 2.5


def test_a_suite_of_another_package_is_made_by_its_name(monkeypatch):
    made = envelope.create
    monkeypatch.setattr(
        envelope,
        "create",
        lambda name, **kwargs: (
            one_of_ours()() if name == "theirs::Counter" else made(name, **kwargs)
        ),
    )
    assert envs.make("envelope/theirs::Counter").name == "envelope/theirs::Counter"
    with pytest.raises(ValueError, match="Unknown environment suite: nobodys") as error:
        envs.make("envelope/nobodys::Counter")
    assert "\n" not in str(error.value)


# -------------------------------------------------------------------------------------- NAMES


@pytest.mark.parametrize(
    ("name", "kwargs", "line"),
    [
        ("gymnax::Pendulumm-v1", {}, "is unknown; did you mean gymnax::Pendulum-v1"),
        ("gymnax::Pendulum-v1", {"g": "5"}, "parameter g='5' is not a number"),
        ("gymnax::Pendulum-v1", {"grvity": 5}, "cannot be made with {'grvity': 5}"),
        ("gymnax::Pendulum-v1", {"max_steps_in_episode": 0}, "max_steps_in_episode=0"),
        ("jumanji::Connector-v3", {}, "is refused: it is of several agents"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(name, kwargs, line):
    with pytest.raises(ValueError, match=line) as error:
        envs.make(f"envelope/{name}", **kwargs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suite", HERE)
def test_the_names_are_those_of_the_library(suite):
    listed = {name for name in envelope_adapter.NAMES if name.startswith(f"{suite}::")}
    refused = {name for name in envelope_adapter.REFUSED if name.startswith(f"{suite}::")}
    registered = set(envelope.registered_environments(suite))
    assert registered - listed - refused == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in INSTALLED if name not in envelope_adapter.DOWNLOADS]
)
def test_every_name_is_made_and_stepped(name):
    suites.assert_steps(f"envelope/{name}")
    jax.clear_caches()


def test_mujoco_writes_no_log(tmp_path, monkeypatch):
    """Its model of halfcheetah uses what is deprecated, which MuJoCo writes to a file here."""
    suites.need("brax")
    monkeypatch.chdir(tmp_path)
    env = envs.suites.make("envelope/brax::halfcheetah")
    assert env.default_params == {"max_steps_in_episode": 1000}
    assert not list(tmp_path.iterdir())


def test_a_missing_suite_names_its_extra(monkeypatch):
    suites.assert_names_the_extra(monkeypatch, "envelope")

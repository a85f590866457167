"""Names of environments and of their parameters: registered again, `module:Name`, dotted."""

import json
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from support import probes

from purejaxvpg import Hyperparams, VPGConfig, envs, make_learner, make_train
from purejaxvpg.experiment import sweep
from purejaxvpg.experiment.design import make_design
from purejaxvpg.experiment.groups import resolve
from purejaxvpg.experiment.stacking import stack_hyperparams
from purejaxvpg.serialize import (
    config_from_json,
    config_to_json,
    hyperparams_from_json,
    plain,
)

SMALL = {"num_envs": 2, "num_steps": 4, "total_steps": 8, "hidden_sizes": (4,),
         "value_iterations": 1}  # fmt: skip

# --------------------------------------------------------------------------- REGISTERED AGAIN


def test_a_name_registered_again_stands_for_the_new_environment(monkeypatch):
    """A notebook's cell that is run again: no program of before is used for the name."""
    monkeypatch.setattr(envs, "_user_factories", {})
    config = VPGConfig(env="Again-v0", **SMALL)

    def widths():  # of the observations, as each room sees them
        train, learner = make_train(config), make_learner(config)
        key = jax.random.key(0)
        trained = jax.eval_shape(train, key).state.obs.shape
        return envs.make("Again-v0").obs_shape, trained, jax.eval_shape(learner.init, key).obs.shape

    envs.register("Again-v0", lambda: probes.Mortal(3))
    before = make_train(config)
    assert widths() == ((3,), (2, 3), (2, 3))
    assert make_train(config) is before
    envs.register("Again-v0", lambda: probes.Mortal(5))
    assert widths() == ((5,), (2, 5), (2, 5))
    assert envs.registered().count("Again-v0") == 1
    assert jax.eval_shape(before, jax.random.key(0)).state.obs.shape == (2, 3)


# ------------------------------------------------------------------------------- MODULE:NAME

MODULE = """
from support import probes
from purejaxvpg import envs
from purejaxvpg.envs import Environment

class Five(probes.Mortal):
    def __init__(self, length=5):
        super().__init__(length)

instance = Five(2)
made = envs.make(Five(4))

def factory(length: int = 6) -> Environment:
    return envs.make(Five(length))

def anything(length=6):
    raise AssertionError("called")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of the user's on the path."""
    (tmp_path / "my_own_envs.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_own_envs"
    sys.modules.pop("my_own_envs", None)


def test_module_and_name_stand_for_an_environment(module):
    """A class, with its arguments, a function that says that it makes one, and values."""
    assert envs.make(f"{module}:Five").obs_shape == (5,)
    assert envs.make(f"{module}:Five").name == f"{module}:Five"
    assert envs.make(f"{module}:Five", length=3).obs_shape == (3,)
    assert envs.make(f"{module}:instance").obs_shape == (2,)
    assert envs.make(f"{module}:made").obs_shape == (4,)
    assert envs.make(f"{module}:factory", length=7).obs_shape == (7,)
    assert envs.make(f"{module}:Five") is envs.make(f"{module}:Five")
    config = VPGConfig(env=f"{module}:Five", env_kwargs={"length": 3}, **SMALL)
    again = config_from_json(json.loads(json.dumps(config_to_json(config))))
    assert again == config
    assert jax.eval_shape(make_learner(again).init, jax.random.key(0)).obs.shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("{}:Fife", ValueError, "did you mean Five"),
        ("no_such_module_here:Env", ValueError, "cannot be imported.*PYTHONPATH"),
        ("{}:anything", TypeError, "no function annotated"),
        ("subprocess:run", TypeError, "no class in gymnax's style"),
        ("{}:Five", TypeError, "cannot be made with"),
        ("{}:instance", TypeError, "takes no keyword arguments"),
    ],
)
def test_a_module_and_name_that_is_no_environment_is_refused(module, name, kind, message):
    """One line; and nothing is called that does not say that it is an environment."""
    with pytest.raises(kind, match=message) as error:
        envs.make(name.format(module), unknown=1)
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------- PARAMETERS IN PARAMETERS


class Inner(NamedTuple):
    g: float = 1.0
    bounds: dict = {"low": 0.0, "high": 2.0}  # noqa: RUF012


@struct.dataclass
class Outer:
    inner: Inner = Inner()
    reward: float = 1.0
    max_steps_in_episode: int = 5


class Nested(probes.Mortal):
    """Pays inner.g * inner.bounds.high + reward a step."""

    @property
    def default_params(self):
        return Outer()

    def outcome(self, state, action, params):
        inner = params.inner
        return inner.g * inner.bounds["high"] + params.reward, state.time + 1 >= self.length


class Tupled(Nested):
    """Parameters in a NamedTuple alone."""

    class Params(NamedTuple):
        g: float = 1.0
        max_steps_in_episode: int = 5

    @property
    def default_params(self):
        return self.Params()

    def outcome(self, state, action, params):
        return params.g, state.time + 1 >= self.length


def reward(env, overrides):
    """Of the first step under these parameters."""
    params = envs.resolve_params(env, overrides)
    _, state = env.reset(jax.random.key(0), params)
    return float(env.step(jax.random.key(0), state, 0, params).reward)


def test_parameters_inside_others_have_dotted_names():
    env = envs.make(Nested(3))
    assert envs.param_names(env.default_params) == (
        "inner.g", "inner.bounds.low", "inner.bounds.high", "reward", "max_steps_in_episode"
    )  # fmt: skip
    assert envs.get_param(env.default_params, "inner.bounds.high") == 2.0
    assert envs.get_param(env.default_params, "inner.h") is None
    assert reward(env, None) == 3.0
    assert reward(env, {"inner.g": 10.0, "reward": 0.5}) == 20.5
    assert reward(env, {"inner.bounds.high": 4.0}) == 5.0
    with pytest.raises(ValueError, match=r"env_params\.inner\.h is not .*did you mean inner\.g"):
        envs.resolve_params(env, {"inner.h": 1.0})
    with pytest.raises(ValueError, match=r"env_params\.inner\.g has shape \(2,\)"):
        envs.resolve_params(env, {"inner.g": np.ones(2)})
    assert Hyperparams(env_params={"inner": {"g": 10.0}}).env_params == {"inner.g": 10.0}


def test_parameters_in_a_named_tuple_have_names():
    env = envs.make(Tupled(3))
    assert envs.param_names(env.default_params) == ("g", "max_steps_in_episode")
    assert reward(env, {"g": 7.0}) == 7.0
    assert isinstance(envs.resolve_params(env, {"g": 7.0}), Tupled.Params)


@pytest.mark.parametrize(("env", "name"), [(Nested(3), "inner.g"), (Tupled(3), "g")])
def test_parameters_inside_others_are_swept(env, name):
    """Values of the design arrive as `[H]` in the place that they name."""
    config = VPGConfig(env=env, **SMALL)
    design = make_design(grid={f"env_params.{name}": [2.0, 4.0]})
    (group,) = resolve(design, config, Hyperparams())
    stacked = stack_hyperparams(config, group.hyperparams).env_params
    assert envs.get_param(stacked, name).tolist() == [2.0, 4.0]
    assert stacked.max_steps_in_episode.tolist() == [5, 5]
    hp = Hyperparams(env_params={name: jnp.float32(2.0)})
    assert jax.eval_shape(make_train(config), jax.random.key(0), hp).metrics.finite.shape == (1,)


def test_a_whole_nested_object_is_written_by_names_and_read_back():
    hp = Hyperparams(env_params=Outer(inner=Inner(g=9.0)))
    fields = json.loads(json.dumps(plain(hp)))
    assert fields["env_params"]["inner.g"] == 9.0
    back = hyperparams_from_json(fields)
    assert plain(back) == fields
    env = envs.make(Nested(3))
    assert envs.resolve_params(env, back.env_params) == Outer(inner=Inner(g=9.0))


# ------------------------------------------------------------------------------- TIME LIMITS


def test_a_time_limit_above_that_of_the_environment_is_refused():
    """It would do nothing; the line names the parameter that does."""
    config = VPGConfig(max_episode_steps=1000, **SMALL)
    key = jax.random.key(0)
    message = r"max_episode_steps=1000 does nothing: CartPole-v1 .* 500 .*max_steps_in_episode=1000"
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(make_train(config), key)
    with pytest.raises(ValueError, match=message):
        sweep(config, grid={"gamma": [0.9]}, num_seeds=1)
    for limit in (1000, 2000):
        raised = Hyperparams(env_params={"max_steps_in_episode": limit})
        jax.eval_shape(lambda key: make_train(config)(key, raised), key)  # noqa: B023
    jax.eval_shape(make_train(VPGConfig(max_episode_steps=500, **SMALL)), key)

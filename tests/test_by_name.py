"""Networks and functions of the user's own by `module:Name`: in configs, files and commands."""

import dataclasses
import json
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import named, probes

from purejaxvpg import VPGConfig, by_name, envs
from purejaxvpg.agent import make_agent, make_setup, with_imported
from purejaxvpg.cli import parsing
from purejaxvpg.experiment import load_policy, save_policy
from purejaxvpg.serialize import config_from_json, config_to_json

CONFIG = VPGConfig(num_envs=2, num_steps=4, total_steps=16, hidden_sizes=(8,))


def change(**fields):
    return dataclasses.replace(CONFIG, **fields)


def policy_of(config):
    """Random parameters of a config's policy, by numpy: no program is compiled."""
    init = make_agent(config).networks.init
    shapes = jax.eval_shape(init, jax.random.key(0), jax.ShapeDtypeStruct((1, 4), jnp.float32))
    draw = np.random.default_rng(0)
    return jax.tree.map(lambda x: draw.normal(size=x.shape).astype(x.dtype), shapes.policy)


OBJECTS = {
    "network": [(named.wide, "support.named:wide"), (named.Wide(), "support.named:Wide"),
                (named.by_hand, "support.probes:Identity")],
    "estimator": [(named.psi, "support.named:psi")],
    "optimizer": [(named.rule, "support.named:rule"), (optax.sgd, "optax:sgd")],
    "kernel_init": [(named.init, "support.named:init")],
    "env": [(named.psi, "support.named:psi")],
}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "path"), [(f, *pair) for f, pairs in OBJECTS.items() for pair in pairs]
)
def test_objects_are_written_by_the_name_that_imports_them(field, value, path):
    text = json.dumps(config_to_json(change(**{field: value})))
    back = config_from_json(json.loads(text))
    assert getattr(back, field) == path
    if field != "env":  # which is `envs.make`'s
        assert getattr(with_imported(back), field) == value


@pytest.mark.parametrize(
    "value", [named.Wide(3), nn.Dense(3), type("Local", (nn.Module,), {})(), lambda obs: obs]
)
def test_objects_that_no_import_gives_are_refused(value):
    line = r"network=.* cannot be written to a folder; give it by name: module:Name of a module"
    with pytest.raises(TypeError, match=line) as error:
        config_to_json(change(network=value))
    assert "\n" not in str(error.value)


def test_an_object_of_a_script_is_refused(monkeypatch):
    monkeypatch.setattr(named.psi, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "psi", named.psi, raising=False)
    with pytest.raises(TypeError, match=r"estimator=.*not of a script or notebook"):
        config_to_json(change(estimator=named.psi))


def test_the_setup_has_the_objects():
    fields = {"network": "support.named:wide", "estimator": "support.named:psi",
              "optimizer": "support.named:rule", "kernel_init": "support.named:init"}  # fmt: skip
    config = make_setup(change(**fields)).config
    given = [getattr(config, field) for field in fields]
    assert given == [named.wide, named.psi, named.rule, named.init]
    assert make_setup(CONFIG).config is CONFIG
    with pytest.raises(ValueError, match="estimator='total_return' needs whole episodes"):
        make_setup(change(estimator="purejaxvpg.advantages:total_return"))


BAD = {
    ("network", "no.such:Wide"): (ImportError, "there is no module no; install it, .*PYTHONPATH"),
    ("network", "support.nomad:Wide"): (ImportError, r"there is no module support\.nomad; install"),
    ("network", "support.named:Wode"): (ImportError, "named has no Wode; did you mean Wide"),
    ("network", "support.named:Wide.x.y"): (ImportError, r"support.named has no Wide\.x\.y"),
    ("network", "support.named:TEN"): (TypeError, "is a int; name a flax.linen module or its"),
    ("network", "os:abort"): (TypeError, "is a builtin_function_or_method; name a flax"),
    ("network", "support.named:Needy"): (TypeError, r"needs arguments .*NAME = Needy\(...\)"),
    ("estimator", "support.named:TEN"): (TypeError, "is a int, not a function; name one"),
    ("optimizer", "broken:rule"): (ImportError, r"ZeroDivisionError at .*broken\.py:1 \(1 / 0\): "),
    ("optimizer", "leaves:rule"): (ImportError, r"SystemExit at .*leaves\.py:1 .*: 3"),
    ("kernel_init", "wants:init"): (ImportError, r"NotFoundError at .*wants\.py:1 .*surely_not"),
}  # fmt: skip


@pytest.mark.parametrize(("field", "path"), BAD)
def test_an_import_that_fails_is_one_line(field, path, tmp_path, monkeypatch):
    """And neither a network's function nor anything else is called."""
    for name, text in {"broken": "1 / 0", "leaves": "raise SystemExit(3)",
                       "wants": "import surely_not_there"}.items():  # fmt: skip
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    kind, line = BAD[field, path]
    with pytest.raises(kind, match=line) as error:
        make_agent(change(**{field: path}))
    message = str(error.value)
    assert message.startswith(f"{field}={path!r}")
    assert "\n" not in message


@pytest.mark.parametrize("text", ["a:b:c", ":Wide", "a:", "a b:c", "a/b:c", "../a:b", "1:2", "mlp"])
def test_other_text_is_no_path(text):
    assert not by_name.is_path(text)
    with pytest.raises(ValueError, match=r"estimator=.* is unknown"):
        change(estimator=text)


def test_a_policy_is_kept_with_the_name_of_its_network(tmp_path, monkeypatch):
    """Whether it was given as an object or by name; and one line where it cannot be imported."""
    obs = np.random.default_rng(1).normal(size=(5, 4))
    actions = []
    for name, network in (("object", named.wide), ("path", "support.named:wide")):
        config = change(network=network, estimator=named.psi)
        save_policy(tmp_path / name, config, policy_of(config))
        policy = load_policy(tmp_path / name)
        assert policy.card["config"]["network"] == "support.named:wide"
        actions.append(policy.act(obs))
    np.testing.assert_array_equal(*actions)
    monkeypatch.delattr(named, "wide")
    with pytest.raises(
        ImportError, match=r"policy in .*path needs a module: network='support"
    ) as e:
        load_policy(tmp_path / "path")
    assert "\n" not in str(e.value)


def test_on_the_command_line():
    words = "train CartPole-v1 --network support.named:Wide --estimator support.named:psi"
    config, _ = parsing.config_of(parsing.parse(words.split()))
    assert (config.network, config.estimator) == ("support.named:Wide", "support.named:psi")


def test_a_policy_of_a_custom_environment_is_loaded_without_it(tmp_path, monkeypatch):
    """The card names it; nothing of it is imported or made."""
    monkeypatch.setattr(envs, "_user_factories", {"gone.away:Line": probes.ConstantValue})
    config = change(env="gone.away:Line", network="support.probes:Identity")
    save_policy(tmp_path, config, probes.linear_policy([[-1.0, 1.0]], [0.0, 0.0]))
    monkeypatch.setattr(envs, "_user_factories", {})
    policy = load_policy(tmp_path)
    assert policy.card["config"]["env"] == "gone.away:Line"
    np.testing.assert_array_equal(policy.act([[3.0], [-3.0]]), [1, 0])

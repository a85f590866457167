"""A user's torso of flax.nnx: made, trained, carried, kept and refused as one of flax.linen; and
torsos of observations that are several arrays."""

import dataclasses
import functools
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support import named_nnx, probes, trees
from support.assertions import assert_same_bits
from support.named_nnx import Deep, Flat, deep
from support.networks import networks_of
from support.probes import quick_jit

from purejaxvpg import VPGConfig, make_learner
from purejaxvpg.agent import init_stats, make_agent, with_imported
from purejaxvpg.agent.encoding import of_array
from purejaxvpg.experiment import load_policy, save_policy
from purejaxvpg.experiment.policies import leaves_of, restore
from purejaxvpg.serialize import config_from_json, config_to_json
from purejaxvpg.variables import trained

KEY = jax.random.key(0)
OBS = jax.random.normal(jax.random.key(1), (5, 3))


def config(network, **fields) -> VPGConfig:
    return VPGConfig(
        env=probes.RandomLength(5), network=network, num_envs=2, num_steps=8, total_steps=32,
        value_iterations=1, **fields,
    )  # fmt: skip


def networks(network=Deep, obs_shape=(3,)):
    return networks_of(VPGConfig(network=network), obs_shape, 2)


# --------------------------------------------------------------------------------------- TAKEN


def test_variables_lie_by_type_and_path_and_give_what_the_module_gives():
    made = networks()
    params = made.init(KEY, OBS)
    torso = params.policy["torso"]
    first, second = ({"bias": (4,), "kernel": (n, 4)} for n in (3, 4))
    assert jax.tree.map(jnp.shape, torso) == {
        "params": {
            "layers": {"0": first, "1": second},
            "norm": {"bias": (4,), "scale": (4,)},
        },
        "BatchStat": {"norm": {"mean": (4,), "var": (4,)}},
        "Variable": {"order": (4,)},
    }  # fmt: skip
    assert all(isinstance(x, jax.Array) and not x.weak_type for x in jax.tree.leaves(params))
    kernels = [x["torso"]["params"]["layers"]["0"]["kernel"] for x in params]
    assert (kernels[0] != kernels[1]).any()  # each network has a key of its own

    module = Deep(rngs=nnx.Rngs(3))  # other numbers, and those of `params` put into it
    for i, layer in enumerate(module.layers):
        layer.kernel.set_value(torso["params"]["layers"][str(i)]["kernel"])
        assert layer.bias is not None
        layer.bias.set_value(torso["params"]["layers"][str(i)]["bias"])
    head = params.policy["head"]["params"]["Dense_0"]
    expected = module(OBS) @ head["kernel"] + head["bias"]
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(made.policy(params.policy, OBS), expected, rtol=1e-5, atol=1e-7)
    flipped = {**torso, "Variable": {"order": jnp.arange(4)}}
    assert (made.policy({**params.policy, "torso": flipped}, OBS) != expected).any()


@pytest.mark.parametrize(
    ("network", "width"),
    [
        (Deep, 4),
        (deep, 5),
        (lambda rngs: Deep(6, 4, rngs=rngs), 6),
        (functools.partial(Deep, 7, 4), 7),
        (Flat, 4),
        ("support.named_nnx:Flat", 4),
        ("support.named_nnx:deep", 5),
    ],
    ids=["class", "function", "lambda", "partial", "without rngs", "path of one", "path"],
)
def test_a_class_or_a_function_of_rngs_is_a_network(network, width):
    obs_shape = (3,) if network is Deep else (4,)
    network = with_imported(VPGConfig(network=network)).network
    made = networks(network, obs_shape)
    params = jax.eval_shape(made.init, KEY, jnp.zeros((2, *obs_shape)))
    assert params.policy["head"]["params"]["Dense_0"]["kernel"].shape == (width, 2)
    outputs = jax.eval_shape(made.policy, params.policy, jnp.zeros((9, *obs_shape)))
    assert outputs.shape == (9, 2)


def test_many_runs_at_once_are_each_run_alone():
    made, keys = networks(), jax.random.split(KEY, 3)

    def outputs(key):
        return made.policy(made.init(key, OBS).policy, OBS)

    together = jax.jit(jax.vmap(outputs))(keys)
    for key, x in zip(keys, together, strict=True):
        np.testing.assert_allclose(x, jax.jit(outputs)(key), rtol=1e-4, atol=1e-6)


def test_only_params_are_trained():
    learner = make_learner(config(Deep))
    before = quick_jit(learner.init)(KEY)
    after, metrics = quick_jit(learner.update)(before)
    assert metrics.finite
    for old, new in zip(before.params, after.params, strict=True):
        for name in ("BatchStat", "Variable"):
            assert_same_bits(old["torso"][name], new["torso"][name])
        moved = jax.tree.map(lambda x, y: (x != y).any(), *map(trained, (old, new)))
        assert all(jax.tree.leaves(moved))
        assert "layers" in moved["torso"]["params"]
    assert all(
        "Variable" not in str(path) for path, _ in jax.tree.leaves_with_path(after.opt_state)
    )


@pytest.mark.parametrize("fields", [{"memory": "gru"}, {"shared_torso": True}], ids=str)
def test_with_memory_and_shared_the_state_keeps_its_form(fields):
    learner = make_learner(config(Deep, **fields))
    state = jax.eval_shape(learner.init, KEY)
    after, _ = jax.eval_shape(learner.update, state)
    assert jax.tree.map(str, after) == jax.tree.map(str, state)


# ---------------------------------------------------------------------------------------- KEPT


def test_a_kept_policy_has_every_variable():
    made, stats = networks(), init_stats((3,))
    params = made.init(KEY, OBS).policy
    arrays = {name: np.asarray(x) for name, x in leaves_of(params, stats).items()}
    assert {"params/torso/params/layers/0/kernel", "params/torso/BatchStat/norm/mean",
            "params/torso/Variable/order"} < set(arrays)  # fmt: skip
    assert_same_bits(restore(arrays, made, of_array((3,))), (params, stats))


@pytest.mark.parametrize("name", ["deep", "Deep"])
def test_a_policy_is_kept_with_the_name_of_its_network(tmp_path, name, monkeypatch):
    """And acts the same when it is loaded."""
    monkeypatch.setattr(Deep.__init__, "__defaults__", (4, 4))  # CartPole's four numbers
    kept = VPGConfig(network=getattr(named_nnx, name), num_envs=2, num_steps=4, total_steps=16)
    path = f"support.named_nnx:{name}"
    back = config_from_json(json.loads(json.dumps(config_to_json(kept))))
    assert back.network == path
    assert with_imported(back).network is getattr(named_nnx, name)
    made, obs = make_agent(kept).networks, np.random.default_rng(1).normal(size=(5, 4))
    params = jax.jit(made.init)(KEY, jnp.zeros((1, 4))).policy
    save_policy(tmp_path / name, kept, params)
    policy = load_policy(tmp_path / name)
    assert policy.card["config"]["network"] == path
    expected = made.policy(params, jnp.asarray(obs, jnp.float32)).argmax(-1)
    np.testing.assert_array_equal(policy.act(obs), expected)


# ------------------------------------------------------------------------------------- REFUSED


class Refused(nnx.Module):
    """A torso that cannot be had, by what is wrong with it."""

    def __init__(self, kind, *, rngs):
        self.kind = kind
        self.layer = nnx.Linear(3, 4, rngs=rngs)
        if kind == "norm":
            self.norm = nnx.BatchNorm(4, rngs=rngs)
        elif kind == "dropout":
            self.drop = nnx.Dropout(0.5, rngs=rngs)
        elif kind == "draws":
            self.rngs = rngs
        elif kind == "counts":
            self.calls = nnx.Variable(jnp.zeros((), jnp.int32))
        elif kind == "bfloat16":
            self.layer = nnx.Linear(3, 4, param_dtype=jnp.bfloat16, rngs=rngs)
        elif kind == "jax":
            self.bare = jnp.ones(4)
        elif kind == "numpy":
            self.bare = np.ones(4)
        elif kind == "key":
            self.key = nnx.Variable(jax.random.key(0))

    def __call__(self, obs):
        x = self.layer(obs.astype(jnp.float32))
        if self.kind == "norm":
            x = self.norm(x)
        elif self.kind == "dropout":
            x = self.drop(x)
        elif self.kind == "draws":
            x += jax.random.normal(self.rngs.noise(), x.shape)
        elif self.kind == "counts":
            self.calls.set_value(self.calls.get_value() + 1)
        elif self.kind == "shape":
            x = x[0]
        elif self.kind == "raises":
            x = x @ jnp.ones((9, 9))
        return x


FIXED = r"; a torso changes no collection .*use_running_average.*draws no .*deterministic.*eval\(\)"
REFUSED = {
    "norm": r"cannot be applied: it changes norm\.(mean|var)" + FIXED,
    "dropout": "cannot be applied: it draws random numbers" + FIXED,
    "draws": "cannot be applied: it draws random numbers" + FIXED,
    "counts": "cannot be applied: it changes calls" + FIXED,
    "bfloat16": r"has \['params'\]\['layer'\].*, of type bfloat16; accepted: .*float32",
    "jax": r"has bare, an array outside of nnx's variables; make it an nnx.Param \(trained\)",
    "numpy": "has bare, an array outside of nnx's variables; .*nnx.Variable",
    "key": r"has \['Variable'\]\['key'\], of random keys; accepted: arrays of numbers",
    "shape": r"returned features of shape \(4,\) for observations \(1, 3\); a torso must",
    "raises": r", given observations \(1, 3\), raised TypeError at .*test_nnx_torsos.*\(x = x @",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_torso_that_cannot_be_trained_is_refused_when_the_learner_is_made(kind):
    with pytest.raises((ValueError, TypeError), match=f"network Refused.*{REFUSED[kind]}") as error:
        make_learner(config(functools.partial(Refused, kind)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["norm", "dropout"])
def test_a_module_for_evaluation_is_taken(kind):
    """`eval()` turns both off."""

    def network(rngs):
        module = Refused(kind, rngs=rngs)
        module.eval()
        return module

    make_learner(config(network))


def test_other_forms_are_refused():
    for network, message in (
        (Flat(), "network=Flat is a module of flax.nnx; pass its class, or a function of rngs"),
        ("support.named_nnx:made", "network='support.*made' is a module of flax.nnx; name its cl"),
        (Refused, r"network=Refused needs arguments \(kind\); pass a function of rngs"),
        (lambda obs: obs, "is a function without an argument rngs; pass .* a function of rngs"),
        (lambda rngs: nn.Dense(3), "<lambda> made a Dense; accepted: a module of flax.nnx"),
    ):
        with pytest.raises((TypeError, ValueError), match=message) as error:
            make_learner(config(network))
        assert "\n" not in str(error.value)


# ------------------------------------------------------------- OBSERVATIONS OF SEVERAL ARRAYS


class Reshapes(nn.Module):
    """A torso that expects one array."""

    @nn.compact
    def __call__(self, obs):
        return nn.Dense(3)(obs.reshape(len(obs), -1))


class OneRow(nn.Module):
    """Features of a part without its rows."""

    @nn.compact
    def __call__(self, obs):
        return nn.Dense(3)(obs["inner.where"])[0]


class Remembers(nn.Module):
    """A variable with a row for each observation."""

    @nn.compact
    def __call__(self, obs):
        x = nn.Dense(3)(obs["inner.where"])
        return x + self.variable("cache", "last", lambda: jnp.zeros(x.shape)).value


class Place(nnx.Module):
    """Reads one part by its dotted name."""

    def __init__(self, *, rngs):
        self.layer = nnx.Linear(2, 3, rngs=rngs)

    def __call__(self, obs):
        return self.layer(obs["inner.where"])


HOUSE = VPGConfig(env=trees.house(), num_envs=2, num_steps=4, total_steps=16)
PARTS = (r"\{'inner.kind': \(1, 3\), 'inner.where': \(1, 2\), 'late.0': \(1,\), 'picture': "
         r"\(1, 4, 4, 1\)\}, a dict of arrays by name")  # fmt: skip


@pytest.mark.parametrize("memory", [None, "gru"])
@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Reshapes(), rf"network Reshapes, given observations {PARTS}, raised AttributeError at "
                     r".*\.py:\d+ \(.*obs\.reshape.*'dict' object has no attribute 'reshape'"),
        (Flat, rf"network Flat, given observations {PARTS}, raised AttributeError at .*reshape"),
        (OneRow(), rf"network OneRow returned features of shape \(3,\) for observations {PARTS}; "
                   r"a torso must return \[B, F\], here \[1, F\]"),
    ],
    ids=["linen", "nnx", "shape"],
)  # fmt: skip
def test_a_torso_that_fails_on_a_dict_is_told_what_it_was_given(network, message, memory):
    with pytest.raises(ValueError, match=message) as error:
        make_agent(dataclasses.replace(HOUSE, network=network, memory=memory))
    assert "\n" not in str(error.value)


def test_variables_whose_shape_depends_on_rows_are_refused_for_a_dict_too():
    with pytest.raises(ValueError, match=r"Remembers has a variable whose shape .*\(1, 3\) for on"):
        make_agent(dataclasses.replace(HOUSE, network=Remembers()))


def test_a_torso_sees_the_parts_that_it_is_given():
    """Those of `policy_obs`, by dotted name; a part that is left out is not there."""
    made = make_agent(dataclasses.replace(HOUSE, network=Place, policy_obs=("inner",))).networks
    obs = {"picture": jnp.zeros((2, 4, 4, 1)), "inner.kind": jnp.zeros((2, 3)),
           "inner.where": jnp.ones((2, 2)), "late.0": jnp.zeros(2)}  # fmt: skip
    params = jax.eval_shape(made.init, KEY, obs)
    assert params.policy["torso"]["params"]["layer"]["kernel"].shape == (2, 3)
    with pytest.raises(ValueError, match=r"given .*'picture': \(1, 4, 4, 1\)\}.* raised KeyError"):
        make_agent(dataclasses.replace(HOUSE, network=Place, value_obs=("picture",)))

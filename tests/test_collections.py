"""A torso's collections: `params` is trained, all others are carried along or refused."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from support import probes
from support.assertions import assert_same_bits
from support.networks import networks_of
from support.probes import quick_jit

from purejaxvpg import VPGConfig, envs, make_learner
from purejaxvpg.agent import init_stats, networks
from purejaxvpg.agent.encoding import make_encoder, of_array
from purejaxvpg.agent.networks import param_shapes
from purejaxvpg.experiment.policies import leaves_of, restore
from purejaxvpg.variables import trained


class Carrying(nn.Module):
    """Divides by a constant, masks by infinities, looks up in integers, and has statistics."""

    @nn.compact
    def __call__(self, obs):
        units = self.variable("constants", "units", lambda: jnp.full((3,), 2.0))
        mask = self.variable("constants", "mask", lambda: jnp.array([0.0, 0.0, -jnp.inf]))
        order = self.variable("tables", "order", lambda: jnp.array([2, 0, 1]))
        scale = self.variable("tables", "scale", lambda: 1.0)  # no array yet
        x = jnp.where(mask.value == 0, obs / units.value, 0)[:, order.value] * scale.value
        x = nn.Dense(4)(x)
        return nn.tanh(nn.BatchNorm(use_running_average=True)(x))


class Written(nn.Module):
    """The same features, with the constants written into the code."""

    @nn.compact
    def __call__(self, obs):
        x = jnp.where(jnp.array([True, True, False]), obs / 2.0, 0)[:, jnp.array([2, 0, 1])]
        return nn.tanh(nn.BatchNorm(use_running_average=True)(nn.Dense(4)(x)))


def decaying(learning_rate):
    """A rule that moves what has no gradient too."""
    return optax.adamw(learning_rate, weight_decay=0.1)


def config(network, **fields) -> VPGConfig:
    return VPGConfig(
        env=probes.RandomLength(5), network=network, num_envs=2, num_steps=8, total_steps=32,
        value_iterations=1, **fields,
    )  # fmt: skip


OTHERS = ("batch_stats", "constants", "tables")


def test_only_params_are_trained():
    """The steps are those of a torso without collections, to the last bit; clipping, the norm of
    the gradient and weight decay know nothing of the others.  A constant may be infinite."""

    def updated(network):
        learner = make_learner(config(network, optimizer=decaying, diagnostics=False))
        before = jax.jit(learner.init)(jax.random.key(0))
        after, metrics = quick_jit(learner.update)(before)
        return before, after, metrics

    before, after, metrics = updated(Carrying())
    assert metrics.finite
    for old, new in zip(before.params, after.params, strict=True):
        for name in OTHERS:
            assert_same_bits(old["torso"][name], new["torso"][name])
        moved = jax.tree.map(lambda x, y: (x != y).any(), *map(trained, (old, new)))
        assert all(jax.tree.leaves(moved))
    _, expected, numbers = updated(Written())
    assert_same_bits([*map(trained, after.params)], [*map(trained, expected.params)])
    assert_same_bits(after.opt_state, expected.opt_state)
    assert_same_bits(metrics, numbers)


def test_a_state_holds_arrays_alone():
    """Without jit too, where a variable of the user's is a plain number."""
    made = networks_of(config(Carrying()), (3,), 2, False)
    params = made.init(jax.random.key(0), jnp.ones((2, 3)))
    assert all(isinstance(x, jax.Array) and not x.weak_type for x in jax.tree.leaves(params))
    assert params.policy["torso"]["tables"]["scale"] == 1.0


def test_a_kept_policy_has_every_collection():
    made = networks_of(config(Carrying()), (3,), 2, False)
    params = made.init(jax.random.key(0), jnp.ones((2, 3))).policy
    stats = init_stats((3,))
    arrays = {name: np.asarray(x) for name, x in leaves_of(params, stats).items()}
    assert {name.split("/")[2] for name in arrays if name.startswith("params/torso")} == {
        "params", *OTHERS
    }  # fmt: skip
    assert_same_bits(restore(arrays, made, of_array((3,))), (params, stats))
    missing = {name: x for name, x in arrays.items() if "units" not in name}
    with pytest.raises(ValueError, match=r"params/torso/constants/units is missing"):
        restore(missing, made, of_array((3,)))


def test_shapes_are_those_of_the_parameters():
    made = networks_of(config(Carrying()), (3,), 2, False)
    params = made.init(jax.random.key(0), jnp.ones((5, 3)))
    alike = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    assert jax.tree.map(str, param_shapes(made, of_array((3,)))) == jax.tree.map(str, alike)


# ------------------------------------------------------------------------------------- REFUSED


class Refused(nn.Module):
    """A torso that cannot be had, by what is wrong with it."""

    kind: str

    @nn.compact
    def __call__(self, obs):
        x = nn.Dense(4, param_dtype=jnp.bfloat16 if self.kind == "bfloat16" else jnp.float32)(obs)
        if self.kind == "norm":
            x = nn.BatchNorm(use_running_average=False)(x)
        elif self.kind == "dropout":
            x = nn.Dropout(0.5, deterministic=False)(x)
        elif self.kind == "rows":
            x += self.variable("cache", "last", lambda: jnp.zeros(x.shape)).value
        elif self.kind == "key":
            self.variable("random", "key", lambda: jax.random.key(0))
        elif self.kind == "text":
            self.variable("names", "mine", lambda: "a name")
        return x


REFUSED = {
    "norm": r"Refused cannot be applied: .*batch_stats.* is immutable; .*use_running_average=True",
    "dropout": r"Refused cannot be applied: .*dropout.*; .*deterministic=True",
    "bfloat16": r"Refused has \['params'\].*, of type bfloat16; accepted: .*float32",
    "rows": r"Refused has a variable whose shape depends on .*'cache'.*\(1, 4\).*\(2, 4\)",
    "key": r"Refused has \['random'\]\['key'\], of random keys; accepted: arrays of numbers",
    "text": r"Refused has \['names'\]\['mine'\], of type str; accepted: arrays of numbers",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_torso_that_cannot_be_trained_is_refused_when_the_learner_is_made(kind):
    with pytest.raises((ValueError, TypeError), match=REFUSED[kind]) as error:
        make_learner(config(Refused(kind)))
    assert "\n" not in str(error.value)


def test_modules_of_nnx_and_classes_are_refused():
    for network, message in (
        (
            nnx.Linear(3, 4, rngs=nnx.Rngs(0)),
            "network=Linear is a module of flax.nnx; pass",
        ),
        (Carrying, "network=Carrying is a class; pass an instance"),
    ):
        with pytest.raises(TypeError, match=message) as error:
            make_learner(config(network))
        assert "\n" not in str(error.value)


def test_a_torso_may_compute_in_bfloat16():
    """Its parameters are float32, and so are the state's types after an update."""

    class Half(nn.Module):
        @nn.compact
        def __call__(self, obs):
            return nn.Dense(4, dtype=jnp.bfloat16)(obs)

    for shared in (False, True):
        learner = make_learner(config(Half(), shared_torso=shared))
        state = jax.eval_shape(learner.init, jax.random.key(0))
        after, metrics = jax.eval_shape(learner.update, state)
        assert jax.tree.map(str, after) == jax.tree.map(str, state)
        assert {x.dtype for x in metrics} == {np.dtype(np.float32), np.dtype(bool)}


# ------------------------------------------------------------------------------------ PICTURES


@pytest.mark.parametrize("obs_shape", [(3, 32, 32), (1, 84, 84), (4, 64, 48)])
def test_pictures_with_their_channels_first_are_not_convolved_in_silence(obs_shape):
    """Refused where nobody asked for a convolution; a warning where somebody did."""
    with pytest.raises(ValueError, match=r"look like \(C, H, W\); transpose .*network='mlp'"):
        networks_of(VPGConfig(), obs_shape, 2, False)
    networks_of(VPGConfig(network="mlp"), obs_shape, 2, False)
    if obs_shape[0] >= 3:
        with pytest.warns(UserWarning, match=r"pictures of (32|48) channels; .*\(H, W, C\)"):
            networks_of(VPGConfig(network="cnn"), obs_shape, 2, False)


@pytest.mark.parametrize("obs_shape", [(10, 10, 4), (84, 84, 4), (4, 4, 16), (3, 7, 7), (4, 3, 99)])
def test_pictures_and_boards_are_taken(obs_shape):
    networks_of(VPGConfig(), obs_shape, 2, False)


class Bytes(probes.PlainEnv):
    """A picture of bytes."""

    def observe(self, time, episode):
        return jnp.full((8, 8, 1), 255, jnp.uint8)

    def observation_space(self, params):
        return probes.spaces.Box(0, 255, (8, 8, 1), jnp.uint8)


def test_bytes_arrive_as_the_help_says():
    """As uint8 in a batch; from 0 to 1 where networks look, as help and docstring say."""
    env = envs.make(Bytes(3))
    obs, _ = env.reset(jax.random.key(0), env.default_params)
    assert (obs.dtype, obs.max()) == (jnp.uint8, 255)
    seen = make_encoder(env)(obs)
    assert (seen.dtype, seen.max()) == (jnp.float32, 1)
    assert "divided by 255" in " ".join(VPGConfig.__doc__.split())
    assert "bytes of pictures from 0 to 1" in networks.__doc__

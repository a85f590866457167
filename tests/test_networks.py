"""Torsos and heads: shapes, exact parameter counts, and the contract of a user's module."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.networks import networks_of

from purejaxvpg.agent.torsos import ACTIVATIONS, INITIALIZERS, MLP, MinAtarCNN
from purejaxvpg.config import VPGConfig

BATCH = 5


class Torso(nn.Module):
    """A user's module: [B, ...] -> [B, 7]."""

    @nn.compact
    def __call__(self, obs):
        return nn.Dense(7, name="mine")(obs.reshape(obs.shape[0], -1))


def shapes(config, obs_shape=(4,), num_outputs=3, free_std=False):
    """Networks, and the shapes of their parameters without computing any."""
    networks = networks_of(config, obs_shape, num_outputs, free_std)
    obs = jnp.zeros((BATCH, *obs_shape))
    return networks, jax.eval_shape(networks.init, jax.random.key(0), obs)


def made(config, obs_shape=(4,), num_outputs=3, free_std=False):
    """Networks, their parameters and some observations."""
    networks = networks_of(config, obs_shape, num_outputs, free_std)
    obs = jax.random.normal(jax.random.key(1), (BATCH, *obs_shape))
    return networks, jax.jit(networks.init)(jax.random.key(0), obs), obs


def count(params) -> int:
    return sum(x.size for x in jax.tree.leaves(params))


def names(params) -> str:
    return " ".join(jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(params))


# ------------------------------------------------------------------------ shapes and counts

SMALL = {"hidden_sizes": (8, 6), "kernel_init": "glorot_normal"}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("free_std", [False, True])
@pytest.mark.parametrize("obs_shape", [(), (4,), (2, 3), (5, 4, 2)])
def test_outputs_are_rows_by_outputs_and_values_are_rows(obs_shape, free_std, shared):
    """[B, *obs_shape] -> [B, O] and [B], for every way of building the networks."""
    config = VPGConfig(shared_torso=shared, **SMALL)
    networks, params = shapes(config, obs_shape, 6, free_std)
    obs = jnp.zeros((BATCH, *obs_shape))
    outputs = jax.eval_shape(networks.policy, params.policy, obs)
    assert (outputs.shape, outputs.dtype) == ((BATCH, 6), jnp.float32)
    inputs = jax.eval_shape(networks.value_inputs, params.policy, obs)
    assert inputs.shape == ((BATCH, 6) if shared else obs.shape)  # F = 6
    values = jax.eval_shape(networks.value, params.value, inputs)
    assert (values.shape, values.dtype) == ((BATCH,), jnp.float32)


def test_parameter_counts_of_an_mlp():
    """Weights and biases of 4 -> 8 -> 6 -> heads, for policy and for value."""
    torso = (4 * 8 + 8) + (8 * 6 + 6)
    _, params = shapes(VPGConfig(**SMALL))
    assert count(params.policy) == torso + 6 * 3 + 3
    assert count(params.value) == torso + 6 + 1

    _, params = shapes(VPGConfig(**SMALL), num_outputs=10, free_std=True)
    assert count(params.policy) == torso + (6 * 5 + 5) + 5  # half the outputs are free

    _, params = shapes(VPGConfig(shared_torso=True, **SMALL))
    assert count(params.policy) == torso + 6 * 3 + 3
    assert count(params.value) == 6 + 1

    _, params = shapes(VPGConfig(hidden_sizes=()), obs_shape=(2, 3))
    assert count(params.policy) == 6 * 3 + 3  # linear in the flattened observation
    assert count(params.value) == 6 + 1


def test_parameter_count_of_minatar_cnn():
    """One 3x3 convolution of 16 channels without padding, then the dense layers."""
    _, params = shapes(VPGConfig(hidden_sizes=(128,)), obs_shape=(10, 10, 4))
    convolution, dense = 3 * 3 * 4 * 16 + 16, 8 * 8 * 16 * 128 + 128
    assert count(params.value) == convolution + dense + 128 + 1
    assert count(params.policy) == convolution + dense + 128 * 3 + 3


def test_auto_is_cnn_for_images_alone():
    """(H, W, C) gets a convolution; anything else, and network="mlp", is flattened."""
    for obs_shape, network, expected in (
        ((5, 4, 2), "auto", True),
        ((5, 4, 2), "cnn", True),
        ((5, 4, 2), "mlp", False),
        ((5, 4), "auto", False),
        ((4,), "auto", False),
        ((2, 3, 4, 5), "auto", False),
    ):
        _, params = shapes(VPGConfig(network=network, **SMALL), obs_shape)
        assert ("Conv" in names(params.policy)) == expected, (obs_shape, network)
        assert ("Conv" in names(params.value)) == expected, (obs_shape, network)


@pytest.mark.parametrize("obs_shape", [(4,), (5, 4), (2, 5, 3), (5, 2, 3)])
def test_cnn_refuses_observations_that_are_no_images(obs_shape):
    """A 3x3 window needs (H, W, C) of at least 3x3; the error says what to use instead."""
    with pytest.raises(ValueError, match=r"network='cnn' needs.*use network='mlp'"):
        networks_of(VPGConfig(network="cnn"), obs_shape, 2, False)


def test_auto_accepts_every_observation():
    """Images too small for a convolution are flattened, for nobody asked for one."""
    _, params = shapes(VPGConfig(network="auto", **SMALL), obs_shape=(2, 2, 3))
    assert "Conv" not in names(params.policy)


def test_mlp_is_what_it_says():
    """activation(x W + b), layer by layer, by hand; and a linear head on top."""
    networks, params, obs = made(VPGConfig(hidden_sizes=(8, 6), activation="relu"))
    x = np.asarray(obs)
    layers = params.policy["torso"]["params"]
    for name in ("Dense_0", "Dense_1"):
        x = np.maximum(x @ layers[name]["kernel"] + layers[name]["bias"], 0)
    head = params.policy["head"]["params"]["Dense_0"]
    expected = x @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(networks.policy(params.policy, obs), expected, rtol=1e-4, atol=1e-6)


def test_networks_start_as_documented():
    """Orthogonal hidden layers of gain sqrt(2), policy head 0.01, value head 1, no bias."""
    _, params, _ = made(VPGConfig(hidden_sizes=(8, 6)))

    def gram(params, name):
        kernel = np.asarray(params["params"][name]["kernel"])
        wide = kernel.shape[0] < kernel.shape[1]
        return kernel @ kernel.T if wide else kernel.T @ kernel

    for torso in (params.policy["torso"], params.value["torso"]):
        np.testing.assert_allclose(gram(torso, "Dense_0"), 2 * np.eye(4), atol=1e-5)
        np.testing.assert_allclose(gram(torso, "Dense_1"), 2 * np.eye(6), atol=1e-5)
    np.testing.assert_allclose(gram(params.policy["head"], "Dense_0"), 1e-4 * np.eye(3), atol=1e-9)
    np.testing.assert_allclose(gram(params.value["head"], "Dense_0"), [[1.0]], atol=1e-5)
    for path, leaf in jax.tree.leaves_with_path(params):
        assert "bias" not in jax.tree_util.keystr(path) or not leaf.any()
    first = [x["torso"]["params"]["Dense_0"]["kernel"] for x in params]
    assert not np.allclose(*first)  # policy and value are drawn from different keys


# ---------------------------------------------------------------------- initializers, names


def test_any_initializer_may_be_passed():
    """A function in flax's style is used as it is, for the hidden layers."""
    config = VPGConfig(hidden_sizes=(8,), kernel_init=nn.initializers.constant(0.25))
    _, params, _ = made(config)
    for part in params:
        assert (part["torso"]["params"]["Dense_0"]["kernel"] == 0.25).all()
        assert (part["head"]["params"]["Dense_0"]["kernel"] != 0.25).any()


@pytest.mark.parametrize("name", INITIALIZERS)
def test_every_listed_initializer_works(name):
    """Each listed initializer builds the convolution and the dense layers."""
    _, params = shapes(VPGConfig(hidden_sizes=(3,), kernel_init=name), obs_shape=(4, 4, 2))
    assert params.policy["torso"]["params"]["Conv_0"]["kernel"].shape == (3, 3, 2, 16)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_listed_activation_is_the_one_of_flax(name):
    """Features of an identity layer are flax's function of the observations."""
    config = VPGConfig(hidden_sizes=(4,), activation=name, shared_torso=True)
    networks = networks_of(config, (4,), 2, False)
    identity = {"params": {"Dense_0": {"kernel": jnp.eye(4), "bias": jnp.zeros(4)}}}
    obs = jnp.array([[-2.0, -0.5, 0.5, 2.0]])
    features = networks.value_inputs({"torso": identity}, obs)
    np.testing.assert_allclose(features, getattr(nn, name)(obs), rtol=1e-6)


@pytest.mark.parametrize(
    ("field", "value"),
    [("network", "lstm"), ("network", 5), ("activation", "Tanh"), ("kernel_init", "zeros")],
)
def test_unknown_names_raise(field, value):
    """The error names the value given and the values that are accepted."""
    known = {"network": "mlp", "activation": "tanh", "kernel_init": "orthogonal"}[field]
    with pytest.raises(ValueError, match=rf"^{field}={value!r} is unknown.*{known}"):
        networks_of(VPGConfig(**{field: value}), (4,), 2, False)


# -------------------------------------------------------------------------- a user's module


@pytest.mark.parametrize("obs_shape", [(4,), (2, 2)])
def test_a_module_of_the_users_own(obs_shape):
    """A user's module is the torso of policy and of value, with parameters for each."""
    networks, params, obs = made(VPGConfig(network=Torso()), obs_shape)
    assert params.policy["torso"]["params"]["mine"]["kernel"].shape == (4, 7)
    assert params.value["torso"]["params"]["mine"]["kernel"].shape == (4, 7)
    assert count(params.policy) == 4 * 7 + 7 + 7 * 3 + 3
    assert networks.policy(params.policy, obs).shape == (BATCH, 3)
    assert networks.value(params.value, obs).shape == (BATCH,)


class Broken(nn.Module):
    """A module whose result is no array [B, F], but what `kind` names."""

    kind: str

    def __call__(self, obs):
        return {
            "one axis": obs[:, 0],
            "three axes": obs[:, None, :],
            "time first": obs.T,
            "a tuple": (obs, obs),
            "a dict": {"features": obs},
        }[self.kind]


@pytest.mark.parametrize("kind", ["one axis", "three axes", "time first", "a tuple", "a dict"])
@pytest.mark.parametrize("shared", [False, True])
def test_a_module_that_breaks_the_contract_raises(kind, shared):
    """Refused when traced: the shape returned, the observations' shape, the shape expected."""
    config = VPGConfig(network=Broken(kind), shared_torso=shared)
    with pytest.raises(ValueError, match=r"network Broken returned .*\(5, 4\).*\[B, F\].*\[5, F\]"):
        shapes(config)


def test_the_shape_that_was_returned_is_named():
    """A torso returns `[B]` in place of `[B, F]`; the error says so."""
    with pytest.raises(ValueError, match=r"features of shape \(5,\) for observations \(5, 4\)"):
        shapes(VPGConfig(network=Broken("one axis")))


def test_torsos_may_be_modules_of_this_file():
    """MLP and MinAtarCNN, passed as modules, build the same networks as their names."""
    for name, cls in (("mlp", MLP), ("cnn", MinAtarCNN)):
        module = cls((8, 6), nn.tanh, nn.initializers.glorot_normal())
        _, by_module = shapes(VPGConfig(network=module), (5, 5, 2))
        _, by_name = shapes(VPGConfig(network=name, **SMALL), (5, 5, 2))
        assert jax.tree.structure(by_module) == jax.tree.structure(by_name)
        assert jax.tree.leaves(by_module) == jax.tree.leaves(by_name)


# ------------------------------------------------------------------- shared torso, free std


def test_shared_torso_feeds_the_value_head():
    """V is computed from the policy torso's features; without sharing, from observations."""
    networks, params, obs = made(VPGConfig(hidden_sizes=(8, 6), shared_torso=True))
    assert set(params.value) == {"head"}
    assert set(params.policy) == {"torso", "head"}
    features = networks.value_inputs(params.policy, obs)
    expected = MLP((8, 6), nn.tanh, nn.initializers.zeros).apply(params.policy["torso"], obs)
    np.testing.assert_array_equal(features, expected)
    head = params.policy["head"]["params"]["Dense_0"]
    outputs = features @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(networks.policy(params.policy, obs), outputs, rtol=1e-4, atol=1e-7)

    apart, params, obs = made(VPGConfig(hidden_sizes=(8, 6)))
    assert set(params.value) == {"torso", "head"}
    assert apart.value_inputs(params.policy, obs) is obs


def test_free_std_does_not_depend_on_the_observation():
    """The second half of the outputs is the parameter log_std, 0 at the start, in every row."""
    networks, params, obs = made(VPGConfig(hidden_sizes=(8,)), num_outputs=4, free_std=True)
    log_std = params.policy["head"]["params"]["log_std"]
    assert log_std.tolist() == [0.0, 0.0]
    params.policy["head"]["params"]["log_std"] = jnp.array([0.3, -0.7])
    outputs = networks.policy(params.policy, 100 * obs)
    np.testing.assert_array_equal(outputs[:, 2:], np.tile(np.float32([0.3, -0.7]), (BATCH, 1)))
    assert (outputs[:, :2].std(0) > 0).all()

    networks, params, obs = made(VPGConfig(hidden_sizes=(8,)), num_outputs=4, free_std=False)
    assert "log_std" not in names(params.policy)
    assert (networks.policy(params.policy, 100 * obs).std(0) > 0).all()

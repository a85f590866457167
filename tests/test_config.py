"""VPGConfig and Hyperparams: what they accept, and the one line by which they refuse."""

import dataclasses
import functools
import pydoc
from typing import get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from purejaxvpg import config as config_module
from purejaxvpg.advantages import ESTIMATORS, VALUE_TARGETS, gae
from purejaxvpg.agent.optimize import RULES, SCHEDULES
from purejaxvpg.config import Hyperparams, VPGConfig

# ------------------------------------------------------------------------- invalid configs


class Unhashable:
    """A function in form, and no key of a cache."""

    __hash__ = None

    def __call__(self, *_):
        raise AssertionError("a config calls no function")


INVALID = [
    # out of range
    ("total_steps", 0, ValueError),
    ("total_steps", -1000, ValueError),
    ("num_envs", 0, ValueError),
    ("num_envs", -8, ValueError),
    ("num_steps", 0, ValueError),
    ("max_episode_steps", 0, ValueError),
    ("n_step", 0, ValueError),
    ("value_iterations", -1, ValueError),
    ("hidden_sizes", (64, 0), ValueError),
    ("hidden_sizes", [64, -1], ValueError),
    ("init_std", 0.0, ValueError),
    ("init_std", -1.0, ValueError),
    ("init_std", float("nan"), ValueError),
    ("init_std", float("inf"), ValueError),
    ("min_std", -0.1, ValueError),
    ("min_std", 0.6, ValueError),  # not below init_std
    ("min_std", float("nan"), ValueError),
    ("obs_clip", 0, ValueError),
    ("obs_clip", float("inf"), ValueError),
    ("gradient_rows", 0, ValueError),
    ("eval_every", -1, ValueError),
    ("eval_every", 3, ValueError),  # 500 updates
    ("eval_episodes", 0, ValueError),
    ("eval_steps", 0, ValueError),
    # unknown names
    ("rollout", "episode", ValueError),
    ("estimator", "GAE", ValueError),
    ("estimator", None, ValueError),
    ("estimator", ["gae"], ValueError),
    ("value_target", "td", ValueError),
    ("std", "fixed", ValueError),
    ("bounding", "none", ValueError),
    ("optimizer", "adamw", ValueError),
    ("lr_schedule", "exponential", ValueError),
    # wrong types
    ("total_steps", "500000", TypeError),
    ("total_steps", 1000.5, TypeError),
    ("total_steps", float("nan"), TypeError),
    ("total_steps", float("inf"), TypeError),
    ("total_steps", None, TypeError),
    ("num_envs", True, TypeError),
    ("num_envs", 2.5, TypeError),
    ("num_envs", np.array([8]), TypeError),
    ("num_envs", 8 + 0j, TypeError),
    ("num_envs", np.complex64(8), TypeError),
    ("num_steps", "125", TypeError),
    ("max_episode_steps", "10", TypeError),
    ("gradient_rows", "10", TypeError),
    ("max_episode_steps", False, TypeError),
    ("hidden_sizes", 64, TypeError),
    ("hidden_sizes", "64", TypeError),
    ("hidden_sizes", (64.5,), TypeError),
    ("hidden_sizes", (64, None), TypeError),
    ("activation", nn.relu, TypeError),
    ("init_std", "0.6", TypeError),
    ("init_std", True, TypeError),
    ("init_std", None, TypeError),
    ("init_std", np.complex64(1), TypeError),
    ("min_std", "0", TypeError),
    ("obs_clip", [10.0], TypeError),
    ("normalize_obs", 1, TypeError),
    ("normalize_rewards", "yes", TypeError),
    ("normalize_advantages", None, TypeError),
    ("shared_torso", 0, TypeError),
    ("diagnostics", "on", TypeError),
    # not hashable, or not a mapping
    ("env", {"CartPole-v1"}, TypeError),
    ("env", np.zeros(2), TypeError),
    ("env_kwargs", {"sizes": [1, 2]}, TypeError),
    ("env_kwargs", (1, 2), TypeError),
    ("env_kwargs", {1: 2}, TypeError),
    ("env_kwargs", {1: 2, "size": 3}, (TypeError, ValueError)),
    ("env_kwargs", 5, (TypeError, ValueError)),
    ("env_kwargs", None, (TypeError, ValueError)),
    ("env_kwargs", "size=10", (TypeError, ValueError)),
    ("network", {"mlp"}, TypeError),
    ("kernel_init", bytearray(3), TypeError),
    # neither a name nor a hashable function
    ("optimizer", None, ValueError),
    ("optimizer", optax.adam(1e-3), ValueError),  # a rule made already, not a function of its rate
    ("optimizer", {"adam": 1e-3}, ValueError),
    ("estimator", Unhashable(), TypeError),
    ("optimizer", Unhashable(), TypeError),
]


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize(("name", "value", "kind"), INVALID)
def test_an_invalid_field_is_refused_in_one_line_that_names_it(name, value, kind):
    """When the object is made, not when it is traced."""
    with pytest.raises(kind) as caught:
        VPGConfig(**{name: value})
    message = str(caught.value)
    assert name in message.split("=")[0], message
    assert "\n" not in message


def test_errors_list_what_is_accepted():
    """The value given, and the values accepted."""
    for field, given, names in (
        ("optimizer", "adamw", "adam, sgd, rmsprop"),
        ("estimator", "GAE", ", ".join(ESTIMATORS)),
    ):
        message = f"{field}='{given}' is unknown; choose one of: {names}, or pass a function"
        with pytest.raises(ValueError, match=f"^{message} or its module:name$"):
            VPGConfig(**{field: given})
    with pytest.raises(ValueError, match=r"^lr_schedule='exp' is unknown; .* linear, cosine$"):
        VPGConfig(lr_schedule="exp")
    with pytest.raises(ValueError, match=r"^num_envs=0 is out of range; .*>= 1$"):
        VPGConfig(num_envs=0)
    with pytest.raises(TypeError, match=r"^num_steps='9' has the wrong type; .* whole number$"):
        VPGConfig(num_steps="9")


def test_names_are_those_of_the_functions():
    """A name that the config accepts has a function, and every function has its name."""
    assert config_module.NAMES.keys() == {"estimator", "optimizer"}
    assert config_module.NAMES["estimator"] == tuple(ESTIMATORS)
    assert sorted(config_module.NAMES["optimizer"]) == sorted(RULES)
    assert get_args(config_module.ValueTarget) == tuple(VALUE_TARGETS)
    assert get_args(config_module.Schedule) == tuple(SCHEDULES)


def test_a_budget_that_does_not_divide_names_the_nearest():
    """Never silently rounded."""
    with pytest.raises(ValueError, match="does not divide") as caught:
        VPGConfig(num_steps=100, num_envs=64, total_steps=1_000_000)
    assert str(caught.value) == (
        "num_steps=100 with num_envs=64 does not divide total_steps=1_000_000; "
        "nearest budgets: 998_400 or 1_004_800"
    )
    for steps in (998_400, 1_004_800):
        assert VPGConfig(num_steps=100, num_envs=64, total_steps=steps).total_steps == steps


def test_a_budget_below_one_batch_names_one_batch():
    """Zero steps are no budget."""
    with pytest.raises(ValueError, match=r"nearest budgets: 6_400$"):
        VPGConfig(num_steps=100, num_envs=64, total_steps=100)


def test_eval_every_must_divide_the_updates():
    """500 updates: every 100 is fine, every 3 is not, and 0 is never."""
    assert VPGConfig(eval_every=100).num_updates == 500
    assert VPGConfig(eval_every=0).eval_every == 0
    with pytest.raises(ValueError, match=r"eval_every=3 does not divide the run's 500 updates"):
        VPGConfig(eval_every=3)


def test_total_return_needs_whole_episodes():
    """Segments cut them; the error names both fields and both ways out."""
    with pytest.raises(ValueError, match=r"estimator='total_return' .*rollout='episodes'"):
        VPGConfig(estimator="total_return")
    with pytest.raises(ValueError, match=r"estimator='total_return' .*rollout='episodes'"):
        VPGConfig(estimator=ESTIMATORS["total_return"])
    for estimator in ("total_return", ESTIMATORS["total_return"]):
        assert VPGConfig(estimator=estimator, rollout="episodes").rollout == "episodes"


# --------------------------------------------------------------------------- valid configs

ADAM = functools.partial(optax.adam, eps=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"env_kwargs": {"b": 1, "a": (2, 3)}},
        {"hidden_sizes": [32, 32]},
        {"hidden_sizes": ()},
        {"network": nn.Dense(3)},
        {"kernel_init": nn.initializers.zeros},
        {"max_episode_steps": 10},
        {"value_iterations": 0, "min_std": 0},
        {"estimator": gae, "optimizer": optax.sgd},
        {"optimizer": ADAM},
    ],
)
def test_configs_are_hashable_and_equal_by_value(change):
    """Two of the same choices are one key of a cache."""
    one, two = VPGConfig(**change), VPGConfig(**change)
    assert one == two
    assert hash(one) == hash(two)
    assert {one: "found"}[two] == "found"
    assert dataclasses.replace(one, num_envs=4) != one


@pytest.mark.parametrize(("name", "function"), [("estimator", gae), ("optimizer", ADAM)])
def test_functions_are_kept_as_they_are(name, function):
    """A function is a choice like a name, equal to itself alone."""
    config = VPGConfig(**{name: function})
    assert getattr(config, name) is function
    assert config != VPGConfig()
    assert config != VPGConfig(**{name: lambda *args: function(*args)})


def test_values_are_brought_to_their_type():
    """1e6, numpy integers, lists and mappings are what they look like, and compare equal."""
    loose = VPGConfig(
        total_steps=1e6, num_envs=np.int64(8), hidden_sizes=[64, np.int32(64)], obs_clip=10,
        normalize_obs=np.bool_(True), env_kwargs={"b": 1, "a": 2},
    )  # fmt: skip
    strict = VPGConfig(
        total_steps=1_000_000, num_envs=8, hidden_sizes=(64, 64), obs_clip=10.0,
        normalize_obs=True, env_kwargs={"a": 2, "b": 1},
    )  # fmt: skip
    assert loose == strict
    assert hash(loose) == hash(strict)
    assert type(loose.total_steps) is int
    assert type(loose.num_envs) is int
    assert type(loose.obs_clip) is float
    assert type(loose.normalize_obs) is bool
    assert loose.env_kwargs == (("a", 2), ("b", 1))


def test_configs_are_frozen():
    """A key that changes is no key."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        VPGConfig().num_envs = 3


def test_num_updates():
    """U = total_steps / (N T), exactly."""
    assert VPGConfig(num_envs=4, num_steps=25, total_steps=1200).num_updates == 12
    assert VPGConfig(num_envs=1, num_steps=1, total_steps=1).num_updates == 1


def test_replace_validates_again():
    """dataclasses.replace makes a new object, and a new object is checked."""
    config = VPGConfig()
    assert dataclasses.replace(config, n_step=3).n_step == 3
    with pytest.raises(ValueError, match="n_step=0"):
        dataclasses.replace(config, n_step=0)


# -------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("kind", [VPGConfig, Hyperparams])
def test_help_explains_every_field(kind):
    """Name, default and explanation, in the order of the fields, in `__doc__` and in `help()`."""

    def squeezed(text):  # lines are broken anywhere, and help() draws a bar before each
        return "".join(text.replace("|", "").split())

    doc, place = squeezed(kind.__doc__), 0
    assert "\n\n    Fields (default):\n" in kind.__doc__
    assert doc in squeezed(pydoc.render_doc(kind, renderer=pydoc.plaintext))
    for field in dataclasses.fields(kind):
        assert len(field.metadata["doc"]) > 10, field.name
        entry = squeezed(f"{field.name} ({field.default!r}): {field.metadata['doc']}")
        assert entry in doc[place:], field.name
        place = doc.index(entry, place) + len(entry)
    assert max(map(len, kind.__doc__.splitlines())) <= 100


# ------------------------------------------------------------------------- hyperparameters

NAMES = [field.name for field in dataclasses.fields(Hyperparams)]
NUMBERS = [name for name in NAMES if name != "env_params"]
UNIT = ["gamma", "gae_lambda", "greedy_start", "greedy_end"]


def test_no_field_is_in_both_classes():
    """Static or traced, never both; and each has a default."""
    assert not {field.name for field in dataclasses.fields(VPGConfig)} & set(NAMES)
    assert VPGConfig()
    assert Hyperparams()


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, bad) for name in UNIT for bad in (-0.01, 1.01, float("inf"))]
    + [(name, -1e-6) for name in ("policy_lr", "value_lr", "value_coef")]
    + [(name, 0.0) for name in ("max_grad_norm", "adam_eps")]
    + [(name, -1.0) for name in ("max_grad_norm", "adam_eps")]
    + [
        (name, float("inf"))
        for name in ("policy_lr", "value_lr", "value_coef", "entropy_coef", "adam_eps")
    ]
    + [(name, float("nan")) for name in NUMBERS]
    + [(name, np.array([0.5, np.nan])) for name in NUMBERS]
    + [("gamma", jnp.array([0.9, 1.5])), ("policy_lr", jnp.float32(-1)), ("gamma", 2)],
)
def test_a_number_out_of_range_is_refused(name, value):
    """Also where it is one element of an array; the element is named."""
    with pytest.raises(ValueError, match=rf"^{name}=.* is out of range; {name} accepts ") as caught:
        Hyperparams(**{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["0.5", None, {"a": 1}, 0.5 + 0j, object()])
def test_what_is_no_number_is_refused(name, value):
    """TypeError, in one line that names the field."""
    with pytest.raises(TypeError, match=rf"^{name}=.* is not a number; {name} accepts "):
        Hyperparams(**{name: value})


@pytest.mark.parametrize(
    ("value", "kind"),
    [(float("nan"), ValueError), (np.array([1.0, np.nan]), ValueError), ("long", TypeError)],
)
def test_environment_parameters_are_checked_by_name(value, kind):
    """env_params is a mapping of numbers; the error names the entry."""
    with pytest.raises(kind, match=r"^env_params\.length="):
        Hyperparams(env_params={"gravity": 9.8, "length": value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, end) for name in UNIT for end in (0, 1, 0.0, 1.0)],
        ("policy_lr", 0.0),
        ("entropy_coef", -0.1),
        ("max_grad_norm", float("inf")),
        ("gamma", np.float32(0.5)),
        ("gamma", jnp.bfloat16(0.5)),
        ("gamma", jnp.linspace(0, 1, 5)),
        ("policy_lr", np.ones((2, 3))),
        ("env_params", {"length": np.array([0.5, 1.0]), "steps": 3}),
        ("env_params", None),
    ],
)
def test_numbers_and_arrays_in_range_pass_unchanged(name, value):
    """Ends of the range are in it."""
    kept = getattr(Hyperparams(**{name: value}), name)
    assert kept is value or isinstance(value, dict | int)
    jax.tree.map(np.testing.assert_array_equal, kept, value)


def test_whole_numbers_become_floats():
    """1 and 0.003 are of one type, so that one compilation serves both."""
    assert type(Hyperparams(policy_lr=1).policy_lr) is float


def test_tracers_pass():
    """A traced value cannot be checked, and is taken on trust: also one out of range."""

    @jax.jit
    def through(gamma, length):
        hp = Hyperparams(gamma=gamma, env_params={"length": length})
        return dataclasses.replace(hp, policy_lr=gamma)

    hp = through(7.0, 2.0)
    assert isinstance(hp, Hyperparams)
    assert (hp.gamma, hp.policy_lr, hp.env_params["length"]) == (7.0, 7.0, 2.0)


def test_hyperparams_are_a_pytree_with_names():
    """Flatten and unflatten give the same object back, and each leaf its path."""
    hp = Hyperparams(gamma=0.5, env_params={"length": 2.0})
    leaves, structure = jax.tree.flatten(hp)
    assert jax.tree.unflatten(structure, leaves) == hp
    assert jax.tree.map(lambda x: x, hp) == hp
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(hp)]
    assert paths == [*(f".{name}" for name in NUMBERS), ".env_params['length']"]
    assert len(jax.tree.leaves(Hyperparams())) == len(NUMBERS)
    # Leaves may be any object, as in jax's own bookkeeping: no check may stand in the way.
    assert jax.tree.map(lambda _: None, hp).gamma is None
    assert jax.tree.map(lambda _: "text", hp).env_params == {"length": "text"}


def test_hyperparams_pass_through_jit_and_vmap():
    """One compilation serves all values, and a leading axis is swept."""
    traces = []

    @jax.jit
    def scaled(hp):
        traces.append(1)
        return jax.tree.map(lambda x: 2 * x, hp)

    assert scaled(Hyperparams(gamma=0.5)).gamma == 1.0
    assert scaled(Hyperparams(gamma=0.25)).gamma == 0.5
    assert len(traces) == 1

    hp = jax.tree.map(lambda x: jnp.full(3, x), Hyperparams(env_params={"length": 1.0}))
    hp = dataclasses.replace(hp, gamma=jnp.array([0.1, 0.2, 0.3]))
    out = jax.vmap(lambda hp: hp.gamma * hp.env_params["length"] + hp.policy_lr)(hp)
    np.testing.assert_allclose(out, np.array([0.1, 0.2, 0.3]) + 3e-3, rtol=1e-6)


def test_replace_on_hyperparams_checks_again():
    """A new object, and the old one as it was."""
    hp = Hyperparams()
    assert dataclasses.replace(hp, gamma=0.5) == Hyperparams(gamma=0.5)
    assert hp.gamma == 0.99
    with pytest.raises(ValueError, match=r"gamma=1\.5"):
        dataclasses.replace(hp, gamma=1.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        hp.gamma = 0.5


def test_a_mapping_of_environment_parameters_is_copied():
    """Later changes of the caller's dict change nothing."""
    mine = {"length": 1.0}
    hp = Hyperparams(env_params=mine)
    mine["length"] = 2.0
    assert hp.env_params == {"length": 1.0}

"""Estimators and optimizers given as functions: they train like the named ones, or are refused."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest
from support import probes
from support.assertions import assert_same_bits
from support.probes import quick_jit

from purejaxvpg import Hyperparams, VPGConfig, make_learner, make_train
from purejaxvpg.advantages import ESTIMATORS, gae

UPDATES, N, T = 3, 4, 8


def config(**fields) -> VPGConfig:
    """Episodes of 1 to 5 steps, cut after 4."""
    return VPGConfig(
        env=ENV, max_episode_steps=4, num_envs=N, num_steps=T, total_steps=UPDATES * N * T,
        hidden_sizes=(4,), value_iterations=2, **fields,
    )  # fmt: skip


ENV = probes.RandomLength(5)


def trained(fields, hp=None):
    """Metrics and parameters of a run."""
    result = quick_jit(make_train(config(**fields)))(jax.random.key(3), hp)
    return result.metrics, result.state.params


# --------------------------------------------------------------------------------- estimators


def test_an_estimator_that_equals_gae_gives_the_run_of_gae():
    """To the last bit; and another estimator gives another run."""

    def mine(trajectory, discounts):
        return gae(trajectory, discounts)

    named = trained({"estimator": "gae"})
    assert_same_bits(trained({"estimator": mine}), named)
    assert_same_bits(trained({"estimator": ESTIMATORS["gae"]}), named)
    other = trained({"estimator": lambda *args: gae(*args) + args[0].values})
    assert not jnp.array_equal(other[0].policy_loss, named[0].policy_loss)


def mean_over_environments(trajectory, discounts):
    return gae(trajectory, discounts).mean(1)


def with_another_axis(trajectory, discounts):
    return gae(trajectory, discounts)[..., None]


def transposed(trajectory, discounts):
    return gae(trajectory, discounts).T


def in_half_precision(trajectory, discounts):
    return gae(trajectory, discounts).astype(jnp.bfloat16)


def in_integers(trajectory, discounts):
    return jnp.ones(trajectory.rewards.shape, jnp.int32)


def nothing(trajectory, discounts):
    return None


def a_pair(trajectory, discounts):
    return gae(trajectory, discounts), trajectory.values


@pytest.mark.parametrize(
    ("estimator", "returned"),
    [
        (mean_over_environments, f"float32 of shape ({T},)"),
        (with_another_axis, f"float32 of shape ({T}, {N}, 1)"),
        (transposed, f"float32 of shape ({N}, {T})"),
        (in_half_precision, f"bfloat16 of shape ({T}, {N})"),
        (in_integers, f"int32 of shape ({T}, {N})"),
        (nothing, "NoneType of shape None"),
        (a_pair, "tuple of shape None"),
    ],
)
def test_what_is_no_psi_is_refused(estimator, returned):
    """One line that names the function, its result and the result expected; at once."""
    with pytest.raises(ValueError, match=r"^estimator=") as caught:
        make_learner(config(estimator=estimator))
    assert str(caught.value) == (
        f"estimator={estimator.__name__} returned {returned}; "
        f"expected Psi, float32 of shape [T, N] = ({T}, {N})"
    )


# --------------------------------------------------------------------------------- optimizers


@pytest.mark.slow
def test_an_optimizer_that_equals_adam_gives_the_run_of_adam():
    """To the last bit; and another epsilon gives another run."""
    fields = {"optimizer": lambda lr: optax.adam(lr, eps=1e-5), "lr_schedule": "linear"}
    hp = Hyperparams(adam_eps=1e-5)
    named = trained({**fields, "optimizer": "adam"}, hp)
    assert_same_bits(trained(fields, hp), named)
    other = trained({**fields, "optimizer": functools.partial(optax.adam, eps=1e-2)}, hp)
    assert not jnp.array_equal(other[0].policy_loss, named[0].policy_loss)


class Holds(NamedTuple):
    thing: Any


def rule_that_holds(thing):
    """An optimizer with a thing in its state."""

    def update(grads, state, params=None):
        return grads, state

    def rule(learning_rate):
        return optax.GradientTransformation(lambda params: Holds(thing), update)

    return rule


def rule_that_changes(learning_rate):
    """A rule whose state is a float before a step, and an integer after it."""
    return optax.GradientTransformation(
        lambda params: jnp.zeros(()), lambda grads, state, params=None: (grads, jnp.zeros((), int))
    )


@pytest.mark.parametrize(
    ("optimizer", "name", "reason"),
    [
        (optax.inject_hyperparams(optax.sgd), "sgd", "learning_rate"),
        (rule_that_holds("text"), "rule", "its state holds 'text', which is no array"),
        (rule_that_holds(len), "rule", "<built-in function len>"),
        (rule_that_holds(1.0), "rule", "its state holds 1.0, which is no array"),
        (rule_that_changes, "rule_that_changes", "changes the structure or the types"),
        (lambda lr: lr, "<lambda>", "it returned"),
        (lambda lr: None, "<lambda>", "it returned NoneType"),
        (lambda lr: optax.sgd, "<lambda>", "it returned function"),
        (lambda lr: optax.sgd(float(lr)), "<lambda>", "Abstract tracer value"),
        (lambda: optax.sgd(0.1), "<lambda>", "0 positional arguments"),
    ],
    ids=[
        "inject",
        "text",
        "function",
        "python number",
        "changes",
        "number",
        "None",
        "optax.sgd",
        "float",
        "no argument",
    ],
)
def test_what_is_no_rule_is_refused_by_make_learner(optimizer, name, reason):
    """One line that names the function and the reason; nothing is trained before."""
    with pytest.raises((TypeError, ValueError)) as caught:
        make_learner(config(optimizer=optimizer))
    message = str(caught.value)
    assert message.startswith(f"optimizer={name} must make an optax.GradientTransformation of ")
    assert reason in message
    assert "\n" not in message


def test_an_array_in_a_rules_state_is_accepted():
    """The negative case of the refusals."""
    assert make_learner(config(optimizer=rule_that_holds(jnp.zeros(3))))

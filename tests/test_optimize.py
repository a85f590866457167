"""Gradient steps: clipped by the global norm, by optax's rules or by a function of the user's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from purejaxvpg.agent import make_optimizer, take_step
from purejaxvpg.config import Hyperparams, VPGConfig

PARAMS = {"a": np.float32([1.0, 2.0]), "b": {"c": np.float32([[3.0]])}}
NO_CLIP = Hyperparams(max_grad_norm=np.inf)


def of_a_head(params):
    """Parameters as a network has them."""
    return {"head": {"params": params}}


def config(optimizer="sgd", schedule="constant", updates=10) -> VPGConfig:
    return VPGConfig(
        num_envs=1, num_steps=1, total_steps=updates, optimizer=optimizer, lr_schedule=schedule
    )


def step(config, hp, grads, learning_rate=1.0, update=0):
    """The first step from PARAMS."""
    optimizer = make_optimizer(config, hp, learning_rate, update)
    return optimizer.update(grads, optimizer.init(PARAMS), PARAMS)[0]


# ---------------------------------------------------------------------------------- clipping


def test_max_grad_norm_clips_by_the_global_norm():
    """Norm 5 clipped to 1 is the gradient divided by 5, across all leaves; an element-wise
    clip would give 1 and 1, and a clip by the norm of each leaf as well."""
    grads = {"a": np.float32([3.0, 0.0]), "b": {"c": np.float32([[4.0]])}}
    out = step(config(), Hyperparams(max_grad_norm=1.0), grads)
    np.testing.assert_allclose(out["a"], [-0.6, 0.0], rtol=1e-6)
    np.testing.assert_allclose(out["b"]["c"], [[-0.8]], rtol=1e-6)


@pytest.mark.parametrize("limit", [5.1, np.inf])
def test_a_gradient_within_the_limit_is_left_alone(limit):
    """Not scaled up either."""
    grads = {"a": np.float32([3.0, 0.0]), "b": {"c": np.float32([[4.0]])}}
    out = step(config(), Hyperparams(max_grad_norm=limit), grads)
    jax.tree.map(lambda u, g: np.testing.assert_array_equal(u, -g), out, grads)


@pytest.mark.parametrize("limit", [0.5, np.inf])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_a_gradient_of_zero_is_a_step_of_zero(optimizer, limit):
    """No 0/0 from the clip or the rule."""
    zeros = jax.tree.map(np.zeros_like, PARAMS)
    out = step(config(optimizer), Hyperparams(max_grad_norm=limit), zeros)
    jax.tree.map(np.testing.assert_array_equal, out, zeros)


# ----------------------------------------------------------------------- rules and schedules

OPTAX = {
    "adam": lambda lr, eps: optax.adam(lr, eps=eps),
    "rmsprop": lambda lr, eps: optax.rmsprop(lr, decay=0.99, eps=eps),
    "sgd": lambda lr, eps: optax.sgd(lr),
}
# A user's: one that decays the parameters themselves, and one with a state of its own.
FUNCTIONS = {
    "adamw": functools.partial(optax.adamw, weight_decay=0.1),
    "momentum": lambda lr: optax.sgd(lr, momentum=0.9),
}
RULES = {**{name: name for name in OPTAX}, **FUNCTIONS}  # as a config takes them


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("limit", [1.0, np.inf])
def test_rules_equal_optax_step_by_step(name, limit):
    """An optimizer made anew in every step from traced numbers steps as one optax rule does."""
    eps, learning_rate = 1e-2, 0.3
    settings = config(RULES[name])
    theirs = OPTAX[name](learning_rate, eps) if name in OPTAX else FUNCTIONS[name](learning_rate)
    theirs = optax.chain(optax.clip_by_global_norm(limit), theirs)

    @jax.jit
    def ours(grads, state, params, hp, learning_rate, update):
        optimizer = make_optimizer(settings, hp, learning_rate, update)
        whole, state = take_step(optimizer, of_a_head(grads), state, of_a_head(params))
        return whole["head"]["params"], state

    hp = Hyperparams(max_grad_norm=limit, adam_eps=eps)
    params = expected = PARAMS
    state = make_optimizer(settings, hp, 0.0, 0).init(of_a_head(params))
    their_state = theirs.init(expected)
    rng = np.random.default_rng(0)
    for update in range(5):
        grads = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), PARAMS)
        params, state = ours(grads, state, params, hp, learning_rate, update)
        updates, their_state = theirs.update(grads, their_state, expected)
        expected = optax.apply_updates(expected, updates)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), params, expected)
    assert not np.allclose(params["a"], PARAMS["a"])


def test_an_accelerator_keeps_a_step_apart_from_what_follows(monkeypatch):
    """A step fused into the next matrix product fails to compile there (see `settled`)."""

    def program():
        optimizer = make_optimizer(config("adam"), Hyperparams(), 0.1, 0)
        head = of_a_head(PARAMS)
        step = lambda grads: take_step(optimizer, grads, optimizer.init(head), head)  # noqa: E731
        return str(jax.make_jaxpr(step)(head))

    assert "optimization_barrier" not in program()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "optimization_barrier" in program()


@pytest.mark.parametrize(
    ("schedule", "first", "middle", "last"),
    [
        ("constant", 1.0, 1.0, 1.0),
        ("linear", 1.0, 0.5, 0.1),
        ("cosine", 1.0, 0.5, 0.5 * (1 + np.cos(0.9 * np.pi))),
    ],
)
@pytest.mark.parametrize("optimizer", ["sgd", optax.sgd], ids=["name", "function"])
def test_schedule_at_first_middle_and_last_update(optimizer, schedule, first, middle, last):
    """Ten updates: a factor of 1 at update 0, and one step above 0 at update 9."""
    settings = config(optimizer, schedule, updates=10)
    for update, factor in ((0, first), (5, middle), (9, last)):
        out = step(settings, NO_CLIP, PARAMS, learning_rate=0.2, update=jnp.int32(update))
        np.testing.assert_allclose(out["a"], -0.2 * factor * PARAMS["a"], rtol=1e-5)


# ------------------------------------------------------------------------------------- state


@pytest.mark.parametrize("name", RULES)
def test_state_holds_arrays_only(name):
    """Nothing of the hyperparameters is stored, so that they may change from step to step."""
    states = [
        make_optimizer(config(RULES[name]), hp, rate, 0).init(PARAMS)
        for hp, rate in ((Hyperparams(), 0.1), (Hyperparams(adam_eps=0.5, max_grad_norm=9), 0.7))
    ]
    for leaf in jax.tree.leaves(states):
        assert isinstance(leaf, jax.Array)
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
    jax.tree.map(np.testing.assert_array_equal, *states)


@pytest.mark.parametrize("name", RULES)
def test_learning_rate_and_hyperparameters_may_be_vmapped(name):
    """A sweep of three settings equals three runs, and no tracer leaves in the state."""
    settings = config(RULES[name])
    hps = Hyperparams(max_grad_norm=np.float32([0.5, 2.0, 100.0]), adam_eps=np.float32([1, 0.1, 3]))
    rates = np.float32([0.1, 0.2, 0.3])
    axes = jax.tree.map(lambda x: 0 if jnp.ndim(x) else None, hps)

    def one(hp, rate):
        optimizer = make_optimizer(settings, hp, rate, 3)
        return optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)

    swept = jax.jit(jax.vmap(one, in_axes=(axes, 0)))(hps, rates)
    for i, rate in enumerate(rates):
        hp = Hyperparams(max_grad_norm=hps.max_grad_norm[i], adam_eps=hps.adam_eps[i])
        alone = one(hp, rate)
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-5), swept, alone)

"""Random configs: a valid one trains, an invalid one is refused in one line.

The static options of `POOL` configs are drawn once, so that many examples share a compilation; the
traced numbers are drawn anew for every example.  A longer run:  scripts/test -m slow
"""

import dataclasses
import functools
import math
import random

import jax
import optax
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.slow import slow_but

from purejaxvpg import Hyperparams, VPGConfig, make_train
from purejaxvpg.advantages import ESTIMATORS, future_return
from purejaxvpg.agent import make_agent

EXAMPLES, POOL = 300, 8


def less_the_mean(trajectory, discounts):
    """A user's estimator: future return, less the mean over environments."""
    future = future_return(trajectory, discounts)
    return future - future.mean(1, keepdims=True)


CHOICES = {
    "env": ["CartPole-v1", "Pendulum-v1", "Catch-bsuite"],
    "rollout": ["segments", "episodes"],
    "estimator": [*ESTIMATORS, less_the_mean],
    "n_step": [1, 3, 50],
    "normalize_advantages": [True, False],
    "value_target": ["future_return", "lambda_return"],
    "value_iterations": [0, 1, 2],
    "network": ["auto", "mlp"],
    "hidden_sizes": [(), (4,), (4, 3)],
    "activation": ["tanh", "relu", "silu"],
    "kernel_init": ["orthogonal", "lecun_normal"],
    "shared_torso": [True, False],
    "std": ["state", "free"],
    "bounding": ["clip", "tanh"],
    "normalize_obs": [True, False],
    "normalize_rewards": [True, False],
    "optimizer": ["adam", "sgd", "rmsprop", optax.lion],
    "lr_schedule": ["constant", "linear", "cosine"],
    "gradient_rows": [3, 100, None],
    "eval_every": [0, 1, 2],
    "diagnostics": [True, False],
    "max_episode_steps": [None, 2, 5],
}


def draw_config(number: int) -> VPGConfig:
    """Config number `number`: two updates of 2 x 5 steps.  Any eight in a row have every choice."""
    fields = {}
    for name, values in CHOICES.items():
        block, place = divmod(number, len(values))
        fields[name] = random.Random(f"{name} {block}").sample(values, len(values))[place]
    if fields["rollout"] == "episodes":
        fields["max_episode_steps"] = fields["max_episode_steps"] or 4
    elif fields["estimator"] == "total_return":
        fields["rollout"], fields["max_episode_steps"] = "episodes", 5
    return VPGConfig(
        num_envs=2, num_steps=5, total_steps=20, eval_episodes=2, eval_steps=6, **fields
    )


@functools.lru_cache(maxsize=8)
def compiled(number: int):
    """Training of config number `number`, compiled without tuning, which takes half the time."""
    train = make_train(draw_config(number))
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(train).lower(jax.random.key(0), Hyperparams()).compile(options)


HYPERPARAMS = st.builds(
    Hyperparams,
    policy_lr=st.floats(0, 0.1),
    value_lr=st.floats(0, 0.1),
    gamma=st.floats(0, 1),
    gae_lambda=st.floats(0, 1),
    entropy_coef=st.floats(-0.1, 0.1),
    value_coef=st.floats(0, 2),
    max_grad_norm=st.floats(1e-3, 10) | st.just(math.inf),
    adam_eps=st.floats(1e-8, 1e-2),
    greedy_start=st.floats(0, 1),
    greedy_end=st.floats(0, 1),
)


def trains(number: int, hp: Hyperparams, seed: int) -> None:
    """Two updates with finite metrics."""
    result = compiled(number)(jax.random.key(seed), hp)
    assert result.metrics.finite.all(), (draw_config(number), hp, seed, result.metrics)
    assert int(result.state.update) == 2


def test_the_pool_has_every_choice():
    """Every value of every option occurs in the pool, and estimators meet both kinds of rollout."""
    pool = [draw_config(number) for number in range(POOL)]
    for name, values in CHOICES.items():
        assert {getattr(config, name) for config in pool} >= set(values), name
    pairs = {(config.rollout, config.estimator) for config in pool}
    assert len(pairs) >= 6, pairs


# Configs one by one, each with its share of the examples: hypothesis would jump between them, and
# compile again and again.
@pytest.mark.parametrize("number", slow_but(range(4), range(POOL)))
def test_a_valid_config_trains_two_updates_with_finite_metrics(number):
    """All hyperparameters within their ranges, and any seed."""

    @settings(max_examples=math.ceil(EXAMPLES / POOL), deadline=None, derandomize=True)
    @given(HYPERPARAMS, st.integers(0, 2**32 - 1))
    def check(hp, seed):
        trains(number, hp, seed)

    check()


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("number", range(POOL, POOL + 300))
def test_a_longer_run_of_valid_configs(number):
    """The same for 300 further configs."""

    @settings(max_examples=20, deadline=None)
    @given(HYPERPARAMS, st.integers(0, 2**32 - 1))
    def check(hp, seed):
        trains(number, hp, seed)

    check()


# -------------------------------------------------------------------------------------- INVALID

TEXT = st.text("abcdefgh_-", min_size=1, max_size=12)
NO_INT = TEXT | st.floats(0.1, 0.9) | st.booleans() | st.just(math.nan) | st.just([1])
NO_FLOAT = TEXT | st.booleans() | st.none() | st.just([1.0])
NO_TEXT = st.integers() | st.none() | st.just(["mlp"])
BELOW_1, BELOW_0 = st.integers(-(2**40), 0), st.integers(-(2**40), -1)
INTEGERS = ["total_steps", "num_envs", "num_steps", "n_step", "eval_episodes", "eval_steps"]
LITERALS = ["rollout", "estimator", "value_target", "std", "bounding", "optimizer", "lr_schedule"]
FLAGS = ["normalize_advantages", "shared_torso", "normalize_obs", "normalize_rewards"]
FLAGS += ["diagnostics"]

BAD: dict[str, st.SearchStrategy] = {
    **{name: NO_INT | BELOW_1 | st.none() for name in INTEGERS},
    **{name: NO_INT | BELOW_0 | st.none() for name in ("value_iterations", "eval_every")},
    **dict.fromkeys(("max_episode_steps", "gradient_rows", "renewal"), NO_INT | BELOW_1),
    "memory_size": NO_INT | BELOW_1 | st.none(),
    **dict.fromkeys(("policy_obs", "value_obs"), TEXT | st.integers() | st.just([]) | st.just([1])),
    **{name: TEXT | NO_TEXT.filter(lambda x: not isinstance(x, list)) for name in LITERALS},
    **{name: TEXT | st.integers(2, 9) | st.none() for name in FLAGS},
    "hidden_sizes": TEXT | st.integers() | st.lists(BELOW_1, min_size=1) | st.just((4, "a")),
    **{name: NO_FLOAT | st.floats(max_value=0) for name in ("init_std", "obs_clip")},
    "min_std": NO_FLOAT | st.floats(max_value=-1e-9) | st.floats(0.6, 1e9),
    "env_kwargs": TEXT | st.integers() | st.just([("a", 1)]),
    **dict.fromkeys(("env", "network", "activation", "kernel_init", "memory"), TEXT),
}
KNOWN = {"gae", "td", "state", "free", "clip", "tanh", "adam", "sgd", "linear", "cosine", "elu"}
KNOWN |= {"mlp", "cnn", "auto", "segments", "episodes", "ones", "zeros", "gelu", "celu", "selu"}

no_number = TEXT | st.none() | st.booleans() | st.just([0.1]) | st.just(math.nan)
beyond_1 = st.floats(1.0001, 1e30) | st.floats(max_value=-1e-9)
BAD_NUMBERS: dict[str, st.SearchStrategy] = {
    "policy_lr": no_number | st.floats(max_value=-1e-12) | st.just(math.inf),
    "value_lr": no_number | st.floats(max_value=-1e-12) | st.just(math.inf),
    "gamma": no_number | beyond_1,
    "gae_lambda": no_number | beyond_1,
    "entropy_coef": no_number | st.just(math.inf) | st.just(-math.inf),
    "value_coef": no_number | st.floats(max_value=-1e-12) | st.just(math.inf),
    "max_grad_norm": no_number | st.floats(max_value=0),
    "adam_eps": no_number | st.floats(max_value=0) | st.just(math.inf),
    "greedy_start": no_number | beyond_1,
    "greedy_end": no_number | beyond_1,
    "env_params": TEXT | st.integers() | st.just({"gravity": math.nan}) | st.just({"length": "a"}),
}


def refused(make, name):
    """`make` raises a ValueError or TypeError of one line that contains `name`."""
    with pytest.raises((ValueError, TypeError)) as error:
        make()
    message = str(error.value)
    assert "\n" not in message
    assert name in message, message


def test_every_field_has_its_bad_values():
    """No field of VPGConfig or Hyperparams is left out of the two tables."""
    assert set(BAD) == {f.name for f in dataclasses.fields(VPGConfig)}
    assert set(BAD_NUMBERS) == {f.name for f in dataclasses.fields(Hyperparams)}


@settings(max_examples=2 * EXAMPLES, deadline=None, derandomize=True)
@given(st.data())
def test_an_invalid_config_is_refused_in_a_line_that_names_the_field(data):
    """One bad value of one field among good ones."""
    name = data.draw(st.sampled_from(sorted(BAD)))
    value = data.draw(BAD[name])
    assume(not isinstance(value, str) or value not in KNOWN)
    good = {"num_envs": 2, "num_steps": 5, "total_steps": 20}
    refused(lambda: make_agent(VPGConfig(**good | {name: value})), name)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(st.data())
def test_an_invalid_hyperparameter_is_refused_in_a_line_that_names_it(data):
    """One bad number among the defaults."""
    name = data.draw(st.sampled_from(sorted(BAD_NUMBERS)))
    value = data.draw(BAD_NUMBERS[name])
    refused(lambda: Hyperparams(**{name: value}), name)

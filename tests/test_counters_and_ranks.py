"""Counters do not overflow, and nothing broadcasts to a higher rank unasked."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from support import curves
from support.slow import slow_but

from purejaxvpg import VPGConfig, make_train
from purejaxvpg.evaluate import make_evaluate

MOST = 2**31 - 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((1, 1, 2**31), r"makes 2_147_483_648 updates; a run counts up to .* larger num_envs"),
        ((8, 125, 2**31 * 1000), "makes 2_147_483_648 updates"),
        ((1, 1000, 3 * 10**9), "3_000_000_000 steps of each environment; .* a larger num_envs"),
        ((2**16, 2**15, 2**31), "2_147_483_648 rows of a batch; .* a smaller num_envs"),
    ],
)
def test_a_run_that_counts_too_far_is_refused(fields, message):
    names = dict(zip(("num_envs", "num_steps", "total_steps"), fields, strict=True))
    with pytest.raises(ValueError, match=message) as refused:
        VPGConfig(**names)
    assert "\n" not in str(refused.value)


def test_the_longest_runs_are_not():
    assert VPGConfig(num_envs=1, num_steps=1, total_steps=MOST).num_updates == MOST
    assert VPGConfig(num_envs=2048, num_steps=1, total_steps=2048 * MOST).num_updates == MOST


@pytest.mark.parametrize(
    "name", ["max_episode_steps", "eval_steps", "n_step", "value_iterations", "gradient_rows"]
)
def test_each_number_is_one_that_can_be_counted_to(name):
    assert getattr(VPGConfig(**{name: MOST}), name) == MOST
    with pytest.raises(ValueError, match=f"{name}=2147483648 is out of range; .* 2_147_483_647"):
        VPGConfig(**{name: MOST + 1})


def test_evaluations_count_as_far():
    with pytest.raises(ValueError, match=r"max_steps=2147483648 is out of range; .* 2_147_483_647"):
        make_evaluate(VPGConfig(), max_steps=MOST + 1)


@pytest.mark.parametrize(
    "name", slow_but(["clip", "cnn", "episodes", "evaluated", "td"], sorted(curves.CURVES))
)
def test_no_rank_is_promoted(name):
    """Traced as by a user who has jax refuse it."""
    config, hp = curves.settings(name, 2)
    if config.eval_every:
        config = dataclasses.replace(config, eval_every=1)
    keys = jax.vmap(jax.random.key)(jnp.arange(2))
    with jax.numpy_rank_promotion("raise"):
        result = jax.eval_shape(jax.vmap(lambda key: make_train(config)(key, hp)), keys)
    assert result.metrics.finite.shape == (2, 2)

"""Numbers that hostile users have made go wrong, each with the right value."""

import jax
import jax.numpy as jnp
import pytest
from support.probes import Mortal, quick_jit

from purejaxvpg import Hyperparams, VPGConfig, make_train
from purejaxvpg.compute import keep_finite
from purejaxvpg.state import EpisodeSums, Params, TrainState

TINY = {"num_envs": 2, "num_steps": 8, "hidden_sizes": (4,), "value_iterations": 1}

# ------------------------------------------------------------------------------------ DIVERGENCE


def is_finite(weight=1.0, **numbers):
    """Whether an update that ends so is one of a healthy run."""
    none = dict.fromkeys(TrainState._fields, jnp.zeros(()))
    params = Params(*[{"head": {"params": {"w": jnp.full(2, x)}}} for x in (1.0, weight)])
    state = TrainState(**none)._replace(
        params=params, key=jax.random.key(0), finite=jnp.array(True), update=jnp.int32(0)
    )
    numbers = {name: jnp.float32(x) for name, x in numbers.items()}
    sums = EpisodeSums(*[jnp.float32(1)] * 3)
    after, metrics = keep_finite(state, state, sums, numbers)
    assert after.finite == metrics.finite
    return bool(metrics.finite)


@pytest.mark.parametrize("name", ["value_loss", "value_loss_after", "policy_loss", "kl"])
def test_a_square_may_be_as_large_as_float32_is(name):
    assert is_finite(**{name: 3e38})
    assert not is_finite(**{name: jnp.inf})
    assert not is_finite(**{name: -jnp.inf})
    assert not is_finite(**{name: jnp.nan})


@pytest.mark.parametrize("name", ["policy_grad_norm", "value_grad_norm", "weight"])
def test_what_is_squared_later_may_not(name):
    assert is_finite(**{name: 1.8e19})
    for x in (1.9e19, jnp.inf, jnp.nan):
        assert not is_finite(**{name: x})


@pytest.mark.parametrize(("reward", "finite"), [(1e10, True), (1e25, False)])
def test_returns_of_ten_billion_are_no_divergence(reward, finite):
    """Episodes of 4 steps, a batch of 4 of them.  Returns of 4e25 have no square in float32."""
    config = VPGConfig(env=Mortal(4), total_steps=64, **TINY)
    hp = Hyperparams(env_params={"reward": reward})
    metrics = train_mortal(config)(jax.random.key(0), hp).metrics
    assert (metrics.finite == finite).all()
    assert metrics.episode_return_sum[0] == pytest.approx(16 * reward)
    if finite:
        assert (metrics.value_loss > 1.8e19).all()


def train_mortal(config):
    return TRAINED.setdefault("train", quick_jit(make_train(config)))


TRAINED = {}

"""jaxlib 0.10 deadlocks in batched QR under vmap on the CPU; the versions required do not."""

import jax
import jax.numpy as jnp
import pytest

from purejaxvpg import VPGConfig, make_train


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_fifty_repetitions_of_128_seeds_end():
    config = VPGConfig(num_envs=4, num_steps=16, total_steps=4 * 16 * 4, value_iterations=2)
    train = jax.jit(jax.vmap(make_train(config)))
    for repetition in range(50):
        keys = jax.vmap(jax.random.key)(jnp.arange(128) + 128 * repetition)
        result = jax.block_until_ready(train(keys))
        assert result.metrics.finite.all()

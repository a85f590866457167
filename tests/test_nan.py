"""NaN is a sign of divergence and of nothing else, and the operation that made it is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.probes import Probe, quick_jit

from purejaxvpg import VPGConfig, make_train
from purejaxvpg.debug import find_operation
from purejaxvpg.experiment.segments import run_segments
from purejaxvpg.state import Metrics, TrainResult

SMALL = {"num_envs": 2, "num_steps": 8, "hidden_sizes": (4,), "value_iterations": 1}
UNMEASURED = ("kl", "policy_loss_change", "value_loss_after")


def test_jax_finds_no_nan_in_a_healthy_run():
    """Compiled, and evaluated every second update."""
    config = VPGConfig(**SMALL, total_steps=64, diagnostics=False, eval_every=2,
                       eval_episodes=2, max_episode_steps=20)  # fmt: skip
    with jax.debug_nans(True):
        result = quick_jit(make_train(config))(jax.random.key(0))
    for name, x in result.metrics._asdict().items():
        assert (x is None) == (name in UNMEASURED), name
    assert all(x.shape == (4,) and np.isfinite(x).all() for x in jax.tree.leaves(result.metrics))


def test_what_is_not_measured_is_nan_on_the_host():
    """In segments, checkpoints and studies, whose arrays have one shape for all settings."""
    rows = {name: jnp.ones((2, 3)) for name in Metrics._fields}
    result = TrainResult(jnp.zeros(2), Metrics(**rows | dict.fromkeys(UNMEASURED)), None)
    seen = []
    outcome = run_segments(
        lambda state, done, count: result, jnp.zeros(2), (0, 5), 3,
        on_segment=lambda done, seconds, result: bool(seen.append(result.metrics)),
    )  # fmt: skip
    for metrics, updates in ((outcome.metrics, 5), (seen[0], 1)):
        for name, x in metrics._asdict().items():
            assert x.shape == (2, updates)
            assert np.isnan(x).all() if name in UNMEASURED else (x == 1).all()
            assert name not in UNMEASURED or x.dtype == np.float32


class SometimesNaN(Probe):
    """One step, whose reward is the logarithm of a negative number once in 20 times."""

    def draw(self, key):
        return jax.random.uniform(key)

    def outcome(self, state, action, params):
        return jnp.log(state.x - 0.05), True


@pytest.mark.filterwarnings("ignore:SometimesNaN. a reward is not finite")
@pytest.mark.slow
def test_the_operation_is_named_where_runs_are_evaluated():
    """Each evaluation takes a key of its own; a run that has diverged keeps the key that did it."""
    config = VPGConfig(env=SometimesNaN(), **SMALL, total_steps=16 * 12, eval_every=1,
                       eval_episodes=1, diagnostics=False)  # fmt: skip
    keys = jax.vmap(jax.random.key)(jnp.arange(6))
    states = quick_jit(jax.vmap(make_train(config)))(keys).state
    assert not states.finite.any()
    for n in range(6):
        text = find_operation(config, None, jax.tree.map(lambda x, n=n: x[n], states))
        assert text.startswith("the first NaN comes from log at test_nan.py:"), text

"""A training of two updates whose numbers are known: the doctor's last question."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from purejaxvpg.compute import number_settings, untuned
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.train import make_learner

TOLERANCE = 1e-5
CONFIG = VPGConfig(
    env="CartPole-v1", num_envs=4, num_steps=16, total_steps=128, hidden_sizes=(8,),
    value_iterations=2,
)  # fmt: skip
# Of the second update, as jax 0.9.2 and 0.11.2 computed them on a CPU.
RECORDED = {
    "policy_loss": -0.0011249184608459473,
    "value_loss": 66.28286743164062,
    "entropy": 0.6930978298187256,
    "policy_grad_norm": 0.11207699030637741,
    "policy_size": 13.335646629333496,
}
USUAL = {
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_enable_x64": False,
    "jax_random_seed_offset": 0,
}


class Outcome(NamedTuple):
    """How the self-test went."""

    numbers: dict[str, float]
    differing: dict[str, tuple[float, float]]  # as `differing` gives it
    unusual: dict[str, Any]  # settings of jax for which other numbers are expected
    seconds: float


def self_test() -> Outcome:
    """Train for two updates and compare.  Raises: whatever is wrong."""
    start = time.perf_counter()
    learner, hp = make_learner(CONFIG), Hyperparams()

    def two_updates(key: jax.Array) -> Any:
        state, _ = learner.update(learner.init(key, hp), hp)
        state, metrics = learner.update(state, hp)
        size = sum(abs(x).sum() for x in jax.tree.leaves(state.params.policy))
        return metrics, size

    with jax.default_matmul_precision("highest"):  # a GPU's usual products keep 10 bits
        options = untuned(jax.devices()[0])
        metrics, size = jax.jit(two_updates, compiler_options=options)(jax.random.key(0))
    numbers = {
        name: float(np.asarray(getattr(metrics, name)))
        for name in ("policy_loss", "value_loss", "entropy", "policy_grad_norm")
    }
    numbers["policy_size"] = float(size)
    now = number_settings()
    unusual = {name: now[name] for name, usual in USUAL.items() if now[name] != usual}
    return Outcome(numbers, differing(numbers), unusual, time.perf_counter() - start)


def differing(numbers: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Name -> (number, recorded) of the numbers that are not as recorded; NaN is not."""
    return {
        name: (numbers[name], number)
        for name, number in RECORDED.items()
        if not abs(numbers[name] - number) <= TOLERANCE * max(1, abs(number))
    }

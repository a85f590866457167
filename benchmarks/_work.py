"""Minimum work of one update, by phase: operations, and bytes read and written."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from purejaxvpg import Hyperparams, VPGConfig, vpg
from purejaxvpg.agent import Setup, make_setup


def setup_of(
    num_envs: int,
    num_steps: int,
    value_iterations: int,
    updates: int = 1,
    devices: int = 1,
) -> Setup:
    """Setup of the run that the benchmark measures.  devices: that share its environments."""
    config = VPGConfig(
        num_envs=num_envs,
        num_steps=num_steps,
        total_steps=num_envs * num_steps * updates,
        value_iterations=value_iterations,
        value_target="lambda_return",
        diagnostics=False,
    )
    return make_setup(config, devices)


@dataclasses.dataclass(frozen=True)
class Work:
    """Minimum work of one phase of an update, or of several phases together."""

    flops: float = 0.0  # operations of the networks
    transcendentals: float = 0.0  # mostly tanh; not part of flops
    bytes: int = 0  # read or written at least once

    def __add__(self, other: "Work") -> "Work":
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Work(*(x + y for x, y in pairs))

    def __mul__(self, number: int) -> "Work":
        return Work(*(number * x for x in dataclasses.astuple(self)))


def operations(function: Callable[..., Any], *args: Any) -> Work:
    """Operations of one call; its bytes are not counted."""
    analysis: Any = jax.jit(function).lower(*args).compile().cost_analysis()
    return Work(float(analysis["flops"]), float(analysis.get("transcendentals", 0.0)))


def size(*arrays: Any) -> int:
    """Size of all arrays together, in bytes."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(arrays))


def work(setup: Setup) -> dict[str, Work]:
    """Operations of the networks, and bytes that must be moved, for each phase of an update.

    The pieces are counted one by one, because the compiler counts a loop as one iteration.  With
    one value iteration, V of the batch is computed once: the advantages and the first gradient
    share it.
    """
    config, agent = setup.config, setup.agent
    hp = Hyperparams()
    policy = setup.policy(hp)
    state = jax.eval_shape(vpg.make_learner(config).init, jax.random.key(0))
    _, batch, _ = jax.eval_shape(lambda state: vpg.collect(setup, state, hp), state)
    _, rows, _ = jax.eval_shape(lambda state, b: vpg.judge(setup, state, b, hp), state, batch)

    def policy_loss(params: Any, rows: Any) -> Any:
        log_prob = policy.log_prob(agent.networks.policy(params, rows.obs), rows.action)
        return (rows.weight * log_prob * rows.psi).sum()

    def value_loss(params: Any, rows: Any) -> Any:
        errors = agent.networks.value(params, rows.obs) - rows.target
        return (rows.share * jnp.square(errors)).sum()

    act = operations(agent.networks.policy, state.params.policy, state.obs)
    forward = operations(agent.networks.value, state.params.value, rows.obs)
    iterations = config.value_iterations
    fit = operations(jax.grad(value_loss), state.params.value, rows) * iterations
    judged = (batch.reward, batch.terminated, batch.truncated, rows.target, rows.target)

    def moved(*arrays: Any) -> Work:
        return Work(bytes=size(*arrays))

    return {
        "collect": act * config.num_steps + moved(batch),
        "values": forward + moved(rows.obs, rows.target),
        "advantages": moved(judged, rows.psi, rows.target),
        "policy step": operations(jax.grad(policy_loss), state.params.policy, rows)
        + moved(rows.obs, rows.action, rows.psi, rows.weight),
        "value fit": fit
        + forward * (-1 if iterations == 1 else 0)
        + moved(rows.obs, rows.target, rows.share) * iterations,
    }

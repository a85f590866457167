"""What one update must do at the least: operations, and bytes moved, by phase."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from purejaxvpg import Hyperparams, VPGConfig, vpg
from purejaxvpg.agent import make_agent
from purejaxvpg.envs import vectorize
from purejaxvpg.spread import ALONE, Spread


def setup_of(
    num_envs: int,
    num_steps: int,
    value_iterations: int,
    updates: int = 1,
    spread: Spread = ALONE,
) -> vpg.Setup:
    """The benchmark's config and all that belongs to it."""
    config = VPGConfig(
        num_envs=num_envs,
        num_steps=num_steps,
        total_steps=num_envs * num_steps * updates,
        value_iterations=value_iterations,
        value_target="lambda_return",
        diagnostics=False,
    )
    agent = make_agent(config)
    env = vectorize(agent.env, num_envs, config.max_episode_steps, spread)
    return vpg.Setup(config, agent, env, spread)


@dataclasses.dataclass(frozen=True)
class Work:
    """Of one phase of an update, or of several together."""

    flops: float = 0.0  # of the networks
    transcendentals: float = 0.0  # tanh above all, which is not among the flops
    bytes: int = 0  # that must be read or written once

    def __add__(self, other: "Work") -> "Work":
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Work(*(x + y for x, y in pairs))

    def __mul__(self, number: int) -> "Work":
        return Work(*(number * x for x in dataclasses.astuple(self)))


def operations(function: Callable[..., Any], *args: Any) -> Work:
    """Of one call; no bytes."""
    analysis: Any = jax.jit(function).lower(*args).compile().cost_analysis()
    return Work(float(analysis["flops"]), float(analysis.get("transcendentals", 0.0)))


def size(*arrays: Any) -> int:
    """Bytes."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(arrays))


def work(setup: vpg.Setup) -> dict[str, Work]:
    """The networks' operations, and the bytes that must be moved, of every phase.

    Piece by piece, since the compiler's count of a loop is that of one turn.  With one value
    iteration V of the batch is computed once, for the advantages and for the first gradient.
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

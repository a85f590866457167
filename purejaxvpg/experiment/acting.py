"""A saved policy in a loop that steps an environment on the host: numpy in, numpy out."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from purejaxvpg.envs.protocol import Masked
from purejaxvpg.experiment.accepted import (
    Accepted,
    common_batch,
    mask_rows,
    memory_rows,
)
from purejaxvpg.experiment.observed import obs_rows

# (encoded obs [B, ...], mask, memory, key or None) -> actions and memory, [B, ...] each
ActRows = Callable[[Any, Any, Any, Any], tuple[Any, Any]]


class SavedPolicy(NamedTuple):
    """A policy that acts, and its card."""

    act: Callable[..., Any]  # see `load_policy`
    card: dict[str, Any]  # as cards.py describes it
    # (batch=None) -> memory where an episode begins, numpy, of one or [batch, ...]; () without
    initial_memory: Callable[..., Any] = lambda batch=None: ()
    # as `act` without a key: in place of the action, (greedy action, parameters of the
    # distribution of raw actions by name: `Policy.parameters`)
    distribution: Callable[..., Any] = lambda obs, **_: ((), {})


def make_act(act_rows: ActRows, accepted: Accepted) -> Callable[..., Any]:
    """`act` of a policy, as `load_policy` describes it: with memory, one that takes and gives it.

    Args: act_rows: need not be compiled.
    """

    remembered = accepted.memory

    @jax.jit
    def encoded(obs: Any, mask: Any, memory: Any, key: Any) -> tuple[Any, Any]:
        return act_rows(accepted.encoder(obs), mask, memory, key)

    def called(obs: Any, memory: Any, key: Any, mask: Any) -> tuple[Any, Any]:
        _check_key(key)
        if isinstance(obs, Masked):
            if mask is not None:
                raise ValueError("mask is given twice: obs is a Masked, with a mask in it")
            obs, mask = obs
        traced = any(isinstance(x, Tracer) for x in jax.tree.leaves((obs, memory, key, mask)))
        given = [obs_rows(accepted, obs), mask_rows(accepted, mask)]
        if memory is not None:
            given.append(memory_rows(remembered, memory))
        batch = common_batch({k: b for rows in given for k, b in rows.batches.items()})
        if memory is None:
            rows = (given[0].arrays, given[1].arrays, accepted.zero(1 if batch is None else batch))
        else:
            rows = tuple(x.arrays for x in given)
        # Networks flatten by reshape(B, -1), and 0 rows have none.  (Exported, B is a symbol.)
        empty = isinstance(batch, int) and batch == 0
        if empty:
            rows = jax.tree.map(lambda x: np.zeros((1, *x.shape[1:]), x.dtype), rows)
        results = encoded(*rows, key)
        if empty:
            results = jax.tree.map(lambda x: x[:0], results)
        if not traced:
            results = jax.tree.map(_on_host, results[0]), jax.tree.map(np.array, results[1])
        return jax.tree.map(lambda x: x[0], results) if batch is None else results

    def act(obs: Any, key: Array | None = None, *, mask: Any = None) -> Any:
        return called(obs, (), key, mask)[0]

    def act_and_remember(
        obs: Any, memory: Any = None, key: Array | None = None, *, mask: Any = None
    ) -> tuple[Any, Any]:
        return called(obs, memory, key, mask)

    return act_and_remember if jax.tree.leaves(remembered) else act


def make_distribution(rows: ActRows, accepted: Accepted) -> Callable[..., Any]:
    """`distribution` of a `SavedPolicy`.  Args: rows: its actions and parameters in place of
    actions; keys are none."""
    act = make_act(rows, accepted)

    def distribution(obs: Any, *, mask: Any = None) -> Any:
        return act(obs, None, mask=mask)

    def with_memory(obs: Any, memory: Any = None, *, mask: Any = None) -> Any:
        return act(obs, memory, None, mask=mask)

    return with_memory if jax.tree.leaves(accepted.memory) else distribution


def _on_host(x: Array) -> np.ndarray:
    """Actions in gymnasium's types.  A copy, for numpy may not write to jax's arrays."""
    return np.array(x, np.int64 if jnp.issubdtype(x.dtype, jnp.integer) else np.float32)


def _check_key(key: Any) -> None:
    """TypeError, in one line, for a key that is none.  `jax.random.PRNGKey(0)` is one."""
    if key is None:
        return
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        if shape == ():
            return
    elif str(dtype) == "uint32" and shape is not None and len(shape) == 1:
        return
    given = repr(key) if dtype is None else f"{dtype} of shape {shape}"
    raise TypeError(f"key={given} is not one key; pass jax.random.key(seed), or None: greedy")

"""Gradient steps: optax rules with traced learning rates, and gradients summed in chunks."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jax.typing import ArrayLike

from purejaxvpg.config import Hyperparams, VPGConfig


def make_optimizer(
    config: VPGConfig, hp: Hyperparams, learning_rate: ArrayLike, update: ArrayLike
) -> optax.GradientTransformation:
    """Clip by the *global* norm, then the rule, then the learning rate of this update.

    Made anew from traced numbers in every update.  That is sound because the state of an optax
    rule holds arrays alone (counts and moments); nothing of `hp` is stored in it.

    Args:
      learning_rate: scalar, traced.  update: index of the running update, in [0, U).
    """
    step_size: Any = learning_rate * _schedule(config)(update)
    return optax.chain(
        optax.clip_by_global_norm(hp.max_grad_norm),
        _rule(config, hp),
        optax.scale_by_learning_rate(step_size),
    )


def _rule(config: VPGConfig, hp: Hyperparams) -> optax.GradientTransformation:
    if config.optimizer == "adam":
        return optax.scale_by_adam(eps=hp.adam_eps)
    elif config.optimizer == "rmsprop":
        return optax.scale_by_rms(decay=0.99, eps=hp.adam_eps)
    elif config.optimizer == "sgd":
        return optax.identity()
    else:
        raise ValueError(f"optimizer={config.optimizer!r} is unknown")


def _schedule(config: VPGConfig) -> optax.Schedule:
    """Factor of the learning rate, 1 at update 0; the decaying ones would reach 0 at update U."""
    if config.lr_schedule == "constant":
        return optax.constant_schedule(1.0)
    elif config.lr_schedule == "linear":
        return optax.linear_schedule(1.0, 0.0, config.num_updates)
    elif config.lr_schedule == "cosine":
        return optax.cosine_decay_schedule(1.0, config.num_updates)
    else:
        raise ValueError(f"lr_schedule={config.lr_schedule!r} is unknown")


def summed_grad(
    loss: Callable[[Any, Any], tuple[Array, Any]], params: Any, rows: Any, chunk_rows: int
) -> tuple[tuple[Array, Any], Any]:
    """`jax.value_and_grad` of a loss that is a sum over rows, in chunks that fit the cache.

    On large batches one pass over all rows streams every layer's activations through memory;
    chunks of some ten thousand rows keep them in the cache (1.6x at 262k rows on a CPU).

    Args:
      loss: (params, rows) -> (sum over rows, pytree of sums over rows).  A row of zeros must
        add nothing, for the last chunk is padded with such rows.
      rows: pytree of arrays `[B, ...]`.  chunk_rows: most rows of one chunk.

    Returns: `((loss, sums), grads)`, equal to the unchunked up to the order of summation.
    """
    grad = jax.value_and_grad(loss, has_aux=True)
    num_rows = jax.tree.leaves(rows)[0].shape[0]
    num_chunks = math.ceil(num_rows / chunk_rows)
    if num_chunks == 1:
        return grad(params, rows)

    size = math.ceil(num_rows / num_chunks)
    padding = num_chunks * size - num_rows

    def split(x: Array) -> Array:  # [B, ...] -> [num_chunks, size, ...]
        if padding:
            x = jnp.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(num_chunks, size, *x.shape[1:])

    def add(total: Any, chunk: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, grad(params, chunk)), None

    chunks = jax.tree.map(split, rows)
    first = jax.tree.map(lambda x: x[0], chunks)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(grad, params, first))
    return lax.scan(add, zeros, chunks)[0]

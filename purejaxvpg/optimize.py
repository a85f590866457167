"""Gradient steps: optax rules with traced learning rates."""

from typing import Any

import optax
from jax import lax
from jax.typing import ArrayLike

from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.cpu import on_cpu


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


def take_step(
    optimizer: optax.GradientTransformation, grads: Any, opt_state: Any, params: Any
) -> tuple[Any, Any]:
    """New parameters, and the rule's new state."""
    change, opt_state = optimizer.update(grads, opt_state, params)
    params = optax.apply_updates(params, change)
    if not on_cpu():
        # Or XLA computes the rule anew in every tile of the next matrix product, and with jaxlib
        # 0.11 fails to (its pass hoist-fused-bitcasts, for the bias of a layer of one output).
        params = lax.optimization_barrier(params)
    return params, opt_state


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

"""Gradient steps: optax rules with traced learning rates."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from purejaxvpg.compute import settled
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.fields import first_line
from purejaxvpg.variables import trained, with_trained

RULES: dict[str, Callable[[Hyperparams], optax.GradientTransformation]] = {
    "adam": lambda hp: optax.scale_by_adam(eps=hp.adam_eps),  # type: ignore[arg-type]
    "rmsprop": lambda hp: optax.scale_by_rms(decay=0.99, eps=hp.adam_eps),  # type: ignore[arg-type]
    "sgd": lambda hp: optax.identity(),
}
# Factor of the learning rate, 1 at update 0; the decaying ones would reach 0 at update U.
SCHEDULES: dict[str, Callable[[int], optax.Schedule]] = {
    "constant": lambda num_updates: optax.constant_schedule(1.0),
    "linear": lambda num_updates: optax.linear_schedule(1.0, 0.0, num_updates),
    "cosine": lambda num_updates: optax.cosine_decay_schedule(1.0, num_updates),
}


def make_optimizer(
    config: VPGConfig, hp: Hyperparams, learning_rate: ArrayLike, update: ArrayLike
) -> optax.GradientTransformation:
    """Clip by the *global* norm, then the rule, then the learning rate of this update.

    Made anew from traced numbers in every update.  That is sound because the state of an optax
    rule holds arrays alone (counts and moments), and none that depends on the learning rate
    (`check_optimizer` holds a user's rule to that).

    Args:
      learning_rate: scalar, traced.  update: index of the running update, in [0, U).
    """
    step_size: Any = learning_rate * SCHEDULES[config.lr_schedule](config.num_updates)(update)
    clip = optax.clip_by_global_norm(hp.max_grad_norm)  # type: ignore[arg-type]
    if callable(config.optimizer):
        return optax.chain(clip, config.optimizer(step_size))
    rule = RULES[config.optimizer](hp)
    return optax.chain(clip, rule, optax.scale_by_learning_rate(step_size))


def global_norm(tree: Any) -> jax.Array:
    """Square root of the sum of the squares of all numbers of all arrays, a scalar."""
    # optax's own is deprecated under one name, and in older versions missing under the other.
    return jnp.sqrt(sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(tree)))


def take_step(
    optimizer: optax.GradientTransformation, grads: Any, opt_state: Any, params: Any
) -> tuple[Any, Any]:
    """New parameters, and the rule's new state.

    Args: grads, opt_state: of what is trained.  params: a network's variables.
    """
    before = trained(params)
    change, opt_state = optimizer.update(grads, opt_state, before)
    return with_trained(params, settled(optax.apply_updates(before, change))), opt_state


def check_optimizer(config: VPGConfig, params: Any) -> None:
    """Refuse a user's rule whose state holds other things than arrays, or the learning rate.

    Checked by tracing `init` under `vmap` over two learning rates: a leaf that differs between
    the two cannot be returned unbatched.  A step is traced as well: it must keep the state's types.

    Args: params: what is trained of a network, or its shapes.
    Raises: ValueError or TypeError, in one line.
    """
    if not callable(config.optimizer):
        return
    name = getattr(config.optimizer, "__name__", repr(config.optimizer))

    def state(learning_rate: Any) -> Any:
        rule: Any = config.optimizer(learning_rate)  # type: ignore[operator]
        if not isinstance(rule, optax.GradientTransformation):
            raise TypeError(f"it returned {type(rule).__name__}")
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), params)
        before = rule.init(zeros)
        for leaf in jax.tree.leaves(before):
            if not isinstance(leaf, jax.Array):
                raise TypeError(f"its state holds {leaf!r}, which is no array")
        after = rule.update(zeros, before, zeros)[1]
        types = [jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (before, after)]
        if types[0] != types[1]:
            raise TypeError("a step changes the structure or the types of its state")
        return before

    try:
        jax.eval_shape(jax.vmap(state, out_axes=None), jax.ShapeDtypeStruct((2,), jnp.float32))
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"optimizer={name} must make an optax.GradientTransformation of a traced learning "
            f"rate, whose state holds arrays alone, and not the rate (optax.inject_hyperparams "
            f"stores it); {first_line(error)}"
        ) from None

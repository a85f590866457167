"""`Hyperparams`: the numbers of a run that only multiply, add or compare, and may be traced."""

import dataclasses
import math
import numbers
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from purejaxvpg.envs import flat_params
from purejaxvpg.fields import (
    are_axes,
    check_number,
    check_scalar,
    documented,
    setting,
)
from purejaxvpg.ranges import Choice, Range, numbers_of

_HYPERPARAM_RANGES: dict[str, tuple[float, float, str]] = {
    "policy_lr": (0.0, math.inf, "a finite number >= 0"),
    "value_lr": (0.0, math.inf, "a finite number >= 0"),
    "gamma": (0.0, 1.0, "a number in [0, 1]"),
    "gae_lambda": (0.0, 1.0, "a number in [0, 1]"),
    "entropy_coef": (-math.inf, math.inf, "a finite number"),
    "value_coef": (0.0, math.inf, "a finite number >= 0"),
    "max_grad_norm": (0.0, math.inf, "a number > 0 (inf: no clipping)"),
    "adam_eps": (0.0, math.inf, "a finite number > 0"),
    "greedy_start": (0.0, 1.0, "a number in [0, 1]"),
    "greedy_end": (0.0, 1.0, "a number in [0, 1]"),
}


@documented
@dataclasses.dataclass(frozen=True)
class Hyperparams:
    """Traced numbers of a run: a pytree whose leaves may be swept with `jax.vmap`.

    Leaves are scalars (or, outside `train`, arrays with leading sweep axes).  Concrete values
    are checked when the object is made; traced ones cannot be, and are taken on trust.
    With None among them it is no run's, but says which leaves `jax.vmap(..., in_axes=)` maps.

    Raises (when made): ValueError or TypeError, one line that names the field.
    """

    # fmt: off
    policy_lr: ArrayLike = setting(3e-3, "Learning rate of the policy.")
    value_lr: ArrayLike = setting(3e-3, "Learning rate of the value function.")
    gamma: ArrayLike = setting(0.99, "Discount per step.")
    gae_lambda: ArrayLike = setting(0.95, "Weight of longer n-step estimates (gae and lambda_return).")
    entropy_coef: ArrayLike = setting(0.0, """Weight of the entropy, in nats a step, beside log pi Psi. Alike in both kinds of rollout: with
        episodes every term is summed over the episode, so the loss is the mean episode length times as large and its terms' ratio stays.""")
    value_coef: ArrayLike = setting(0.5, "Weight of the value's squared error beside Psi in the joint step, as entropy_coef (shared_torso only).")
    max_grad_norm: ArrayLike = setting(0.5, "Clip each gradient, of policy and of value, to this global norm (inf: never).")
    adam_eps: ArrayLike = setting(1e-5, "Epsilon of Adam and RMSProp.")
    greedy_start: ArrayLike = setting(0.0, "Fraction of greedy actions at the first update; any above 0 biases the gradient.")
    greedy_end: ArrayLike = setting(0.0, "Fraction of greedy actions at the last update, reached linearly.")
    env_params: Any = setting(None, """Environment parameters: a mapping of those that differ from the environment's defaults
        (dotted names reach inside others), or the environment's whole parameter object, or None for the defaults. A range
        (Uniform, LogUniform, Choice) in place of a value draws it at each reset, for each episode its own.""")
    # fmt: on

    def __post_init__(self):
        if are_axes([getattr(self, name) for name in _HYPERPARAM_RANGES]):
            return
        for name, (low, high, accepted) in _HYPERPARAM_RANGES.items():
            value = getattr(self, name)
            check_number(name, value, low, high, accepted)
            if isinstance(value, int):  # of another type than 0.003, it would compile anew
                object.__setattr__(self, name, float(value))
        if isinstance(self.env_params, Mapping):
            object.__setattr__(self, "env_params", flat_params(self.env_params))
            for name, value in self.env_params.items():
                _check_env_param(f"env_params.{name}", value)
        elif isinstance(self.env_params, numbers.Number | str | list | set):
            raise TypeError(
                f"env_params={self.env_params!r} has the wrong type; accepted: a mapping from "
                f"parameter names to values, or the environment's parameter object"
            )


def _check_env_param(name: str, value: Any) -> None:
    if not isinstance(value, Range):
        check_number(name, value, -math.inf, math.inf, "numbers, not NaN")
        return
    accepted = "finite numbers" if not isinstance(value, Choice) else "numbers, not NaN"
    for number in numbers_of(value):
        check_number(name, number, -math.inf, math.inf, accepted)


def as_float32(hp: Hyperparams | None) -> Hyperparams:
    """The hyperparameters as the algorithm takes them: float32 scalars; defaults for None.

    Raises: TypeError for anything else than Hyperparams; ValueError for one that is no scalar.

    With `jax_enable_x64` on, a float64 learning rate or discount would turn the loops it enters
    into float64.  The environment's parameters keep the types that the environment gave them.
    """
    hp = Hyperparams() if hp is None else hp
    if not isinstance(hp, Hyperparams):
        raise TypeError(f"hp={hp!r} is not an instance of Hyperparams; pass Hyperparams(...)")
    for name in _HYPERPARAM_RANGES:
        check_scalar(name, getattr(hp, name))
    cast = {name: jnp.asarray(getattr(hp, name), jnp.float32) for name in _HYPERPARAM_RANGES}
    return dataclasses.replace(hp, **cast)


def _flatten_hyperparams(hp: Hyperparams):
    names = [field.name for field in dataclasses.fields(hp)]
    return [(jax.tree_util.GetAttrKey(name), getattr(hp, name)) for name in names], None


def _unflatten_hyperparams(_: None, leaves: Any) -> Hyperparams:
    # Past __init__: inside jax transformations leaves may be any object at all.
    hp = object.__new__(Hyperparams)
    for field, leaf in zip(dataclasses.fields(Hyperparams), leaves, strict=True):
        object.__setattr__(hp, field.name, leaf)
    return hp


jax.tree_util.register_pytree_with_keys(Hyperparams, _flatten_hyperparams, _unflatten_hyperparams)

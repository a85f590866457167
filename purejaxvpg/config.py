"""A run's settings: `VPGConfig` (static) and `Hyperparams` (traced).

The compiler draws the line between them.  Whatever decides a shape, a length or a branch is in
`VPGConfig`: hashable, and one compilation per value.  Whatever only multiplies, adds or compares
is in `Hyperparams`: a pytree of numbers that may be traced, so that one compilation serves all
values and `jax.vmap` sweeps them.  No name stands in both.
"""

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from purejaxvpg.advantages import ESTIMATORS
from purejaxvpg.envs import canonical, flat_params
from purejaxvpg.fields import (
    LARGEST,
    are_axes,
    check_counters,
    check_hashable,
    check_number,
    check_scalar,
    check_type,
    documented,
    require,
    setting,
)

_LEAST = {"total_steps": 1, "num_envs": 1, "num_steps": 1, "n_step": 1, "eval_episodes": 1,
          "eval_steps": 1, "max_episode_steps": 1, "gradient_rows": 1, "value_iterations": 0,
          "eval_every": 0}  # fmt: skip

Rollout = Literal["segments", "episodes"]
ValueTarget = Literal["future_return", "lambda_return"]
Std = Literal["state", "free"]
Bounding = Literal["clip", "tanh"]
Schedule = Literal["constant", "linear", "cosine"]

OPTIMIZERS = ("adam", "sgd", "rmsprop")
NAMES = {"estimator": tuple(ESTIMATORS), "optimizer": OPTIMIZERS}
"""Fields that take a name or a function, and the names."""


@documented
@dataclasses.dataclass(frozen=True)
class VPGConfig:
    """Static choices of a run: shapes, lengths and branches.  Frozen, hashable, validated.

    Letters: T = num_steps, N = num_envs, U = num_updates = total_steps / (N T).

    The defaults are the same for every environment.  `purejaxvpg.presets.load(env)` gives a config
    and hyperparameters that were tuned for one.

    Raises (when made): ValueError or TypeError, one line that names the field.
    """

    # fmt: off
    env: Any = setting("CartPole-v1", "Name of an environment: gymnax's or registered, suite/name, module:Name, path/mine.py:Name (kept with its whole path); or an environment object in gymnax's style.")
    env_kwargs: Any = setting((), 'Constructor arguments of the environment (a mapping, such as {"size": 10}).')
    max_episode_steps: int | None = setting(None, "Time limit below the environment's own (its parameter max_steps_in_episode); an episode cut by it counts as truncated.")

    total_steps: int = setting(500_000, "Environment steps of the run, U*N*T; num_envs * num_steps must divide it.")
    num_envs: int = setting(8, "N, environments stepped side by side.")
    num_steps: int = setting(125, "T, steps that each environment takes per update.")
    rollout: Rollout = setting("segments", """segments: T steps of N continuing environments, the cut end bootstrapped with V.
        episodes: N whole episodes from fresh resets, masked after their end; the gradient is divided by the number of episodes.""")

    estimator: str | Callable[..., Any] = setting("gae", """The weight Psi_t of the policy gradient: a name of advantages.ESTIMATORS,
        or a hashable function (Trajectory, Discounts) -> Psi [T, N], or its module:name.""")
    n_step: int = setting(5, "Real rewards before V, for estimator n_step.")
    normalize_advantages: bool = setting(True, """Shift and scale each batch of weights to mean 0 and standard deviation 1. Takes the
        learning rate's scale off the reward's, and biases the gradient a little. Equal weights (standard deviation below 1e-5 of the
        mean) become 0; one row alone is left as it is.""")
    value_target: ValueTarget = setting("future_return", "The target that V is regressed on.")
    value_iterations: int = setting(10, "Gradient steps of the value function per update (the policy takes one).")

    network: Any = setting("auto", """Torso: mlp, cnn, auto (cnn for (H, W, C) observations), or a flax module that maps
        observations [B, ...] to features [B, F], or module:Name to import one or its class. Observations come as float32, bytes of
        pictures divided by 255; of several arrays as a dict by name.""")
    policy_obs: tuple[str, ...] | None = setting(None, "Parts of the observation, by name, that the policy sees (None: all).")
    value_obs: tuple[str, ...] | None = setting(None, "Parts of the observation, by name, that the value function sees (None: all).")
    hidden_sizes: tuple[int, ...] = setting((64, 64), "Widths of the hidden layers of mlp, and of the dense layers that follow cnn.")
    activation: str = setting("tanh", "Activation function, by its name in flax.linen.")
    kernel_init: Any = setting("orthogonal", "Initializer of the hidden layers: a name in flax.linen.initializers, an initializer, or its module:name.")
    shared_torso: bool = setting(False, """One torso for policy and value. It takes the policy's step, on the policy's loss plus value_coef
        times the value's; the value iterations then move the value head alone.""")

    std: Std = setting("state", "Gaussian policies: standard deviation from the network, or a free parameter.")
    init_std: float = setting(0.6, "Gaussian policies: standard deviation at the start, in halves of the action range.")
    min_std: float = setting(1e-3, "Gaussian policies: floor of the state-dependent standard deviation, same unit.")
    bounding: Bounding = setting("clip", "Gaussian policies: how actions stay within the space (see agent/policy.py).")

    normalize_obs: bool = setting(False, "Normalise observations by their running mean and variance.")
    obs_clip: float = setting(10.0, "Normalised observations are clipped to [-obs_clip, obs_clip].")
    normalize_rewards: bool = setting(False, "Divide rewards by the running standard deviation of the discounted return.")

    optimizer: str | Callable[..., Any] = setting("adam", """Gradient rule of policy and value: adam, sgd, rmsprop, or a hashable function
        learning_rate -> optax.GradientTransformation whose state holds arrays alone, or its module:name. Gradients are clipped before it.""")
    lr_schedule: Schedule = setting("constant", "Both learning rates over the run: constant, or down to zero (linear, cosine).")
    gradient_rows: int | None = setting(None, """Rows of a batch that the networks see at once; larger batches are taken in chunks (None:
        4,096 rows on a CPU, fewer of large observations, where they fit the cache, and 1,048,576 elsewhere).""")

    eval_every: int = setting(0, "Evaluate every so many updates inside the compiled run (0: never); must divide U.")
    eval_episodes: int = setting(16, "E, episodes of an evaluation.")
    eval_steps: int = setting(1000, "Longest evaluation episode, for environments that declare no time limit.")
    diagnostics: bool = setting(True, """Measure KL, policy-loss change and value loss after the step. Costs a forward pass of each
        network; where off, these metrics are None (in studies and files: NaN).""")
    # fmt: on

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = check_type(field, getattr(self, field.name), NAMES)
            object.__setattr__(self, field.name, canonical(value) if field.name == "env" else value)
        self._check_ranges()
        self._check_budget_and_estimator()
        check_counters(self)

    @property
    def num_updates(self) -> int:
        """U, updates of the run."""
        return self.total_steps // self.steps_per_update

    @property
    def steps_per_update(self) -> int:
        """N*T, environment steps of one update."""
        return self.num_envs * self.num_steps

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """Metrics that are None."""
        return () if self.diagnostics else ("kl", "policy_loss_change", "value_loss_after")

    def _check_ranges(self):
        for name, least in _LEAST.items():
            value, none = getattr(self, name), "None or " * (getattr(VPGConfig, name) is None)
            require(value is None or value >= least, self, name, f"{none}an integer >= {least}")
        for name in ("init_std", "obs_clip"):
            require(0 < getattr(self, name) < LARGEST, self, name, "a finite number > 0")
        require(0 <= self.min_std < self.init_std, self, "min_std", "in [0, init_std)")
        require(min(self.hidden_sizes, default=1) >= 1, self, "hidden_sizes", "integers >= 1")
        for name in ("env", "env_kwargs", "network", "kernel_init", *NAMES):
            check_hashable(self, name)

    def _check_budget_and_estimator(self):
        batch = self.num_envs * self.num_steps
        if self.total_steps % batch:
            below = self.total_steps // batch * batch
            nearest = f"{below:_} or {below + batch:_}" if below else f"{batch:_}"
            raise ValueError(
                f"num_steps={self.num_steps} with num_envs={self.num_envs} does not divide "
                f"total_steps={self.total_steps:_}; nearest budgets: {nearest}"
            )
        if self.eval_every and self.num_updates % self.eval_every:
            raise ValueError(
                f"eval_every={self.eval_every} does not divide the run's {self.num_updates} updates "
                f"(total_steps / (num_envs * num_steps)); choose a divisor, or 0"
            )
        whole = ("total_return", ESTIMATORS["total_return"])
        if self.estimator in whole and self.rollout != "episodes":
            raise ValueError(
                "estimator='total_return' needs whole episodes and rollout='segments' cuts them; "
                "pass rollout='episodes' or another estimator"
            )


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
        (dotted names reach inside others), or the environment's whole parameter object, or None for the defaults.""")
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
                check_number(f"env_params.{name}", value, -math.inf, math.inf, "numbers, not NaN")
        elif isinstance(self.env_params, numbers.Number | str):
            raise TypeError(
                f"env_params={self.env_params!r} has the wrong type; accepted: a mapping from "
                f"parameter names to values, or the environment's parameter object"
            )


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

"""What a run is made of: `VPGConfig` (static) and `Hyperparams` (traced).

The line between them is the line the compiler draws.  Whatever decides a shape, a length or a
branch is in `VPGConfig`: hashable, and one compilation per value.  Whatever only multiplies,
adds or compares is in `Hyperparams`: a pytree of numbers that may be traced, so that one
compilation serves all values and `jax.vmap` sweeps them.  No name stands in both.
"""

import dataclasses
import math
import numbers
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from purejaxvpg.advantages import Estimator, ValueTarget

Rollout = Literal["segments", "episodes"]
Std = Literal["state", "free"]
Bounding = Literal["clip", "tanh"]
Optimizer = Literal["adam", "sgd", "rmsprop"]
Schedule = Literal["constant", "linear", "cosine"]


@dataclasses.dataclass(frozen=True)
class VPGConfig:
    """Static choices of a run: shapes, lengths and branches.  Frozen, hashable, validated.

    Letters: T = num_steps, N = num_envs, U = num_updates = total_steps / (N T).

    Raises (when made): ValueError or TypeError, one line that names the field.
    """

    env: Any = "CartPole-v1"
    """Name of a registered environment, or an environment object in gymnax's style."""
    env_kwargs: Any = ()
    """Constructor arguments of the environment (a mapping, such as {"size": 10})."""
    max_episode_steps: int | None = None
    """Time limit on top of the environment's own; an episode cut by it counts as truncated."""

    total_steps: int = 500_000
    """Environment steps of the run, U*N*T; num_envs * num_steps must divide it."""
    num_envs: int = 8
    """N, environments stepped side by side."""
    num_steps: int = 125
    """T, steps that each environment takes per update."""
    rollout: Rollout = "segments"
    """segments: T steps of N continuing environments, the cut end bootstrapped with V.
    episodes: N whole episodes from fresh resets, masked after their end; the gradient is
    divided by the number of episodes."""

    estimator: Estimator = "gae"
    """The weight Psi_t of the policy gradient (see advantages.py)."""
    n_step: int = 5
    """Real rewards before V, for estimator n_step."""
    normalize_advantages: bool = True
    """Shift and scale each batch of weights to mean 0 and standard deviation 1 (which takes the
    learning rate's scale off the reward's, and biases the gradient a little)."""
    value_target: ValueTarget = "future_return"
    """What V is regressed on."""
    value_iterations: int = 10
    """Gradient steps of the value function per update (the policy takes one)."""

    network: Any = "auto"
    """Torso: mlp, cnn, auto (cnn for (H, W, C) observations), or a flax module that maps
    observations [B, ...] to features [B, F]."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of mlp, and of the dense layers that follow cnn."""
    activation: str = "tanh"
    """Activation function, by its name in flax.linen."""
    kernel_init: Any = "orthogonal"
    """Initializer of the hidden layers: a name in flax.linen.initializers, or an initializer."""
    shared_torso: bool = False
    """One torso for policy and value.  It takes the policy's step, on the policy's loss plus
    value_coef times the value's; the value iterations then move the value head alone."""

    std: Std = "state"
    """Gaussian policies: standard deviation from the network, or a free parameter."""
    init_std: float = 0.6
    """Gaussian policies: standard deviation at the start, in halves of the action range."""
    min_std: float = 1e-3
    """Gaussian policies: floor of the state-dependent standard deviation, same unit."""
    bounding: Bounding = "clip"
    """Gaussian policies: how actions stay within the space (see policy.py)."""

    normalize_obs: bool = False
    """Normalise observations by their running mean and variance."""
    obs_clip: float = 10.0
    """Normalised observations are clipped to [-obs_clip, obs_clip]."""
    normalize_rewards: bool = False
    """Divide rewards by the running standard deviation of the discounted return."""

    optimizer: Optimizer = "adam"
    """Gradient rule of policy and value."""
    lr_schedule: Schedule = "constant"
    """Both learning rates over the run: constant, or down to zero (linear, cosine)."""
    gradient_rows: int | None = None
    """Rows of a batch that the networks see at once; larger batches are taken in chunks (None:
    4,096 rows on a CPU, where they fit the cache, and 1,048,576 elsewhere)."""

    eval_every: int = 0
    """Evaluate every so many updates inside the compiled run (0: never); must divide U."""
    eval_episodes: int = 16
    """E, episodes of an evaluation."""
    eval_steps: int = 1000
    """Longest evaluation episode, for environments that declare no time limit."""
    diagnostics: bool = True
    """Measure KL, policy-loss change and value loss after the step.  Costs a forward pass of
    each network; where off, these metrics are NaN."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = _check_type(field, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        self._check_ranges()
        self._check_budget()
        self._check_combinations()

    @property
    def num_updates(self) -> int:
        """U, updates of the run."""
        return self.total_steps // self.steps_per_update

    @property
    def steps_per_update(self) -> int:
        """N*T, environment steps of one update."""
        return self.num_envs * self.num_steps

    def _check_ranges(self):
        for name in ("total_steps", "num_envs", "num_steps", "n_step", "eval_episodes",
                     "eval_steps"):  # fmt: skip
            _require(getattr(self, name) >= 1, self, name, "an integer >= 1")
        for name in ("value_iterations", "eval_every"):
            _require(getattr(self, name) >= 0, self, name, "an integer >= 0")
        for name in ("init_std", "obs_clip"):
            value = getattr(self, name)
            _require(0 < value < math.inf, self, name, "a finite number > 0")
        _require(0 <= self.min_std < self.init_std, self, "min_std", "in [0, init_std)")
        for name in ("max_episode_steps", "gradient_rows"):
            value = getattr(self, name)
            _require(value is None or value >= 1, self, name, "None or an integer >= 1")
        sizes = self.hidden_sizes
        _require(all(size >= 1 for size in sizes), self, "hidden_sizes", "integers >= 1")
        for name in ("env", "env_kwargs", "network", "kernel_init"):
            _check_hashable(self, name)

    def _check_budget(self):
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
                f"eval_every={self.eval_every} does not divide the run's {self.num_updates} "
                f"updates (total_steps / (num_envs * num_steps)); choose a divisor, or 0"
            )

    def _check_combinations(self):
        if self.estimator == "total_return" and self.rollout != "episodes":
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


@dataclasses.dataclass(frozen=True)
class Hyperparams:
    """Traced numbers of a run: a pytree whose leaves may be swept with `jax.vmap`.

    Leaves are scalars (or, outside `train`, arrays with leading sweep axes).  Concrete values
    are checked when the object is made; traced ones cannot be, and are taken on trust.

    Raises (when made): ValueError or TypeError, one line that names the field.
    """

    policy_lr: ArrayLike = 3e-3
    """Learning rate of the policy."""
    value_lr: ArrayLike = 3e-3
    """Learning rate of the value function."""
    gamma: ArrayLike = 0.99
    """Discount per step."""
    gae_lambda: ArrayLike = 0.95
    """Weight of longer n-step estimates (gae and lambda_return)."""
    entropy_coef: ArrayLike = 0.0
    """Weight of the entropy bonus in the policy's loss."""
    value_coef: ArrayLike = 0.5
    """Weight of the value's loss in the joint step (shared_torso only)."""
    max_grad_norm: ArrayLike = 0.5
    """Clip each gradient, of policy and of value, to this global norm (inf: never)."""
    adam_eps: ArrayLike = 1e-5
    """Epsilon of Adam and RMSProp."""
    greedy_start: ArrayLike = 0.0
    """Fraction of greedy actions at the first update; any above 0 biases the gradient."""
    greedy_end: ArrayLike = 0.0
    """Fraction of greedy actions at the last update, reached linearly."""
    env_params: Any = None
    """Environment parameters: a mapping of those that differ from the environment's defaults,
    or the environment's whole parameter object, or None for the defaults."""

    def __post_init__(self):
        for name, (low, high, accepted) in _HYPERPARAM_RANGES.items():
            value = getattr(self, name)
            _check_number(name, value, low, high, accepted)
            if isinstance(value, int):  # of another type than 0.003, it would compile anew
                object.__setattr__(self, name, float(value))
        if isinstance(self.env_params, Mapping):
            object.__setattr__(self, "env_params", dict(self.env_params))
            for name, value in self.env_params.items():
                _check_number(f"env_params.{name}", value, -math.inf, math.inf, "numbers, not NaN")
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
        shape = jnp.shape(getattr(hp, name))
        if shape:  # [N] would broadcast over the environments, and nothing would tell
            raise ValueError(
                f"{name} has shape {shape} where one run takes a scalar; sweep it with jax.vmap"
            )
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


def _check_number(name: str, value: Any, low: float, high: float, accepted: str) -> None:
    """A concrete value must be numeric, not NaN and in range; a tracer passes."""
    if isinstance(value, Tracer):
        return
    if isinstance(value, list | tuple):  # to jax a list is not an array, but as many leaves
        raise TypeError(f"{name}={value!r} is a list; pass an array (numpy.asarray)")
    try:
        array = np.asarray(value)
    except Exception:
        array = np.asarray(None)
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise TypeError(f"{name}={value!r} is not a number; {name} accepts {accepted}")
    array = array.astype(np.float64)
    bad = np.isnan(array) | (array < low) | (array > high)
    if "finite" in accepted:
        bad |= np.isinf(array)
    if "> 0" in accepted:
        bad |= array <= 0
    if bad.any():
        given = array[bad].flat[0]
        raise ValueError(f"{name}={given:g} is out of range; {name} accepts {accepted}")


def _require(condition: bool, config: VPGConfig, name: str, accepted: str) -> None:
    if not condition:
        raise ValueError(f"{name}={getattr(config, name)!r} is out of range; accepted: {accepted}")


def _check_hashable(config: VPGConfig, name: str) -> None:
    value = getattr(config, name)
    try:
        hash(value)
    except TypeError:
        raise TypeError(
            f"{name}={value!r} is not hashable, and a static choice must be; use tuples instead "
            f"of lists, and functions or frozen modules instead of mutable objects"
        ) from None


def _check_type(field: dataclasses.Field, value: Any) -> Any:
    """The value in its field's type (numpy integers and whole floats become int), or TypeError."""
    kind = field.type
    wrong = TypeError(f"{field.name}={value!r} has the wrong type; accepted: {_describe(kind)}")
    if field.name == "env_kwargs":
        return _sorted_pairs(value)
    if kind is Any:
        return value
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            choices = ", ".join(get_args(kind))
            raise ValueError(f"{field.name}={value!r} is unknown; choose one of: {choices}")
        return value
    if kind is bool:
        if not isinstance(value, bool | np.bool_):
            raise wrong
        return bool(value)
    if kind is str:
        if not isinstance(value, str):
            raise wrong
        return value
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise wrong
        return float(value)
    if kind == int | None and value is None:
        return None
    if kind in (int, int | None):
        return _whole(value, wrong)
    if get_origin(kind) is tuple:
        if not isinstance(value, tuple | list):
            raise wrong
        return tuple(_whole(item, wrong) for item in value)
    raise AssertionError(f"field {field.name} has a type that is not checked: {kind}")


def _sorted_pairs(value: Any) -> tuple[tuple[str, Any], ...]:
    """A mapping, or the pairs that were made of one, as sorted pairs."""
    pairs = tuple(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, tuple) or not all(
        isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs
    ):
        raise TypeError(
            f"env_kwargs={value!r} has the wrong type; accepted: a mapping from argument names to "
            f"values"
        )
    return tuple(sorted(pairs, key=lambda pair: pair[0]))


def _whole(value: Any, wrong: TypeError) -> int:
    is_number = isinstance(value, int | float | np.integer | np.floating)
    if not is_number or isinstance(value, bool) or not float(value).is_integer():
        raise wrong
    return int(value)


def _describe(kind: Any) -> str:
    if kind == int | None:
        return "a whole number or None"
    names = {int: "a whole number", float: "a number", bool: "True or False", str: "a string"}
    return names.get(kind, "a tuple of whole numbers")

"""A run's settings: `VPGConfig` (static) and `Hyperparams` (traced).

The compiler draws the line between them.  Whatever decides a shape, a length or a branch is in
`VPGConfig`: hashable, and one compilation per value.  Whatever only multiplies, adds or compares
is in `Hyperparams`: a pytree of numbers that may be traced, so that one compilation serves all
values and `jax.vmap` sweeps them.  No name stands in both.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from purejaxvpg.advantages import ESTIMATORS
from purejaxvpg.envs import canonical
from purejaxvpg.field_types import check_type
from purejaxvpg.fields import (
    LARGEST,
    check_counters,
    check_hashable,
    documented,
    require,
    setting,
)
from purejaxvpg.hyperparams import Hyperparams as Hyperparams
from purejaxvpg.hyperparams import as_float32 as as_float32

_LEAST = {"total_steps": 1, "num_envs": 1, "num_steps": 1, "n_step": 1, "eval_episodes": 1,
          "eval_steps": 1, "max_episode_steps": 1, "gradient_rows": 1, "value_iterations": 0,
          "eval_every": 0, "memory_size": 1, "renewal": 1}  # fmt: skip

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
    renewal: int | None = setting(None, """Steps of a rollout after which reset states drawn ahead are drawn anew, all together (None: 8 on a
        CPU and 1 elsewhere; where a reset takes far longer than a step, whenever all are used). They are drawn earlier where they
        do not suffice; each is used once.""")
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
        observations [B, ...] to features [B, F], or module:Name to import one or its class. Of flax.nnx: the class, or a function of
        rngs that makes a module. Observations come as float32, bytes of pictures divided by 255; of several arrays as a dict by
        dotted name.""")
    policy_obs: tuple[str, ...] | None = setting(None, "Parts of the observation, by name, that the policy sees (None: all).")
    value_obs: tuple[str, ...] | None = setting(None, "Parts of the observation, by name, that the value function sees (None: all).")
    memory: Any = setting(None, "Recurrent cell after the torso: gru, lstm, a flax.linen cell, or module:Name to import one.")
    memory_size: int = setting(64, "Features of gru and lstm.")
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
        for name in ("env", "env_kwargs", "network", "memory", "kernel_init", *NAMES):
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

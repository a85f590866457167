"""N environments that take random actions for some steps, to be judged by `check`.

A loop on the host: only the environment's own reset and step are compiled, which takes least
time.  It keeps sums and extremes alone, so that large observations cost no more memory than N.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purejaxvpg.compute import select, untuned
from purejaxvpg.envs.params import get_param, param_names, replace_params
from purejaxvpg.envs.protocol import Environment, Masked
from purejaxvpg.envs.spaces import leaves_by_name, random_actions

NUM_ENVS = 16  # N
SHORT_LIMIT = 6  # steps
LIMITS = ("max_steps_in_episode", "max_episode_steps", "max_steps", "time_limit", "episode_length")


Named = dict[str, np.ndarray]  # an observation's arrays by name


def named(obs: Any) -> Named:
    """Arrays of an observation by name; of a single array "" is the name."""
    return leaves_by_name(obs.obs if isinstance(obs, Masked) else obs)


class Trial:
    """T steps of N environments."""

    def __init__(self, first_obs: "Named", first_states: list[np.ndarray]):
        self.first_obs = first_obs  # [N, ...] each, after N resets
        self._state0 = [leaf[0] for leaf in first_states]
        # Of each leaf's elements: the same after each of the N resets?
        self.state_fixed = [_same(leaf, leaf[:1]).all(0) for leaf in first_states]
        self.obs_low = {name: x.min(0) for name, x in first_obs.items()}
        self.obs_high = {name: x.max(0) for name, x in first_obs.items()}
        self.obs_finite = all(np.isfinite(x).all() for x in first_obs.values())
        self.rewards_finite = True
        # Between ends: did an observation, or an element of the state, leave its first value?
        self.obs_moved = False
        self.state_moved = [np.zeros(x.shape, bool) for x in self._state0]
        # At every end: was final_obs the observation that follows, was that the first reset's, and
        # was the state the first reset's?
        self.final_is_next = self.next_is_first = True
        self.state_back = [np.ones(x.shape, bool) for x in self._state0]
        self._ends: list[tuple[np.ndarray, ...]] = []

    def see(self, out: Any, states: list[np.ndarray], lengths: np.ndarray) -> None:
        """Take account of one step.  lengths: [N], steps of each episode, this one included."""
        done = out.terminated | out.truncated
        obs, final_obs = named(out.obs), named(out.final_obs)
        self.rewards_finite &= bool(np.isfinite(out.reward).all())
        for name, first_obs in self.first_obs.items():
            seen = np.concatenate([obs[name], final_obs[name]])
            self.obs_low[name] = np.minimum(self.obs_low[name], seen.min(0))
            self.obs_high[name] = np.maximum(self.obs_high[name], seen.max(0))
            self.obs_finite &= bool(np.isfinite(seen).all())
            first = _same(obs[name], first_obs[:1])
            self.obs_moved |= not first[~done].all()
            self.final_is_next &= bool(_same(obs[name], final_obs[name])[done].all())
            self.next_is_first &= bool(first[done].all())
        for i, (leaf, leaf0) in enumerate(zip(states, self._state0, strict=True)):
            as_first = _same(leaf, leaf0[None])
            self.state_moved[i] |= ~as_first[~done].all(0)
            self.state_back[i] &= as_first[done].all(0)
        self._ends.append((out.terminated, out.truncated, lengths))

    @property
    def ends(self) -> "Ends":
        """Ends of the episodes."""
        return Ends(*map(np.stack, zip(*self._ends, strict=True)))


class Ends(NamedTuple):
    """Ends of the episodes of a trial."""

    terminated: np.ndarray  # [T, N] bool
    truncated: np.ndarray  # [T, N] bool
    lengths: np.ndarray  # [T, N] int, steps of the episode so far

    @property
    def done(self) -> np.ndarray:
        """Either of the two `[T, N]`."""
        return self.terminated | self.truncated


def trials(env: Environment, num_steps: int) -> tuple[Trial, Trial | None]:
    """A trial, and one with a short time limit if the parameters have a limit.

    Both use the same two compiled functions.
    """
    defaults = env.default_params
    limits = [name for name in param_names(defaults) if name in LIMITS]
    if limits:
        lower = {name: _like(get_param(defaults, name), SHORT_LIMIT) for name in limits}
        compiled = _compiled(env, traced=True)
        try:
            short = _trial(env, 8 * SHORT_LIMIT, replace_params(defaults, lower), compiled)
            return _trial(env, num_steps, defaults, compiled), short
        except Exception:  # code that branches on a parameter takes no traced one
            pass
    return _trial(env, num_steps, defaults, _compiled(env, traced=False)), None


def _like(default: Any, value: int) -> Any:
    return type(default)(value) if isinstance(default, int | float) else default * 0 + value


def _compiled(env: Environment, traced: bool) -> tuple[Any, Any]:
    """Reset and step of N environments, compiled.  Args: traced: take parameters as arguments."""

    def keys(seeds: Any) -> Any:
        return jax.vmap(jax.random.key)(seeds)

    def reset(seeds: Any, params: Any) -> Any:
        params = params if traced else env.default_params
        obs, state = jax.vmap(env.reset, in_axes=(0, None))(keys(seeds), params)
        return obs, state, _leaves(state)

    def step(seeds: Any, state: Any, ended: Any, fresh: Any, actions: Any, params: Any) -> Any:
        params = params if traced else env.default_params
        if not env.resets_itself:
            state = select(ended, fresh, state)
        out = jax.vmap(env.step, in_axes=(0, 0, 0, None))(keys(seeds), state, actions, params)
        return out, _leaves(out.state)

    options = untuned(jax.local_devices()[0])
    return jax.jit(reset, compiler_options=options), jax.jit(step, compiler_options=options)


def _trial(env: Environment, num_steps: int, params: Any, compiled: tuple[Any, Any]) -> Trial:
    reset, step = compiled
    rng = np.random.default_rng(0)

    def seeds() -> np.ndarray:
        return rng.integers(0, 2**32, NUM_ENVS, np.uint32)

    obs, state, leaves = reset(seeds(), params)
    fresh, ended, lengths = state, np.zeros(NUM_ENVS, bool), np.zeros(NUM_ENVS, int)
    obs, leaves = jax.device_get((obs, leaves))
    trial = Trial(named(obs), leaves)
    space = env.action_space(params)
    for _ in range(num_steps):
        actions = random_actions(space, rng, NUM_ENVS, getattr(obs, "mask", None))
        out, leaves = step(seeds(), state, ended, fresh, actions, params)
        state = out.state
        out, leaves = jax.device_get((out._replace(state=None), leaves))
        lengths = np.where(ended, 0, lengths) + 1
        trial.see(out, leaves, lengths)
        obs, ended = out.obs, out.terminated | out.truncated
        if ended.any() and not env.resets_itself:
            first, fresh, _ = reset(seeds(), params)
            obs = select(ended, first, obs) if isinstance(obs, Masked) else obs
    return trial


def _leaves(state: Any) -> list[Any]:
    """Leaves of a state, keys as their numbers."""
    is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)  # noqa: E731
    return [jax.random.key_data(x) if is_key(x) else x for x in jax.tree.leaves(state)]


def _same(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Equal elements; NaN equals NaN."""
    return (x == y) | ((x != x) & (y != y))

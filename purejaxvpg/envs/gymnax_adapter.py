"""gymnax environments, and any object in their style, as `Environment`.

An object in gymnax's style has

    default_params                            a pytree (gymnax: a flax dataclass)
    reset(key, params)                        -> (obs, state)
    step(key, state, action, params)          -> (obs, state, reward, terminated, truncated, info)
                                                 with info["final_observation"]; resets itself
    action_space(params), observation_space(params)

Subclasses of gymnax's `Environment` that keep its `step` are taken apart instead into
`step_env`, `reset_env` and `is_truncated`, so that resetting is left to `vectorize` and the
observation before a reset need not be carried in a dictionary.
"""

import inspect
import struct
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from purejaxvpg.envs.protocol import (
    Environment,
    Step,
    check_contract,
    param_names,
    suggest,
    zero_action,
)
from purejaxvpg.extras import loaded_when_used

# gymnax imports these for pictures that nothing here draws, and they take a second to load.
with loaded_when_used("seaborn", "matplotlib.pyplot"):
    import gymnax
    from gymnax.environments import spaces
    from gymnax.environments.environment import Environment as GymnaxEnvironment

REGISTERED: list[str] = gymnax.registered_envs  # gymnax updates this list in place

# Environments that download their data when they are made.
DOWNLOADS = ("MNISTBandit-bsuite",)


def make(name: str, /, **kwargs: Any) -> Environment:
    """A registered gymnax environment.

    Args:
      kwargs: arguments of its constructor (such as DeepSea's size), or fields of its parameters
        (such as CartPole's gravity), which become its defaults.

    Raises: ValueError for a keyword that neither knows, or a value that neither takes;
    RuntimeError if its data cannot be loaded (MNISTBandit-bsuite downloads them).
    """
    instance, params = _construct(name, {})
    accepted = inspect.signature(type(instance)).parameters
    arguments = {key: value for key, value in kwargs.items() if key in accepted}
    if arguments:
        instance, params = _construct(name, arguments)
    fields = {key: value for key, value in kwargs.items() if key not in accepted}
    names = [*param_names(params), *accepted]
    for key, value in fields.items():
        if key not in names:
            raise ValueError(f"{name} has no parameter or argument {key!r}; {suggest(key, names)}")
        if isinstance(value, str):
            raise ValueError(f"{name}'s parameter {key}={value!r} is not a number")
    return adapt(instance, name, params.replace(**fields) if fields else params)


def _construct(name: str, arguments: dict[str, Any]) -> tuple[Any, Any]:
    try:
        return gymnax.make(name, **arguments)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise RuntimeError(
            f"{name} could not load its data ({error}): it downloads them when it is made; make "
            f"it once where there is a network, or choose another environment"
        ) from error
    except (TypeError, ValueError) as error:
        first_line = str(error).splitlines()[0]
        raise ValueError(f"{name} cannot be made with {arguments}: {first_line}") from error


def adapt(instance: Any, name: str | None = None, params: Any = None) -> Environment:
    """An object in gymnax's style as an `Environment`; its contract is checked here, by tracing.

    Args:
      instance: the object.  name: how to call it; its own name if None.
      params: its default parameters; `instance.default_params` if None.

    Raises: TypeError if it lacks a method; ValueError, naming what was returned and what is
    expected, if `reset` or `step` break the contract.
    """
    for attribute in ("default_params", "reset", "step", "action_space", "observation_space"):
        if not hasattr(instance, attribute):
            raise TypeError(
                f"{type(instance).__name__} is no environment in gymnax's style: it has no "
                f"{attribute!r} (expected: default_params, reset, step, action_space, "
                f"observation_space)"
            )
    name = name or str(getattr(instance, "name", type(instance).__name__))
    params = instance.default_params if params is None else params
    inherited = _keeps_gymnax_step(instance)
    raw_reset = instance.reset_env if inherited else instance.reset
    raw_step = _step_in_parts(instance, name) if inherited else _step_whole(instance, name)
    encode = _observation_encoder(instance.observation_space(params))

    def reset(key: Array, params: Any) -> tuple[Array, Any]:
        obs, state = raw_reset(key, params)
        action = zero_action(instance.action_space(params))
        return encode(obs), _cast(state, _state_types(name, raw_reset, raw_step, action, params))

    def step(key: Array, state: Any, action: Array, params: Any) -> Step:
        out = raw_step(key, state, action, params)
        terminated = jnp.asarray(out.terminated, bool)
        return Step(
            state=_cast(out.state, jax.tree.map(lambda x: x.dtype, state)),
            obs=encode(out.obs),
            final_obs=encode(out.final_obs),
            reward=jnp.asarray(out.reward, jnp.float32),
            terminated=terminated,
            truncated=jnp.asarray(out.truncated, bool) & ~terminated,
        )

    obs_shape = check_contract(
        name, reset, step, params, zero_action(instance.action_space(params))
    )
    return Environment(
        name=name,
        reset=reset,
        step=step,
        default_params=params,
        action_space=instance.action_space,
        observation_space=instance.observation_space,
        obs_shape=obs_shape,
        resets_itself=not inherited,
    )


def _state_types(name: str, reset: Any, step: Any, action: Array, params: Any) -> Any:
    """A dtype for each leaf of the state, the wider of the two that reset and step give.

    reset may give int where step gives float (gymnax's SimpleBandit), and Python numbers are weakly
    typed; a loop needs one type for both.
    """

    def both(key: Array) -> tuple[Any, Any]:
        _, before = reset(key, params)
        return before, step(key, before, action, params).state

    before, after = jax.eval_shape(both, jax.eval_shape(lambda: jax.random.key(0)))
    _check_same_structure(name, before, after)
    return jax.tree.map(lambda x, y: _wider(x.dtype, y.dtype), before, after)


def _keeps_gymnax_step(instance: Any) -> bool:
    # Not `hasattr(step_env)`: gymnax's wrappers forward it to the environment they wrap, and
    # taking that would silently skip the wrapper.
    if not isinstance(instance, GymnaxEnvironment):
        return False
    return all(
        inspect.getattr_static(type(instance), method)
        is inspect.getattr_static(GymnaxEnvironment, method)
        for method in ("step", "reset")
    )


def _step_in_parts(instance: Any, name: str) -> Callable[..., Step]:
    def step(key: Array, state: Any, action: Array, params: Any) -> Step:
        out = instance.step_env(key, state, action, params)
        obs, state, reward, terminated, _ = _unpack(name, "step_env", out, _STEP_ENV_VALUES)
        truncated = instance.is_truncated(state, params)
        return Step(state, obs, obs, reward, terminated, truncated)

    return step


def _step_whole(instance: Any, name: str) -> Callable[..., Step]:
    def step(key: Array, state: Any, action: Array, params: Any) -> Step:
        out = instance.step(key, state, action, params)
        obs, state, reward, terminated, truncated, info = _unpack(name, "step", out, _STEP_VALUES)
        if "final_observation" not in info:
            raise ValueError(
                f"{name}.step returned no info['final_observation']; put there the observation "
                f"after the step and before any reset, as gymnax >= 1.0 does"
            )
        return Step(state, obs, info["final_observation"], reward, terminated, truncated)

    return step


_STEP_VALUES = "obs, state, reward, terminated, truncated, info"
_STEP_ENV_VALUES = "obs, state, reward, terminated, info"


def _unpack(name: str, method: str, values: Any, expected: str) -> Any:
    count = len(expected.split(","))
    given = len(values) if isinstance(values, tuple | list) else 1
    if given != count:
        raise ValueError(
            f"{name}.{method} returned {given} values; expected {count} (gymnax >= 1.0): {expected}"
        )
    return values


def _check_same_structure(name: str, before: Any, after: Any) -> None:
    shapes = [
        [(jax.tree_util.keystr(path), leaf.shape) for path, leaf in leaves]
        for leaves in (jax.tree_util.tree_leaves_with_path(x) for x in (before, after))
    ]
    if jax.tree.structure(before) != jax.tree.structure(after) or shapes[0] != shapes[1]:
        raise ValueError(
            f"{name}.step returned a state of another structure or shape than reset: "
            f"{shapes[1]} instead of {shapes[0]}"
        )


def _observation_encoder(space: Any) -> Callable[[Any], Array]:
    """Observations as float32 arrays; one-hot for a Discrete space."""
    if isinstance(space, spaces.Discrete):
        return lambda obs: jax.nn.one_hot(obs, space.n, dtype=jnp.float32)
    if isinstance(space, spaces.Dict | spaces.Tuple):
        raise ValueError(
            f"observation space {space} is not supported; flatten it to one array (a Box) in the "
            f"environment"
        )
    return lambda obs: jnp.asarray(obs, jnp.float32)


def _wider(a: Any, b: Any) -> Any:
    return a if a == b else jnp.promote_types(a, b)


def _cast(tree: Any, dtypes: Any) -> Any:
    def cast(x: Any, dtype: Any) -> Array:
        if jnp.issubdtype(dtype, jax.dtypes.prng_key):
            return x
        return jnp.asarray(x, dtype)  # an explicit dtype also makes weak types strong

    return jax.tree.map(cast, tree, dtypes)

"""Types and contract of an environment, once for all kinds of them; nothing is run, only traced.

`settle` is between what an adapter or a user hands over and everything else: what passes it
returns observations of one structure and type, float32 rewards, boolean flags that exclude each
other, and a state whose types no step changes.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from purejaxvpg.envs.faults import user_code
from purejaxvpg.envs.observations import NARROWER, check_obs_shape, same_everywhere, typed
from purejaxvpg.envs.protocol import BrokenContract, Environment, Masked, Step
from purejaxvpg.envs.spaces import cast_action, check_mask, mask_tree, zero_action


class Settled:
    """A reset or step that `settle` made, and the environment that it made it of."""

    def __init__(self, function: Callable[..., Any], source: Environment):
        self.function, self.source = function, source
        self.__name__ = function.__name__

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def settle(env: Environment) -> Environment:
    """The environment with the types of the protocol; itself, if it has them by this function.

    Raises: BrokenContract, a ValueError in one line, that names what was returned and what is
    expected; for an exception of the environment's own code, its file and line.
    """
    obs, state, out = _traced(env)
    _check_flags(env.name, out)
    _common_types(env.name, state, out.state)
    with user_code(env.name):
        space = env.observation_space(env.default_params)
    with_types = functools.partial(typed, env.name, space)
    returned = (obs, out.obs, out.final_obs)
    observed = same_everywhere(env, *(jax.eval_shape(with_types, x) for x in returned))
    check_obs_shape(env, observed)

    def settled(obs: Any) -> Any:
        return jax.tree.map(lambda x, like: x.astype(like.dtype), with_types(obs), observed)

    shape = getattr(observed, "shape", None)
    if _is_settled(env):
        as_seen = (env.obs_shape, env.observed) == (shape, observed)
        return env if as_seen else env._replace(obs_shape=shape, observed=observed)
    _check_action_mask(env, state)

    def with_mask(obs: Any, state: Any, params: Any) -> Any:
        if env.action_mask is None:
            return obs
        mask = in_width_that_fits(env.action_mask, state, params)
        return Masked(obs, mask_tree(env.action_space(params), mask))

    def reset(key: Array, params: Any) -> tuple[Any, Any]:
        obs, state = in_width_that_fits(env.reset, key, params)
        state = _cast(state, _state_types(env, params))
        return with_mask(settled(obs), state, params), state

    def step(key: Array, state: Any, action: Any, params: Any) -> Step:
        action = cast_action(env.action_space(params), action)
        out = in_width_that_fits(env.step, key, _copy(state), action, params)
        state = _cast(out.state, jax.tree.map(lambda x: x.dtype, state))
        terminated = jnp.asarray(out.terminated, bool)
        return Step(
            state=state,
            obs=with_mask(settled(out.obs), state, params),
            final_obs=settled(out.final_obs),
            reward=jnp.asarray(out.reward, jnp.float32),
            terminated=terminated,
            truncated=jnp.asarray(out.truncated, bool) & ~terminated,
        )

    return env._replace(
        reset=Settled(reset, env),
        step=Settled(step, env),
        obs_shape=shape,
        observed=observed,
    )


def _is_settled(env: Environment) -> bool:
    reset, step = env.reset, env.step
    both = isinstance(reset, Settled) and isinstance(step, Settled)
    return both and reset.source is step.source  # type: ignore[union-attr]


# ------------------------------------------------------------------------------------- TYPES


def in_width_that_fits(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)`, in 32 bits where `jax_enable_x64` breaks it.

    Much code for environments mixes types that are the same without x64 and differ with it (a
    `lax.select` of an int32 that is written out and the int64 of `jnp.array([1])`).
    """
    try:
        return function(*arguments)
    except (TypeError, FutureWarning) as error:  # a warning, where warnings are errors
        if not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
            raise
        with jax.enable_x64(False):
            try:
                return function(*jax.tree.map(_narrow, arguments))
            except TypeError:
                raise error from None


def _narrow(x: Any) -> Any:
    dtype = getattr(x, "dtype", None)
    return jnp.asarray(x, NARROWER[str(dtype)]) if str(dtype) in NARROWER else x


def _state_types(env: Environment, params: Any) -> Any:
    """A dtype for each leaf of the state, the wider of the two that reset and step give.

    reset may give int where step gives float (gymnax's SimpleBandit), and Python numbers are weakly
    typed; a loop needs one type for both.
    """
    _, before, out = jax.eval_shape(lambda key: _first_step(env, key, params), _some_key())
    return _common_types(env.name, before, out.state)


def _first_step(env: Environment, key: Array, params: Any) -> Any:
    """Observation and state after a reset, and the `Step` that follows."""
    start = in_width_that_fits(env.reset, key, params)
    if not isinstance(start, tuple | list) or len(start) != 2:
        raise BrokenContract(f"{env.name}.reset returned {_many(start)}; expected 2: obs, state")
    obs, state = start
    action = zero_action(env.action_space(params))
    out: Any = in_width_that_fits(env.step, key, _copy(state), action, params)
    if not isinstance(out, tuple) or getattr(out, "_fields", None) != Step._fields:
        raise BrokenContract(
            f"{env.name}.step returned {_many(out)}; expected a Step({', '.join(Step._fields)})"
        )
    return obs, state, out


def _copy(tree: Any) -> Any:
    """The same leaves in new dicts: a step may write into one that it is given."""
    return jax.tree.map(lambda x: x, tree)


def _many(values: Any) -> str:
    return f"{len(values) if isinstance(values, tuple | list) else 1} values"


def _some_key() -> Any:
    return jax.eval_shape(lambda: jax.random.key(0))


def _common_types(name: str, before: Any, after: Any) -> Any:
    shapes = [
        [(jax.tree_util.keystr(path), leaf.shape) for path, leaf in leaves]
        for leaves in (jax.tree_util.tree_leaves_with_path(x) for x in (before, after))
    ]
    if jax.tree.structure(before) != jax.tree.structure(after) or shapes[0] != shapes[1]:
        raise BrokenContract(
            f"{name}.step returned a state of another structure or shape than reset: "
            f"{shapes[1]} instead of {shapes[0]}"
        )

    def wider(path: Any, x: Any, y: Any) -> Any:
        keys = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in (x, y)]
        if x.dtype == y.dtype:
            return x.dtype
        if any(keys):
            raise BrokenContract(
                f"{name}.step returned a state whose {jax.tree_util.keystr(path)} is {y.dtype}, "
                f"and reset one where it is {x.dtype}; make both by jax.random.key"
            )
        return jnp.promote_types(x.dtype, y.dtype)

    return jax.tree_util.tree_map_with_path(wider, before, after)


def _cast(tree: Any, dtypes: Any) -> Any:
    def cast(x: Any, dtype: Any) -> Array:
        if jnp.issubdtype(dtype, jax.dtypes.prng_key):
            return x
        return jnp.asarray(x, dtype)  # an explicit dtype also makes weak types strong

    return jax.tree.map(cast, tree, dtypes)


# ---------------------------------------------------------------------------------- CONTRACT


def _traced(env: Environment) -> tuple[Any, Any, Step]:
    """Shapes and types that reset and step return."""
    with user_code(env.name):
        return jax.eval_shape(lambda key: _first_step(env, key, env.default_params), _some_key())


def _check_flags(name: str, out: Step) -> None:
    for field in ("reward", "terminated", "truncated"):
        value = getattr(out, field)
        if value.shape != ():
            raise BrokenContract(
                f"{name}.step returned {field} of shape {value.shape}; expected a scalar, shape () "
                f"(squeeze it: an extra axis would broadcast [N] to [N, N])"
            )
        if field != "reward" and value.dtype.kind not in "biu":
            raise BrokenContract(
                f"{name}.step returned {field} of type {value.dtype}; expected bool (compare it: "
                f"{field} > 0.5)"
            )


def _check_action_mask(env: Environment, state: Any) -> None:
    if env.action_mask is None:
        return
    with user_code(env.name):
        mask = jax.eval_shape(lambda s: env.action_mask(s, env.default_params), state)  # type: ignore[misc]
        fault = check_mask(env.action_space(env.default_params), mask)
    if fault:
        raise BrokenContract(f"{env.name}.action_mask returned {fault}")

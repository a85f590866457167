"""A torso as pure functions of its variables, whether it is a module of flax.linen or of flax.nnx.

A module of nnx holds its arrays and changes, so a config has its maker in place of the module: a
class of nnx, or a function of `rngs` that makes one.  It is made once for the first variables; when
it is applied, its structure is made again without arrays and given the variables of the state.
(flax's own bridge, `nnx.bridge.ToLinen`, would drop what a BatchNorm writes and let a Dropout draw
the same numbers in every step, both without a word.)

Each `nnx.Param` is trained, under its path in the module.  Variables of any other type are carried
along in a collection with the name of that type.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import errors
from flax.core import unfreeze
from jax import Array

from purejaxvpg.envs.protocol import BrokenContract
from purejaxvpg.variables import TRAINED

FIXED = (
    "a torso changes no collection (BatchNorm takes use_running_average=True) and draws no random "
    "numbers (Dropout takes deterministic=True)"
)


class Torso(NamedTuple):
    """Observations as networks see them -> features `[B, F]`.

    `init` and `apply` raise BrokenContract, in one line, for a module that breaks its contract.
    """

    name: str
    init: Callable[[Array, Any], Any]  # (key, obs [B, ...]) -> variables
    apply: Callable[[Any, Any], Any]  # (variables, obs [B, ...]) -> [B, F], if it is right


def name_of(network: Any) -> str:
    """A network's name for messages: that of its class, or of the function that makes it."""
    network = network.func if isinstance(network, functools.partial) else network
    return getattr(network, "__name__", type(network).__name__)


# -------------------------------------------------------------------------------------- LINEN


def of_linen(module: nn.Module) -> Torso:
    """The torso of a module of flax.linen."""
    name = type(module).__name__

    def refused(error: Exception) -> BrokenContract:
        return BrokenContract(f"network {name} cannot be applied: {_sentence(error)}; {FIXED}")

    def init(key: Array, obs: Any) -> Any:
        try:
            return nn.unbox(unfreeze(module.init(key, obs)))
        except errors.FlaxError as error:
            raise refused(error) from None

    def apply(variables: Any, obs: Any) -> Any:
        try:
            return module.apply(variables, obs)
        except errors.FlaxError as error:
            raise refused(error) from None

    return Torso(name, init, apply)


def _sentence(error: Exception) -> str:
    """The first sentence of flax's message."""
    return " ".join(str(error).split(" (http")[0].split()).rstrip(".")


# ---------------------------------------------------------------------------------------- NNX


def is_nnx_module(value: Any) -> bool:
    """True for a module of flax.nnx, which a config does not take."""
    return not isinstance(value, type) and _of_nnx(type(value))


def is_nnx_maker(value: Any) -> bool:
    """True for a class of flax.nnx, and for a function with an argument `rngs`."""
    if isinstance(value, type):
        return _of_nnx(value)
    return callable(value) and not _of_nnx(type(value)) and "rngs" in _arguments(value)


def missing_arguments(maker: Any) -> list[str]:
    """Arguments without a default that a maker needs besides `rngs`."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        name
        for name, x in _arguments(maker).items()
        if name != "rngs" and x.default is x.empty and x.kind not in kinds
    ]


def _of_nnx(kind: type) -> bool:
    return any(base.__module__.startswith("flax.nnx") for base in kind.__mro__)


def _arguments(maker: Any) -> dict[str, inspect.Parameter]:
    """Arguments by name; of a class those of `__init__`, for nnx hides them behind a metaclass."""
    given: tuple[tuple, dict] = ((), {})
    if isinstance(maker, functools.partial):
        maker, given = maker.func, (maker.args, maker.keywords)
    if isinstance(maker, type):
        if maker.__init__ is object.__init__:  # whose signature takes anything
            return {}
        maker, given = maker.__init__, ((None, *given[0]), given[1])
    try:
        return dict(inspect.signature(functools.partial(maker, *given[0], **given[1])).parameters)
    except (TypeError, ValueError):  # of a builtin that says nothing
        return {}


def of_nnx(maker: Callable[..., Any]) -> Torso:
    """The torso that a class of flax.nnx, or a function of `rngs`, makes."""
    from flax import nnx  # late: flax.linen does without it

    name = name_of(maker)
    arguments = _arguments(maker)
    takes_rngs = "rngs" in arguments or any(x.kind is x.VAR_KEYWORD for x in arguments.values())

    def made(rngs: Any) -> Any:
        module = maker(rngs=rngs) if takes_rngs else maker()
        if not isinstance(module, nnx.Module):
            raise BrokenContract(
                f"network {name} made a {type(module).__name__}; accepted: a module of flax.nnx"
            )
        return module

    def init(key: Array, _: Any) -> Any:
        _structure(nnx, name, made)  # refuses arrays that are no variables
        out: Any = {}
        for path, x in nnx.to_flat_state(nnx.split(made(nnx.Rngs(key)))[1]):
            if isinstance(x, nnx.RngState):
                continue
            *folders, last = _place(nnx, path, x)
            inner = out
            for folder in folders:
                inner = inner.setdefault(folder, {})
            inner[last] = x.get_value()
        return out

    def apply(variables: Any, obs: Any) -> Any:
        graph, flat = _structure(nnx, name, made)
        given: dict[tuple, Any] = {}
        for path, x in flat:
            value: Any = variables
            if isinstance(x, nnx.RngKey):
                value = jnp.broadcast_to(jax.random.key(0), x.shape)
            elif isinstance(x, nnx.RngState):
                value = jnp.zeros(x.shape, x.dtype)
            else:
                for part in _place(nnx, path, x):
                    value = value[part]
            given[path] = value
        state = nnx.from_flat_state([(path, x.replace(given[path])) for path, x in flat])
        module = nnx.merge(graph, state)
        features = module(obs)
        after = {path: x for path, x in nnx.to_flat_state(nnx.split(module)[1]) if path in given}
        _refuse_changes(name, given, after, nnx.RngState)
        return features

    return Torso(name, init, apply)


def _structure(
    nnx: Any, name: str, made: Callable[..., Any]
) -> tuple[Any, list[tuple[tuple, Any]]]:
    """A module without its arrays: its graph, and its variables by path."""
    graph, state = nnx.split(nnx.eval_shape(lambda: made(nnx.Rngs(0))))
    flat = list(nnx.to_flat_state(state))
    bare = [path for path, x in flat if not isinstance(x, nnx.Variable)]
    for attribute, x in graph.attributes:  # traced arrays outside of variables are in here
        bare += [(attribute,)] * isinstance(getattr(x, "value", None), jax.Array)
    if bare:
        raise BrokenContract(
            f"network {name} has {_dotted(bare[0])}, an array outside of nnx's variables; make it "
            f"an nnx.Param (trained) or an nnx.Variable (carried along)"
        )
    return graph, flat


def _place(nnx: Any, path: tuple, variable: Any) -> tuple[str, ...]:
    """Where a variable lies in a torso's variables: its collection, then its path."""
    trained = isinstance(variable, nnx.Param)
    return (TRAINED if trained else type(variable).__name__, *map(str, path))


def _refuse_changes(name: str, given: dict, after: dict, random: type) -> None:
    """Refuse a module that changed its variables while it was applied.

    Args: given: arrays by path.  after: variables by path.  random: the type of those that hold the
    state of random numbers.
    """

    def same(x: Any, y: Any) -> bool:  # the very arrays, for no number is looked at
        return [*map(id, jax.tree.leaves(x))] == [*map(id, jax.tree.leaves(y))]

    changed = [path for path, x in after.items() if not same(given[path], x.get_value())]
    if not changed:
        return
    drawn = any(isinstance(after[path], random) for path in changed)
    what = "it draws random numbers" if drawn else f"it changes {_dotted(changed[0])}"
    raise BrokenContract(
        f"network {name} cannot be applied: {what}; {FIXED}; `eval()` of an nnx module sets both"
    )


def _dotted(path: tuple) -> str:
    return ".".join(map(str, path))

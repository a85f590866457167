"""Arguments of a policy's programs: names, shapes and types."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purejaxvpg.agent.encoding import Part
from purejaxvpg.experiment.accepted import Accepted


def arguments(accepted: Accepted, batch: Any = 1, raw: bool = False) -> dict[str, Any]:
    """Shapes and types of a program's arguments, in order, by name.  batch: B.

    obs     bytes of pictures as they are; all else float32 as networks see it (one-hot).
            raw: integers and booleans too as the environment gives them
    mask    bool, in the structure of the actions; where there are masks
    memory  one array or a tuple of its arrays; where there is memory
    """

    def array(shape: Any, dtype: Any) -> Any:
        return jax.ShapeDtypeStruct((batch, *shape), dtype)

    def part(x: Part) -> Any:
        dtype = jax.dtypes.canonicalize_dtype(x.dtype)
        if raw and not jnp.issubdtype(dtype, jnp.floating):
            return array(x.shape, dtype)
        return array(x.shape, np.uint8) if x.bytes else array(x.seen_shape, jnp.float32)

    def mask(spec: Any) -> Any:
        if not isinstance(spec, dict):
            return None if spec is None else array(spec, bool)
        parts = {key: mask(x) for key, x in spec["parts"]}
        return parts if spec["kind"] == "dict" else tuple(parts.values())

    obs = {name: part(x) for name, x in accepted.encoder.parts}
    given = {"obs": obs[""] if list(obs) == [""] else obs}
    if accepted.mask is not None:
        given["mask"] = mask(accepted.mask)
    if memory := [array(x.shape, x.dtype) for x in jax.tree.leaves(accepted.memory)]:
        given["memory"] = memory[0] if len(memory) == 1 else tuple(memory)
    return given


def by_name(trees: dict[str, Any]) -> dict[str, Any]:
    """Arrays of trees by dotted name: `obs.agent.position`, `mask.move`, `memory.0`."""
    names = {}
    for name, tree in trees.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            inner = jax.tree_util.keystr(path, simple=True, separator=".")
            names[f"{name}.{inner}" if path else name] = leaf
    return names


def text_of(x: Any) -> str:
    """An array `[B, ...]` in words: `float32[B, 4]`."""
    return f"{np.dtype(x.dtype).name}[{', '.join(['B', *map(str, x.shape[1:])])}]"


def call_of(accepted: Accepted) -> dict[str, Any]:
    """Arguments of `policy.jax`, in order, and what it returns: the part `call` of a card."""
    given = [[name, jax.tree.map(text_of, x)] for name, x in arguments(accepted).items()]
    drawing = [["key_data", "uint32[2], of programs that draw"]]
    returns = "actions, memory" if jax.tree.leaves(accepted.memory) else "actions"
    return {"arguments": given + drawing, "returns": returns}

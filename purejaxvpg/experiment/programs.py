"""A saved policy as a program that needs this package no more.

    policy.jax    for jax alone: greedy, or drawing with a key
    policy.onnx   for onnxruntime alone: greedy, with the distribution's parameters to draw by

Both are traced from the functions of `load_policy`.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from purejaxvpg.experiment.acting import SavedPolicy
from purejaxvpg.experiment.cards import accepted_of
from purejaxvpg.experiment.program_arguments import arguments, by_name
from purejaxvpg.extras import require
from purejaxvpg.fields import first_line

PLATFORMS = ("cpu", "cuda", "tpu")


def compiled(
    policy: SavedPolicy, platforms: tuple[str, ...] = PLATFORMS, sampled: bool = False
) -> bytes:
    """The policy as a program for any number of observations, that needs jax alone.

    `jax.export.deserialize(bytearray(data)).call(obs, mask, memory, key_data)` gives actions, with
    memory `(actions, memory)`; it needs jax and flatbuffers.  Arguments that do not apply are left
    out, and every array has a leading axis `[B]` but for `key_data`:

    obs       an array, or a dict by dotted name of the parts that the policy sees: pictures of
              bytes uint8, all else float32 (Discrete parts one-hot)
    mask      bool, in the structure of the actions
    memory    an array or a tuple of arrays (LSTM: c, h); where an episode begins as
              `initial_memory` gives it (zeros of gru and lstm)
    key_data  `jax.random.key_data(key)`, uint32 `[2]`; only with `sampled`, where it draws

    The card lists them, as `call`.  Raises: ImportError without the extra `cli`.
    """
    from jax import export

    require("flatbuffers", "cli")  # jax writes programs with it, and does not bring it
    (batch,) = export.symbolic_shape("B")
    given = arguments(accepted_of(policy.card, policy.initial_memory), batch)
    if sampled:
        given["key"] = jax.ShapeDtypeStruct((2,), jnp.uint32)
    structure = jax.tree.structure(policy.initial_memory())

    def act(*values: Any) -> Any:
        named: dict[str, Any] = dict(zip(given, values, strict=True))
        if sampled:
            named["key"] = jax.random.wrap_key_data(named["key"], impl="threefry2x32")
        if "memory" not in named:
            return policy.act(**named)
        named["memory"] = jax.tree.unflatten(structure, jax.tree.leaves(named["memory"]))
        actions, memory = policy.act(**named)
        leaves = jax.tree.leaves(memory)
        return actions, leaves[0] if len(leaves) == 1 else tuple(leaves)

    with _for_any_batch():
        exported = export.export(jax.jit(act), platforms=platforms)(*given.values())
    return bytes(exported.serialize())


def onnx_program(policy: SavedPolicy) -> bytes:
    """The policy as an ONNX program (opset 18) for any number of observations.

    Inputs and outputs are arrays `[B, ...]` by name, as the card lists them; trees have a name for
    each part, `obs.agent.position`.

    obs        in the environment's type: integers of Discrete parts, uint8 of pictures
    mask       bool; where there are masks
    memory     float32 (LSTM: memory.0, memory.1); zeros of gru and lstm where an episode begins

    action     greedy, as the environment takes it: int64 or float32
    logits     or mean and log_std: the distribution of raw actions
    next_memory

    Raises: Untranslatable, a ValueError, in one line, for a network with an operation that has no
    translation; ImportError without the extra `onnx`.
    """
    from purejaxvpg.onnx import to_onnx

    given = arguments(accepted_of(policy.card, policy.initial_memory), raw=True)
    remembered = jax.tree.structure(policy.initial_memory())

    def function(arrays: dict[str, Any]) -> dict[str, Any]:
        leaves = iter(arrays.values())
        values = {name: jax.tree.map(lambda _: next(leaves), x) for name, x in given.items()}
        if "memory" not in values:
            actions, parameters = policy.distribution(**values)
            return by_name({"action": actions}) | parameters
        before = jax.tree.leaves(values["memory"])
        values["memory"] = jax.tree.unflatten(remembered, before)
        (actions, parameters), memory = policy.distribution(**values)
        rows = jax.tree.leaves(memory)
        after = rows[0] if len(rows) == 1 else tuple(rows)
        return by_name({"action": actions}) | parameters | by_name({"next_memory": after})

    inputs = {name: (x.shape[1:], x.dtype) for name, x in by_name(given).items()}
    doc = f"A policy of purejaxvpg, trained on {policy.card['config']['env']}; see card.json."
    with _for_any_batch():
        return to_onnx(function, inputs, doc)


@contextlib.contextmanager
def _for_any_batch() -> Iterator[None]:
    """ValueError, in one line, for a network that takes the symbol B for a number."""
    try:
        yield
    except Exception as error:
        if "_DimExpr" not in str(error):
            raise
        raise ValueError(
            f"the policy cannot be written as a program for any number of observations, for its "
            f"network takes that number for an integer; use obs.shape[0] and not len(obs) or "
            f"int(obs.shape[0]) ({first_line(error)})"
        ) from error

"""How a saved policy is used elsewhere: the first part of its card, and the card as a page.

use            at the top of card.json
environment    that it was trained in
observations   each array: name, shape, dtype, range (in the environment's units; null: none),
               and how networks see it
normalization  where observations are normalised
actions        each array: name, shape, dtype, range, and how it is drawn from the outputs
mask, memory   what they are, or null
policy.jax, policy.onnx   what each needs, its arguments in order, its results, and an example
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from purejaxvpg.agent.encoding import Encoder, Part
from purejaxvpg.agent.policy import Policy
from purejaxvpg.envs.spaces import ENDLESS, kind_of, spaces_by_name
from purejaxvpg.experiment.accepted import Accepted
from purejaxvpg.experiment.program_arguments import arguments, by_name, text_of

LONGEST_RANGE = 64  # numbers that a card lists one by one


def make_use(
    card: Mapping[str, Any], accepted: Accepted, policy: Policy, observation_space: Any
) -> dict[str, Any]:
    """The part `use` of a card.  observation_space: None if it is not at hand."""
    config = card["config"]
    spaces = {} if observation_space is None else spaces_by_name(observation_space)
    inputs = {name: text_of(x) for name, x in by_name(arguments(accepted, raw=True)).items()}
    results = _results(accepted, policy)
    outputs = {name: text_of(x) for name, x in results.items()}
    return {
        "environment": config["env"],
        "observations": _observations(accepted.encoder, spaces),
        "normalization": _normalization(config),
        "actions": _actions(card["actions"], results, config),
        "mask": "True for actions that are possible" if card["mask"] is not None else None,
        "memory": "an array or arrays that each call gives for the next one; zeros of gru and lstm "
        "where an episode begins" if "memory" in card["call"]["returns"] else None,
        "policy.jax": {
            "needs": "jax and flatbuffers",
            "arguments": card["call"]["arguments"],
            "returns": card["call"]["returns"],
            "example": _jax_example(accepted),
        },
        "policy.onnx": {
            "needs": "onnxruntime",
            "inputs": inputs,
            "outputs": outputs,
            "example": _onnx_example(accepted),
        },
    }  # fmt: skip


def _results(accepted: Accepted, policy: Policy) -> dict[str, Any]:
    """Shapes and types of the results of policy.onnx by name; actions with their own types."""
    outputs = jax.ShapeDtypeStruct((1, policy.num_outputs), jnp.float32)
    actions = jax.eval_shape(lambda x: policy.to_env(policy.mode(x)), outputs)
    parameters = jax.eval_shape(policy.parameters, outputs)
    remembered = arguments(accepted).get("memory")
    memory = {} if remembered is None else by_name({"next_memory": remembered})
    return {**_counted(by_name({"action": actions})), **parameters, **memory}


def _counted(arrays: dict[str, Any]) -> dict[str, Any]:
    """Integers as int64, as programs and `act` give them."""

    def counted(x: Any) -> Any:
        whole = jnp.issubdtype(x.dtype, jnp.integer)
        return jax.ShapeDtypeStruct(x.shape, np.int64 if whole else np.float32)

    return {name: counted(x) for name, x in arrays.items()}


def _observations(encoder: Encoder, spaces: Mapping[str, Any]) -> list[dict[str, Any]]:
    def one(name: str, part: Part) -> dict[str, Any]:
        low, high = _range(part, spaces.get(name))
        return {
            "name": f"obs.{name}" if name else "obs",
            "shape": list(part.shape),
            "dtype": part.dtype,
            "low": low,
            "high": high,
            "seen as": _seen(part),
        }

    return [one(name, part) for name, part in encoder.parts]


def _seen(part: Part) -> str:
    if part.categories is not None:
        return f"one-hot of {part.categories}: float32{list(part.seen_shape)}"
    if part.bytes:
        return "divided by 255: float32 from 0 to 1"
    return "float32, as it is"


def _range(part: Part, space: Any) -> tuple[Any, Any]:
    """Lowest and highest numbers: a number for all, a list, or None for none."""
    if part.categories is not None:
        return 0, part.categories - 1
    if part.bytes:
        return 0, 255
    if kind_of(space) != "box":
        return None, None
    return _bound(space.low, part.shape), _bound(space.high, part.shape)


def _bound(bound: Any, shape: tuple[int, ...]) -> Any:
    values = np.broadcast_to(np.asarray(bound, np.float64), shape).reshape(-1)
    finite = [None if not abs(x) < ENDLESS else float(f"{x:.7g}") for x in values.tolist()]
    if len(set(finite)) == 1:
        return finite[0]
    return finite if 0 < len(finite) <= LONGEST_RANGE else None


def _normalization(config: Mapping[str, Any]) -> str:
    if not config.get("normalize_obs"):
        return "none"
    clip = config["obs_clip"]
    return (
        f"inside the programs: (x - mean) / sqrt(var + 1e-8), clipped to [-{clip}, {clip}]; mean "
        f"and var are obs_stats/mean and obs_stats/var of policy.safetensors"
    )


# ------------------------------------------------------------------------------------ ACTIONS


def _actions(
    spec: Mapping[str, Any], results: Mapping[str, Any], config: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Each array of the action.  Args: spec: as `describe_actions` has it."""

    def parts(spec: Mapping[str, Any], inner: str) -> list[dict[str, Any]]:
        if spec["kind"] in ("dict", "tuple"):
            return [x for key, child in spec["parts"] for x in parts(child, f"{inner}.{key}")]
        name = f"action{inner}"
        low, high, drawn = _drawn(spec, inner, config)
        array = {
            "shape": list(results[name].shape[1:]),
            "dtype": str(np.dtype(results[name].dtype)),
        }
        return [{"name": name, **array, "low": low, "high": high, "drawn": drawn}]

    return parts(spec, "")


def _drawn(spec: Mapping[str, Any], inner: str, config: Mapping[str, Any]) -> tuple[Any, Any, str]:
    """Lowest and highest action, and how one is drawn from the results of policy.onnx."""
    if spec["kind"] == "discrete":
        return 0, spec["number"] - 1, f"i with probability softmax(logits{inner})[i]"
    if spec["kind"] == "multi":
        highest = (np.asarray(spec["numbers"]) - 1).tolist()
        each = f"logits{inner}.0, logits{inner}.1, ..."
        return (
            0,
            highest,
            f"the k-th integer is i with probability softmax(logits{inner}.k)[i]: {each}",
        )
    low, high = (_bound(spec[name], (len(spec[name]),)) for name in ("low", "high"))
    raw = f"raw = mean{inner} + exp(log_std{inner}) * n, n standard normal"
    if config["bounding"] == "tanh":
        return low, high, f"{raw}; (low + high) / 2 + (high - low) / 2 * tanh(raw)"
    return low, high, f"{raw}; clipped to [low, high]"


# ----------------------------------------------------------------------------------- EXAMPLES


def _array(name: str, x: Any) -> str:
    shape, dtype = (1, *x.shape[1:]), np.dtype(x.dtype)
    filled = "ones" if name.startswith("mask") else "zeros"
    return f"np.{filled}({shape}, {'bool' if dtype.kind == 'b' else f'np.{dtype.name}'})"


def _jax_example(accepted: Accepted) -> str:
    """Lines of Python that read policy.jax and act (greedily) on one observation."""

    def text(name: str, tree: Any) -> str:
        if isinstance(tree, dict):
            return "{" + ", ".join(f"{key!r}: {text(name, x)}" for key, x in tree.items()) + "}"
        if isinstance(tree, tuple):
            return "(" + "".join(f"{text(name, x)}, " for x in tree).rstrip() + ")"
        return "None" if tree is None else _array(name, tree)

    given = arguments(accepted)
    lines = [f"{name} = {text(name, tree)}" for name, tree in given.items()]
    results = "action, memory" if "memory" in given else "action"
    return "\n".join([
        "import pathlib",
        "",
        "import jax.export",
        "import numpy as np",
        "",
        'data = pathlib.Path("policy.jax").read_bytes()',
        "program = jax.export.deserialize(bytearray(data))",
        *lines,
        f"{results} = program.call({', '.join(given)})",
    ])  # fmt: skip


def _onnx_example(accepted: Accepted) -> str:
    """Lines of Python that read policy.onnx and act on one observation."""
    given = by_name(arguments(accepted, raw=True))
    lines = [f"    {name!r}: {_array(name, x)}," for name, x in given.items()]
    return "\n".join([
        "import numpy as np",
        "import onnxruntime",
        "",
        'session = onnxruntime.InferenceSession("policy.onnx")',
        "inputs = {",
        *lines,
        "}",
        "names = [x.name for x in session.get_outputs()]",
        "results = dict(zip(names, session.run(names, inputs)))",
    ])  # fmt: skip

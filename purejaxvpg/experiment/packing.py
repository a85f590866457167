"""Metrics, evaluations and states of runs as arrays by name, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from purejaxvpg.state import Evaluation, Metrics

# Version of a state's leaves.  Not written any more: 1 ends before `finite`, 2 has no
# `episode.lost`, and observations of 3 are float32 (see compute.layout.completed).
STATES = 4


def pack(metrics: Metrics, evaluations: Evaluation | None, state: Any) -> dict[str, Any]:
    """Metrics, evaluations and leaves of a state, if there are any, as arrays by name."""
    arrays = {f"metric.{name}": x for name, x in metrics._asdict().items()}
    arrays["states"] = np.asarray(STATES)
    if evaluations is not None:
        arrays |= {f"evaluation.{name}": x for name, x in evaluations._asdict().items()}
    return arrays | {f"state.{i}": x for i, x in enumerate(state or ())}


def unpack(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The arguments of `pack` by name; None for those that were not there.

    Raises: ValueError if a later version packed it.
    """
    version = int(arrays.get("states", 1))
    if version > STATES:
        raise ValueError(f"its states have version {version}, and this one reads up to {STATES}")

    def group(prefix: str) -> dict[str, Any]:
        return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

    metrics, evaluations, state = Metrics(**group("metric.")), group("evaluation."), group("state.")
    leaves = [state[name] for name in sorted(state, key=int)]
    if leaves and version == 1:
        leaves.append(np.asarray(metrics.finite).all(1))
    return {
        "metrics": metrics,
        "evaluations": Evaluation(**evaluations) if evaluations else None,
        "state": leaves or None,
    }

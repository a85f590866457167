"""Policies that are kept: parameters and observation statistics of every run at its end.

    policies/<part>.npz    beside parts/<part>.npz, the policies of that part's runs

Leaves are arrays by name, `params/...` and `obs_stats/...`, as in an exported policy.
"""

import functools
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purejaxvpg.agent import init_stats
from purejaxvpg.agent.encoding import Encoder
from purejaxvpg.agent.networks import Networks, param_shapes
from purejaxvpg.experiment.files import (
    Foreign,
    content,
    inside,
    named_leaves,
    read_summed,
    write_summed,
)
from purejaxvpg.experiment.parts import Part, part_name
from purejaxvpg.experiment.spec import Fingerprint
from purejaxvpg.state import RunningStats, TrainState

KeepPolicies = Literal["all", "best", "none"]
Arrays = dict[str, np.ndarray]


class Block(NamedTuple):
    """Policies of some runs."""

    runs: np.ndarray  # [k]
    load: Callable[[], Arrays]  # [k, ...] each


class Policies(NamedTuple):
    """Policies of a study's runs, in memory or read from its folder when they are used."""

    blocks: Sequence[Block] = ()

    @property
    def runs(self) -> np.ndarray:
        """The runs whose policies are kept."""
        return np.unique(np.concatenate([np.zeros(0, int), *[b.runs for b in self.blocks]]))

    def arrays(self, runs: Sequence[int] | np.ndarray) -> Arrays:
        """Arrays of these runs, `[len(runs), ...]` each.

        Raises: ValueError if a policy is not kept, or its file is damaged; OSError, in one line, if
        it cannot be read now.
        """
        rows: dict[int, tuple[int, int]] = {}
        for number, block in enumerate(self.blocks):
            rows |= {int(run): (number, row) for row, run in enumerate(block.runs)}
        if missing := [int(run) for run in runs if int(run) not in rows]:
            raise ValueError(
                f"the policy of run {missing[0]} is not kept (the run is not done, or "
                f"keep_policies left it out); policies are kept of {len(rows)} runs"
            )
        numbers = sorted({rows[int(run)][0] for run in runs})
        loaded = {number: self.blocks[number].load() for number in numbers}
        places = [rows[int(run)] for run in runs]
        names = loaded[numbers[0]]
        return {name: np.stack([loaded[n][name][row] for n, row in places]) for name in names}

    def renumbered(self, runs: np.ndarray) -> "Policies":
        """The policies of these runs alone, with run `runs[i]` as run i."""
        place, blocks = {int(run): i for i, run in enumerate(runs)}, []
        for block in self.blocks:
            rows = np.flatnonzero(np.isin(block.runs, runs))
            if len(rows):
                new = np.asarray([place[int(run)] for run in block.runs[rows]])
                blocks.append(Block(new, functools.partial(_rows_of, block, rows)))
        return Policies(tuple(blocks))


def _rows_of(block: Block, rows: np.ndarray) -> Arrays:
    return {name: values[rows] for name, values in block.load().items()}


def leaves_of(params: Any, obs_stats: RunningStats) -> dict[str, Any]:
    """Policy parameters and statistics as leaves by name."""
    return named_leaves({"params": params, "obs_stats": obs_stats._asdict()})


def of_state(state: TrainState) -> dict[str, Any]:
    """The leaves to keep of a state."""
    return leaves_of(state.params.policy, state.obs_stats)


def restore(
    arrays: Mapping[str, np.ndarray], networks: Networks, encoder: Encoder, rows: int = -1
) -> tuple[Any, RunningStats]:
    """Policy parameters and observation statistics in the structure that the networks have.

    Args: rows: length of a leading axis that every array has; -1: none.
    Raises: ValueError for arrays of other names, shapes or types.
    """
    params = param_shapes(networks, encoder).policy
    stats = jax.eval_shape(lambda: init_stats(encoder.shapes))
    leading = () if rows < 0 else (rows,)
    names = leaves_of(params, stats)
    for name, leaf in names.items():
        array, shape = arrays.get(name), (*leading, *leaf.shape)
        if array is None or array.shape != shape or array.dtype != leaf.dtype:
            given = "missing" if array is None else f"{array.dtype}{list(array.shape)}"
            raise ValueError(f"{name} is {given}; accepted: {leaf.dtype}{list(shape)}")
    tree = jax.tree.structure({"params": params, "obs_stats": stats._asdict()})
    policy = jax.tree.unflatten(tree, [jnp.asarray(arrays[name]) for name in names])
    return policy["params"], RunningStats(**policy["obs_stats"])


# -------------------------------------------------------------------------------------- FILES

BEST = "best.npz"  # instead of all others, with keep_policies="best"
OF_A_PART = re.compile(r"\d{8}-\d{8}-[0-9a-f]{12}\.npz")


def write_policies(folder: Path, part: Part, fingerprint: Fingerprint) -> None:
    """Keep the policies of a part beside it."""
    if part.policies is not None:
        inside(folder, "policies").mkdir(parents=True, exist_ok=True)
        _write(policy_file(folder, part), part.runs, part.policies, fingerprint)


def policy_file(folder: Path, part: Part) -> Path:
    """Where the policies of a part are."""
    return folder / "policies" / f"{part_name(part.runs, part.start, part.end)}.npz"


def read_policies(
    folder: Path | None, parts: Sequence[Part], fingerprint: Fingerprint | None
) -> Policies:
    """The policies of these parts, in memory or in the folder."""
    blocks = [
        Block(p.runs, functools.partial(_same, p.policies)) for p in parts if p.policies is not None
    ]
    if folder is None or fingerprint is None:
        return Policies(tuple(blocks))
    for part in parts:
        path = policy_file(folder, part)
        if part.policies is None and path.exists():
            blocks.append(Block(part.runs, functools.partial(_arrays, path, fingerprint)))
    if (folder / "policies" / BEST).exists():
        try:
            runs, arrays = _read(folder / "policies" / BEST, fingerprint)
            blocks.insert(
                0, Block(runs, functools.partial(_same, arrays))
            )  # those of a longer study come after
        except ValueError as error:
            warnings.warn(f"{error}: the best policies are left out", stacklevel=4)
    return Policies(tuple(blocks))


def keep_best(
    folder: Path | None, policies: Policies, runs: np.ndarray, fingerprint: Fingerprint | None
) -> Policies:
    """Only the policies of these runs; the files of all others are removed."""
    arrays = policies.arrays(runs)
    if folder is not None and fingerprint is not None:
        _write(folder / "policies" / BEST, runs, arrays, fingerprint)
        for path in inside(folder, "policies").glob("*.npz"):
            if OF_A_PART.fullmatch(path.name):
                path.unlink()
    return Policies((Block(runs, functools.partial(_same, arrays)),))


def _same(arrays: Arrays) -> Arrays:
    return arrays


def _arrays(path: Path, fingerprint: Fingerprint) -> Arrays:
    return _read(path, fingerprint)[1]


def _write(path: Path, runs: np.ndarray, arrays: Arrays, fingerprint: Fingerprint) -> None:
    marked = {"runs": runs, "origin": np.asarray(fingerprint(runs))}
    write_summed(path, marked | {f"policy.{name}": x for name, x in arrays.items()})


def _read(path: Path, fingerprint: Fingerprint) -> tuple[np.ndarray, Arrays]:
    """Runs and arrays of a file.

    Raises: ValueError if it is damaged, or of another study; OSError, in one line.
    """
    try:
        arrays = read_summed(path)
        with content():
            if str(arrays["origin"]) != fingerprint(arrays["runs"]):
                raise Foreign("it belongs to another study")
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    prefix = "policy."
    by_name = {k.removeprefix(prefix): x for k, x in arrays.items() if k.startswith(prefix)}
    return arrays["runs"], by_name

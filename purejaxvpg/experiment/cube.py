"""A study as a labelled cube: xarray, NetCDF; and the metrics of a run for numpy alone."""

import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from purejaxvpg.experiment.files import write_whole
from purejaxvpg.experiment.scoring import evaluation_steps, with_means
from purejaxvpg.extras import require
from purejaxvpg.fields import first_line
from purejaxvpg.serialize import config_to_json, plain, to_strict_json

UNITS = {
    "episode_return": "reward, undiscounted",
    "episode_length": "environment steps",
    "episode_return_sum": "reward, undiscounted",
    "episode_length_sum": "environment steps",
    "episode_count": "episodes",
    "kl": "nats",
    "entropy": "nats",
    "explained_variance": "1",
    "finite": "1",
}


def write_cube(folder: Path, study: Any) -> None:
    """Write metrics.npz for a single setting, study.nc for several; the parts hold the same.

    study.nc needs the libraries of the extra `sweep`; without them it is left out.
    """
    if not study.design.axes:
        arrays = {name: x[0] for name, x in with_means(study.metrics).items()}
        arrays |= {"steps": study.steps[0], "seeds": study.seeds}
        if study.evaluations:
            arrays["evaluation_steps"] = evaluation_steps(study)[0]
        arrays |= {f"evaluation_{name}": x[0] for name, x in study.evaluations.items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        write_whole(folder / "metrics.npz", buffer.getvalue())
        return
    try:
        for library in ("h5netcdf", "h5py"):
            require(library, "sweep")
        data = study.to_xarray()
    except ImportError:
        return
    write_whole(folder / "study.nc", bytes(data.to_netcdf(engine="h5netcdf")))


def try_to_write_cube(folder: Path, study: Any) -> None:
    """Write the same, or warn: the study is safe in its parts, whatever numpy, xarray, h5py or the
    disk have against it."""
    try:
        write_cube(folder, study)
    except Exception as error:
        name = "study.nc" if study.design.axes else "metrics.npz"
        warnings.warn(
            f"{name} could not be written ({first_line(error)}); everything is in the folder "
            f"without it: load_study({str(folder)!r}) reads it",
            stacklevel=2,
        )


def to_xarray(study: Any) -> Any:
    """See `Study.to_xarray`."""
    xarray = require("xarray", "sweep")
    shape, dims = study.design.shape, tuple(axis.dim for axis in study.design.axes)

    def cube(x: np.ndarray, *rest: str, units: str = "1") -> Any:  # [H, ...] -> [*axes, ...]
        data = x.reshape((*shape, *x.shape[1:]))
        return (dims + rest, data, {"units": units})

    coordinates: dict[str, Any] = {
        "seed": study.seeds,
        "update": np.arange(1, study.steps.shape[-1] + 1),
        "steps": _steps(study, study.steps, "update"),
    }
    if study.evaluations:
        coordinates["evaluation_steps"] = _steps(study, evaluation_steps(study), "evaluation")
    for axis in study.design.axes:
        columns = {name: [p[i] for p in axis.points] for i, name in enumerate(axis.names)}
        for name, values in columns.items():
            coordinates[name] = (axis.dim, _labels(values))
    variables = {
        name: cube(x, "seed", "update", units=UNITS.get(name, "1"))
        for name, x in with_means(study.metrics).items()
    }
    for name, x in study.evaluations.items():
        variables[f"evaluation_{name}"] = cube(x, "seed", "evaluation", "episode")
    variables |= {
        "score": cube(study.scores(), "seed", units="reward, undiscounted"),
        "diverged": cube(study.diverged, "seed"),
        "diverged_at": cube(study.diverged_at, "seed", units="updates, from 1; 0: never"),
        "updates_done": cube(study.updates, "seed"),
        "pruned": cube(study.pruned),
    }
    return xarray.Dataset(variables, coordinates, _attributes(study))


def _steps(study: Any, steps: np.ndarray, along: str) -> tuple[tuple[str, ...], np.ndarray, Any]:
    """An axis of steps, `[H, X]`, along those axes of the design alone that change it."""
    steps = steps.reshape((*study.design.shape, steps.shape[-1]))
    dims = [axis.dim for axis in study.design.axes]
    for place in reversed(range(len(dims))):
        first = steps.take([0], place)
        if np.array_equal(steps, np.broadcast_to(first, steps.shape), equal_nan=True):
            steps = first.squeeze(place)
            del dims[place]
    return (*dims, along), steps, {"units": "environment steps of one run"}


def _labels(values: list[Any]) -> np.ndarray:
    """One type for all of an axis: numbers where all are, truth values where all are, or text."""
    kinds = {type(value) for value in values}
    if kinds == {bool} or kinds <= {int, float}:
        return np.asarray(values)
    return np.asarray([str(value) for value in values])


def _attributes(study: Any) -> dict[str, str]:
    try:
        config = to_strict_json(config_to_json(study.config))
    except TypeError:  # it holds objects, and is of this process alone
        config = repr(study.config)
    return {
        "title": "a purejaxvpg sweep",
        "config": config,
        "hyperparams": _json(plain(study.hyperparams)),
        "record": _json(study.record.to_json()),
    }


def _json(value: Any) -> str:
    """Strict JSON; objects that it does not have, as Python shows them."""
    return to_strict_json(json.loads(json.dumps(value, default=repr)))

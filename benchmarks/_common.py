"""Shared code of the benchmarks: arguments, timing, subprocesses, results with the machine."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import jax


def parser(doc: str) -> argparse.ArgumentParser:
    """Parser with the arguments that every benchmark takes."""
    made = argparse.ArgumentParser(description=doc.splitlines()[0])
    made.add_argument("--smoke", action="store_true", help="tiny sizes: does it still run?")
    made.add_argument("--json", metavar="FILE", help="write the results there too")
    return made


def where() -> dict[str, str]:
    """Machine and versions."""
    names = ("jax", "jaxlib", "flax", "optax", "distrax", "gymnax")
    versions = {name: metadata.version(name) for name in names}
    device = jax.devices()[0]
    cores = f"{os.cpu_count()} cores" if device.platform == "cpu" else ""
    return {
        "device": f"{device.device_kind} {cores}".strip(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        **versions,
    }


def report(results: list[dict], path: str | None) -> None:
    """Print machine and versions; if a path is given, write them there with the results."""
    print(", ".join(f"{key} {value}" for key, value in where().items()))
    if path:
        with open(path, "w") as file:
            json.dump({"where": where(), "results": results}, file, indent=2)


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call, until its results are ready."""
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def apart(command: list[str], name: str, **environment: str) -> Any:
    """Run a command in a separate process; return its last printed line, parsed as JSON.

    If it fails, this process ends too, with `name` and the end of the error output.
    """
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def median_and_spread(values: list[float]) -> tuple[float, float, float]:
    """Median, smallest and largest value."""
    return statistics.median(values), min(values), max(values)

"""What all benchmarks say about where they ran, and how they write it down."""

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
    """Arguments that every benchmark takes."""
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
    """Print where it ran, and write everything if asked to."""
    print(", ".join(f"{key} {value}" for key, value in where().items()))
    if path:
        with open(path, "w") as file:
            json.dump({"where": where(), "results": results}, file, indent=2)


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call, its results awaited."""
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def apart(command: list[str], name: str, **environment: str) -> Any:
    """What a process of its own prints last, as JSON.  Its failure ends this one, by name."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def median_and_spread(values: list[float]) -> tuple[float, float, float]:
    """Median, smallest, largest."""
    return statistics.median(values), min(values), max(values)

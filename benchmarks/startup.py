"""Startup times: import of the package, and `purejaxvpg train` from start to end.

    python benchmarks/startup.py

Each measurement is a separate process.

- Import: all names of the package, in turn with jax, flax, optax and distrax alone.
- Training: one update of 16 seeds of CartPole through the command line.  The first start has an
  empty cache of compiled programs; the second start uses the cache that the first one filled.  One
  time runs from the start of the process to the end of the first update.  The other runs to the end
  of the process and includes the table, the plot and the run folder.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _common

IMPORTS = {
    "jax, flax, optax, distrax": "import jax, flax.linen, optax, distrax",
    "purejaxvpg": "from purejaxvpg import *",
}


# The command line, changed to print to stderr the time at which an update is done.
TRAIN = """
import sys, time
from purejaxvpg import __main__ as command
from purejaxvpg.experiment.progress import Clock
segment = Clock.segment
def timed_segment(*args):
    print("first update at", time.time(), file=sys.stderr)
    return segment(*args)
Clock.segment = timed_segment
sys.exit(command.main())
"""


def first_update(command: list[str], **environment: str) -> tuple[float, float]:
    """Seconds from the start of a process to the end of its first update, and to its own end."""
    inherited = {name: x for name, x in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    begun = time.time()
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**inherited, **environment}
    )
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("first update at")]
    return float(line.split()[-1]) - begun, time.time() - begun


def seconds(command: list[str], **environment: str) -> float:
    """Wall time of one process."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **environment})
    return time.perf_counter() - begun


def main() -> None:
    """Measure imports in turn, then training starts."""
    parser = _common.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    repeats = 1 if args.smoke else args.repeats
    taken = {name: [] for name in IMPORTS}
    for _ in range(repeats):
        for name, code in IMPORTS.items():
            taken[name].append(seconds([sys.executable, "-c", code]))
    size = ["--num-envs", "2", "--num-steps", "4", "--total-steps", "8"] if args.smoke else []
    size += ["--hidden-sizes", "8", "--value-iterations", "1"] if args.smoke else []
    starts: dict[str, list[float]] = {}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("first start", "second start"):
                out = str(Path(folder) / name.replace(" ", "-"))
                command = [sys.executable, "-c", TRAIN, "train", "CartPole-v1"]
                command += ["--num-seeds", "16", "--out", out, *(size or ONE_UPDATE)]
                environment = {"XDG_CACHE_HOME": folder, "JAX_ENABLE_COMPILATION_CACHE": "true"}
                environment["TF_CPP_MIN_LOG_LEVEL"] = "3"
                update, end = first_update(command, **environment)
                starts.setdefault(f"{name}, first update", []).append(update)
                starts.setdefault(f"{name}, end", []).append(end)
    results = []
    for name, values in (taken | starts).items():
        middle, low, high = _common.median_and_spread(values)
        print(f"{name:<28} {middle:6.2f} s ({low:.2f} to {high:.2f})")
        results.append({"name": name, "seconds": values})
    _common.report(results, args.json)


ONE_UPDATE = ["--num-envs", "8", "--num-steps", "125", "--total-steps", "1000"]

if __name__ == "__main__":
    main()

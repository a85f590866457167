"""How long until something happens: importing the package, and `purejaxvpg train` to its end.

    python benchmarks/startup.py

Every measurement is a process of its own.  Import: all names of the package, beside jax, flax,
optax and distrax alone, in turn.  Training: 16 seeds of CartPole, as the command line does it,
for one update; with an empty cache of compiled programs, and again with what the first left there.
The whole process is timed, table, plot and run folder included.
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


def seconds(command: list[str], **environment: str) -> float:
    """Wall time of a process."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **environment})
    return time.perf_counter() - begun


def main() -> None:
    """Measure imports in turn, and starts."""
    parser = _common.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    repeats = 1 if args.smoke else args.repeats
    taken = {name: [] for name in IMPORTS}
    for _ in range(repeats):
        for name, code in IMPORTS.items():
            taken[name].append(seconds([sys.executable, "-c", code]))
    size = ["--num-envs", "2", "--num-steps", "4", "--total-steps", "8"] if args.smoke else []
    starts = {"first start": [], "second start": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for name in starts:
                out = str(Path(folder) / name.replace(" ", "-"))
                command = [sys.executable, "-m", "purejaxvpg", "train", "CartPole-v1"]
                command += ["--num-seeds", "16", "--out", out, *(size or ONE_UPDATE)]
                cache = {"XDG_CACHE_HOME": folder, "JAX_ENABLE_COMPILATION_CACHE": "true"}
                starts[name].append(seconds(command, **cache))
    results = []
    for name, values in (taken | starts).items():
        middle, low, high = _common.median_and_spread(values)
        print(f"{name:<28} {middle:6.2f} s ({low:.2f} to {high:.2f})")
        results.append({"name": name, "seconds": values})
    _common.report(results, args.json)


ONE_UPDATE = ["--num-envs", "8", "--num-steps", "125", "--total-steps", "1000"]

if __name__ == "__main__":
    main()

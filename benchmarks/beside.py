"""This checkout beside another one: throughput, a study, first calls and peak memory, in turn.

    python benchmarks/beside.py --checkout OTHER                 # the four shapes
    python benchmarks/beside.py --checkout OTHER --study 1024    # and a study of so many runs

Each checkout has a process of its own, which compiles first and then waits for its turn
(A B A B ...).  Ratios above 1: this checkout is faster, or takes more memory.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import _common

SHAPES = ((4, 128), (64, 128), (2048, 32), (2048, 128))
HERE = Path(__file__).resolve().parents[1]

# Reads one request a line, answers with one line of JSON.  The two checkouts share what it calls.
WORKER = """
import json, resource, sys, time
import jax
from purejaxvpg import VPGConfig, make_train
from purejaxvpg.experiment import sweep
common = dict(value_iterations=1, value_target="lambda_return", network="mlp")
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))

def training(num_envs, num_steps, updates, diagnostics):
    steps = num_envs * num_steps * updates
    config = VPGConfig(num_envs=num_envs, num_steps=num_steps, total_steps=steps,
                       diagnostics=diagnostics, **common)
    train = jax.jit(make_train(config))
    return lambda: jax.block_until_ready(train(jax.random.key(0)))

def study(num_envs, num_steps, updates, runs):
    steps = num_envs * num_steps * updates
    config = VPGConfig(num_envs=num_envs, num_steps=num_steps, total_steps=steps,
                       diagnostics=False, **common)
    grid = {"policy_lr": [1e-3, 2e-3, 3e-3, 5e-3], "gae_lambda": [0.8, 0.9, 0.95, 1.0]}
    return lambda: sweep(config, grid, runs // 16)

jobs = {}
for line in sys.stdin:
    kind, *arguments = json.loads(line)
    call = jobs.setdefault(line, {"training": training, "study": study}[kind](*arguments))
    begun = time.perf_counter()
    call()
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([seconds, peak]), flush=True)
"""


class Worker:
    """A process that has one checkout, and times its calls."""

    def __init__(self, checkout: Path, devices: int):
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        command = [sys.executable, "-c", WORKER, str(devices)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=environment, **pipes)

    def seconds(self, *request: Any) -> tuple[float, float]:
        """Seconds of one call, and the peak memory of the process so far, in MB."""
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a worker has died; its error is above")
        seconds, peak = json.loads(line)
        return seconds, peak / 1024

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def compare(checkouts: dict[str, Path], devices: int, repeats: int, *request: Any) -> dict:
    """First calls, then calls in turn; prints one line."""
    workers = {name: Worker(path, devices) for name, path in checkouts.items()}
    first = {name: worker.seconds(*request)[0] for name, worker in workers.items()}
    calls = {name: [] for name in workers}
    for _ in range(repeats):
        for name, worker in workers.items():
            calls[name].append(worker.seconds(*request))
    for worker in workers.values():
        worker.close()
    pairs = [b[0] / a[0] for a, b in zip(*calls.values(), strict=True)]
    middle, low, high = _common.median_and_spread(pairs)
    peaks = {name: max(peak for _, peak in values) for name, values in calls.items()}
    here, other = checkouts
    print(
        f"{request!s:<40} speed {middle:.3f} ({low:.3f} to {high:.3f}) of the other's, "
        f"{_common.median_and_spread([s for s, _ in calls[here]])[0]:.3f} s; "
        f"first call {first[here]:.1f} and {first[other]:.1f} s; "
        f"peak {peaks[here]:.0f} and {peaks[other]:.0f} MB",
        flush=True,
    )
    return {"request": request, "speed": pairs, "first_call_seconds": first, "peak_mb": peaks}


def main() -> None:
    """Measure every shape, and a study if asked to."""
    parser = _common.parser(__doc__)
    parser.add_argument("--checkout", default=str(HERE), help="the other one")
    parser.add_argument("--study", type=int, default=0, help="runs, a multiple of 16; 0: none")
    parser.add_argument("--no-shapes", action="store_true", help="the study alone")
    parser.add_argument("--steps", type=int, default=1_000_000, help="of a run, about")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    checkouts = {"this": HERE, "other": Path(args.checkout).resolve()}
    repeats = 1 if args.smoke else args.repeats
    results = []
    for num_envs, num_steps in ((2, 4),) if args.smoke else () if args.no_shapes else SHAPES:
        updates = 2 if args.smoke else max(2, args.steps // (num_envs * num_steps))
        request = ("training", num_envs, num_steps, updates, False)
        results.append(compare(checkouts, 1, repeats, *request))
    if args.study:
        request = ("study", 4, 128, 2 if args.smoke else 98, args.study)
        results.append(compare(checkouts, os.cpu_count() or 1, repeats, *request))
    _common.report(results, args.json)


if __name__ == "__main__":
    main()

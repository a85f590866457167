"""Training on an accelerator: rates, kernels per step, and the share of the card that is used.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --seeds 1 16 256 --shape 8192 128

The default sizes suit one card: thousands of environments, one to many seeds.  With several
devices the seeds are split over all of them.  Compiled programs are cached between calls
(`devices.use_compilation_cache`).

- Kernels per step: kernels in a device profile of one call, divided by the steps of its rollouts.
  The count includes the kernels of the update, which are few at T = 128.
- Matrix rate: floating-point operations of the networks per second, as a share of the rate of a
  large matrix product on this device in the same run.
- Bandwidth: bytes that must be moved once (`_work.py`) per second, as a share of the rate of a
  copy on this device in the same run.

The benchmark also runs on a CPU, but its numbers mean little there.
"""

import math
import tempfile
from pathlib import Path
from typing import Any

import _common
import jax
import jax.numpy as jnp
import numpy as np
from _work import Work, setup_of, work

from purejaxvpg import Hyperparams, VPGConfig
from purejaxvpg.experiment.devices import use_compilation_cache
from purejaxvpg.experiment.program import Program, compile_program
from purejaxvpg.experiment.stacking import stack_hyperparams

SHAPES, SEEDS = ((2048, 128), (8192, 128), (65536, 32)), (1, 16, 128)
MOST_ROWS = 2**26  # of one update, for a card with 80 GB


def card(smoke: bool) -> dict[str, float]:
    """Peak rates of the first device: flop/s of a large matrix product, bytes/s of a copy."""
    size = 64 if smoke else 8192
    x = jnp.ones((size, size))
    product, copy = jax.jit(lambda x: x @ x), jax.jit(lambda x: x + 1.0)
    best = {}
    for name, call in (("product", product), ("copy", copy)):
        jax.block_until_ready(call(x))
        best[name] = min(_common.seconds(lambda call=call: call(x)) for _ in range(5))
    return {"flops": 2 * size**3 / best["product"], "bytes": 2 * x.nbytes / best["copy"]}


def kernels(call: Any) -> int | None:
    """Number of kernels that ran on the first device in a call; None if not in the profile."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(call())
        files = sorted(Path(folder).rglob("*.xplane.pb"))
        if not files:
            return None
        data = jax.profiler.ProfileData.from_file(str(files[0]))
        for plane in data.planes:
            if plane.name.startswith("/device:"):
                streams = [line for line in plane.lines if line.name.startswith("Stream")]
                return sum(1 for line in streams for _ in line.events) or None
    return None


class Call:
    """Compiled call of `updates` updates.  It keeps the training state and continues from it."""

    def __init__(self, config: VPGConfig, updates: int, seeds: int):
        self.updates = updates
        hp = stack_hyperparams(config, [Hyperparams()] * seeds)
        width = math.ceil(seeds / len(jax.devices()))
        self.program: Program = compile_program(config, updates, width, jax.devices(), hp)
        rows = self.program.rows
        self.hp = self.program.place(jax.tree.map(lambda x: np.resize(x, (rows, *x.shape[1:])), hp))
        self.state = self.program.init(np.arange(rows, dtype=np.uint32), self.hp)

    def __call__(self) -> Any:
        result = self.program.advance(self.state, self.hp, 0, self.updates)
        self.state = result.state
        return result.metrics


def measure(num_envs: int, num_steps: int, seeds: int, best: dict, args: Any) -> dict[str, Any]:
    """Measure one size."""
    updates = 1 if args.smoke else max(1, min(32, 2**26 // (num_envs * num_steps * seeds)))
    setup = setup_of(num_envs, num_steps, value_iterations=1, updates=updates)
    call = Call(setup.config, updates, seeds)
    jax.block_until_ready(call())
    seconds = [_common.seconds(call) for _ in range(args.repeats)]
    median, low, high = _common.median_and_spread(seconds)
    often = updates * call.program.width  # updates of all runs on one device
    total = sum(work(setup).values(), Work()) * often
    steps = call.program.rows * num_envs * num_steps * updates
    ran = kernels(call)
    return {
        "envs": num_envs,
        "steps": num_steps,
        "seeds": call.program.rows,
        "rate": steps / median,
        "rate_low": steps / high,
        "rate_high": steps / low,
        "device_bytes": call.program.device_bytes,
        "kernels_per_step": None if ran is None else ran / (updates * num_steps),
        "matrix_share": total.flops / median / best["flops"],
        "bandwidth_share": total.bytes / median / best["bytes"],
    }


def main() -> None:
    """Measure the sizes given on the command line."""
    parser = _common.parser(__doc__)
    parser.add_argument("--shape", nargs=2, type=int, action="append", metavar=("N", "T"))
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    shapes = args.shape or SHAPES
    if args.smoke:
        shapes, args.seeds, args.repeats = ((2, 4),), (1, 2), 1
    use_compilation_cache()
    best, results = card(args.smoke), []
    print(f"the device reaches {best['flops']:.3g} flop/s, {best['bytes']:.3g} bytes/s")
    for num_envs, num_steps in shapes:
        for seeds in args.seeds:
            if num_envs * num_steps * seeds > MOST_ROWS:
                continue
            row = measure(num_envs, num_steps, seeds, best, args)
            ran = row["kernels_per_step"]
            print(
                f"{num_envs:>6} x {num_steps:<4} {row['seeds']:>5} seeds  "
                f"{row['rate'] / 1e6:10.2f}M steps/s ({row['rate_low'] / 1e6:.2f} to "
                f"{row['rate_high'] / 1e6:.2f})  {row['device_bytes'] / 1e6:,.0f} MB a device  "
                f"kernels a step {'unknown' if ran is None else f'{ran:.1f}'}  "
                f"matrix rate {row['matrix_share']:.1%}, bandwidth "
                f"{row['bandwidth_share']:.1%} of the device's",
                flush=True,
            )
            results.append(row)
    _common.report(results, args.json)


if __name__ == "__main__":
    main()

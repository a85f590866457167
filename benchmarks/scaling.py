"""Growth of time and memory with seeds, environments, steps, network width and devices.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --axis seeds --plot scaling.png

One axis varies at a time.  The base is 1 seed, 64 environments, 128 steps and two layers of 64, on
one device.

- Seconds: median time of one update of all runs.
- Bytes: arguments, results and temporaries of the compiled program (`memory_analysis()`).
- Exponent: slope of a line through the logarithms of the larger half of the points.  1 means
  proportional; 0 means no extra cost.

Devices (the cores of a CPU) share the runs of one program, so on that axis look at the steps per
second.
"""

import math
from typing import Any

import _common
import jax
import numpy as np

from purejaxvpg import Hyperparams, VPGConfig
from purejaxvpg.experiment.devices import use_every_core
from purejaxvpg.experiment.program import compile_program
from purejaxvpg.experiment.stacking import stack_hyperparams

AXES = {
    "seeds": (1, 4, 16, 64, 256, 1024, 4096),
    "environments": (4, 16, 64, 256, 1024, 4096, 16384),
    "steps": (8, 32, 128, 512, 2048),
    "width": (16, 32, 64, 128, 256, 512),
    "devices": (1, 2, 4, 8),
}
BASE = {"seeds": 1, "environments": 64, "steps": 128, "width": 64, "devices": 1}
# Many seeds in the base would hide the cost of an axis.  The devices axis needs many to share.
BASE_OF = {"seeds": {"environments": 4}, "devices": {"seeds": 64, "environments": 4}}
MOST_ROWS = 2**21  # of one update; more take minutes on two cores


def measure(axis: str, value: int, updates: int, repeats: int, smoke: bool) -> dict[str, Any]:
    """Measure one point: seconds of an update, bytes, steps per second."""
    at = BASE | BASE_OF.get(axis, {}) | {axis: value}
    if smoke:
        at |= {name: 2 for name in ("environments", "steps", "width") if name != axis}
    config = VPGConfig(
        num_envs=at["environments"],
        num_steps=at["steps"],
        total_steps=at["environments"] * at["steps"] * updates,
        hidden_sizes=(at["width"], at["width"]),
        value_iterations=1,
        diagnostics=False,
    )
    hp = stack_hyperparams(config, [Hyperparams()] * at["seeds"])
    devices = jax.devices()[: at["devices"]]
    width = math.ceil(at["seeds"] / len(devices))
    program = compile_program(config, updates, width, devices, hp)
    placed = program.place(jax.tree.map(lambda x: np.resize(x, (program.rows, *x.shape[1:])), hp))
    state = program.init(np.arange(program.rows, dtype=np.uint32), placed)
    seconds = []
    for _ in range(repeats + 1):  # the first call warms up
        result = {}

        def advance(state: Any = state, result: dict = result) -> Any:
            result["latest"] = program.advance(state, placed, 0, updates)
            return result["latest"]

        seconds.append(_common.seconds(advance) / updates)
        state = result["latest"].state
    median, low, high = _common.median_and_spread(seconds[1:])
    rows = program.rows * config.steps_per_update
    return {
        "axis": axis,
        "value": value,
        "seconds": median,
        "seconds_low": low,
        "seconds_high": high,
        "bytes": program.device_bytes,
        "steps_per_second": rows / median,
    }


def exponent(points: list[dict], name: str) -> float:
    """Slope of log(name) over log(value) through the larger half of the points."""
    half = points[len(points) // 2 - 1 :] if len(points) > 2 else points
    if len(half) < 2:
        return float("nan")
    x = np.log([point["value"] for point in half])
    return float(np.polyfit(x, np.log([point[name] for point in half]), 1)[0])


def plot(path: str, results: list[dict]) -> None:
    """Plot seconds and bytes over each axis, all on logarithmic scales."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    axes = list(dict.fromkeys(point["axis"] for point in results))
    figure, panels = plt.subplots(1, len(axes), figsize=(3.2 * len(axes), 3), squeeze=False)
    for panel, axis in zip(panels[0], axes, strict=True):
        points = [point for point in results if point["axis"] == axis]
        values = [point["value"] for point in points]
        panel.loglog(values, [p["seconds"] for p in points], "o-", color="#0072B2", label="seconds")
        other = panel.twinx()
        other.loglog(values, [p["bytes"] for p in points], "s--", color="#D55E00", label="bytes")
        panel.xaxis.set_minor_formatter(NullFormatter())  # minor labels would overlap
        panel.set_xlabel(axis)
        panel.set_ylabel("seconds of an update", color="#0072B2")
        other.set_ylabel("bytes of the program", color="#D55E00")
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure the axes given on the command line."""
    parser = _common.parser(__doc__)
    parser.add_argument("--axis", action="append", choices=sorted(AXES), help="only this one")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--plot", metavar="FILE", help="a picture of the results")
    args = parser.parse_args()
    use_every_core()
    results = []
    for axis in args.axis or (["devices"] if args.smoke else AXES):
        points = []
        for value in AXES[axis][:2] if args.smoke else AXES[axis]:
            at = BASE | BASE_OF.get(axis, {}) | {axis: value}
            rows = at["seeds"] * at["environments"] * at["steps"]
            if at["devices"] > len(jax.devices()) or rows > MOST_ROWS:
                continue
            updates = 2 if args.smoke else max(1, min(64, 2**18 // rows))
            point = measure(axis, value, updates, 1 if args.smoke else args.repeats, args.smoke)
            points.append(point)
            print(
                f"{axis:<12} {value:>6}  {point['seconds'] * 1e3:10.3f} ms "
                f"({point['seconds_low'] * 1e3:.3f} to {point['seconds_high'] * 1e3:.3f})  "
                f"{point['bytes'] / 1e6:9.2f} MB  {point['steps_per_second'] / 1e6:6.2f}M steps/s",
                flush=True,
            )
        print(
            f"{axis:<12} exponents: seconds {exponent(points, 'seconds'):.2f}, "
            f"bytes {exponent(points, 'bytes'):.2f}"
        )
        results += points
    if args.plot:
        plot(args.plot, results)
    _common.report(results, args.json)


if __name__ == "__main__":
    main()

"""How time and memory grow: with seeds, environments, steps, the width of the networks, devices.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --axis seeds --plot scaling.png

One axis at a time from a base of 1 seed, 64 environments, 128 steps, two layers of 64, on one
device.  Seconds: of one update of all runs, median.  Bytes: arguments, results and temporaries of
the compiled program (`memory_analysis()`).  The exponent is the slope of the line through the
logarithms of the larger half of the points: 1 is proportional, 0 costs nothing more.  Devices
(the cores of a CPU) share the runs of one program: there the steps per second are what grows.
"""

import math
from typing import Any

import _common
import jax
import numpy as np

from purejaxvpg import Hyperparams, VPGConfig
from purejaxvpg.experiment.devices import use_every_core
from purejaxvpg.experiment.placement import compile_program, stack_hyperparams

AXES = {
    "seeds": (1, 4, 16, 64, 256, 1024, 4096),
    "environments": (4, 16, 64, 256, 1024, 4096, 16384),
    "steps": (8, 32, 128, 512, 2048),
    "width": (16, 32, 64, 128, 256, 512),
    "devices": (1, 2, 4, 8),
}
BASE = {"seeds": 1, "environments": 64, "steps": 128, "width": 64, "devices": 1}
# A base of many seeds would hide what an axis costs; one seed would leave devices without work.
BASE_OF = {"seeds": {"environments": 4}, "devices": {"seeds": 64, "environments": 4}}
MOST_ROWS = 2**21  # of one update: more than this takes minutes on two cores


def measure(axis: str, value: int, updates: int, repeats: int, smoke: bool) -> dict[str, Any]:
    """One point: seconds of an update, bytes, steps per second."""
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
    for _ in range(repeats + 1):  # the first warms up
        result = {}

        def advance(state: Any = state, result: dict = result) -> Any:
            result["of"] = program.advance(state, placed)
            return result["of"]

        seconds.append(_common.seconds(advance) / updates)
        state = result["of"].state
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
    """Seconds and bytes over every axis, both logarithmic."""
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
        panel.xaxis.set_minor_formatter(NullFormatter())  # labels of half a decade run together
        panel.set_xlabel(axis)
        panel.set_ylabel("seconds of an update", color="#0072B2")
        other.set_ylabel("bytes of the program", color="#D55E00")
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure the axes asked for."""
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
            found = measure(axis, value, updates, 1 if args.smoke else args.repeats, args.smoke)
            points.append(found)
            print(
                f"{axis:<12} {value:>6}  {found['seconds'] * 1e3:10.3f} ms "
                f"({found['seconds_low'] * 1e3:.3f} to {found['seconds_high'] * 1e3:.3f})  "
                f"{found['bytes'] / 1e6:9.2f} MB  {found['steps_per_second'] / 1e6:6.2f}M steps/s",
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

"""Time of each phase of an update, divided by the least time that this machine allows (floor).

    python benchmarks/limits.py
    python benchmarks/limits.py --shape 64 128 --shape 2048 128 --value-iterations 1

The floor of a phase is the sum of those terms below that apply to it.  All are measured in the
same run.

- Environment: the same number of steps with random actions and no network.
- Networks: their floating-point operations (`cost_analysis()`), at the rate of a matrix product of
  the same shape on this machine.  The product has the rows of the batch by 64 x 64.  It is timed
  with all rows, and with as many as the package computes at once; the faster one counts.
- Memory: the bytes that a phase must read and write once, at the rate of a copy of an array as
  large as the batch.

"With tanh" adds the tanh of the networks, which is not counted as a floating-point operation.  It
is timed on as many rows as the package computes at once (rows.py).

A phase is timed as a difference of medians: updates that stop after this phase, minus updates that
stop before it.  With one value iteration, XLA computes V of a batch of up to two row chunks once,
for the advantages and for the first gradient.  "Value fit" is then the backward pass alone.  Its
floor counts only the backward pass for larger batches too.
"""

import math
from collections.abc import Callable
from typing import Any

import _common
import jax
import jax.numpy as jnp
from _work import setup_of, size, work
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from purejaxvpg import Hyperparams, vpg
from purejaxvpg.advantages import ESTIMATORS, VALUE_TARGETS, Discounts, Trajectory
from purejaxvpg.agent import Setup
from purejaxvpg.compute import Compute
from purejaxvpg.compute.layout import over_environments
from purejaxvpg.compute.rows import CPU_ROWS

PHASES = ("collect", "values", "advantages", "policy step", "value fit")
ONE_DEVICE = Compute()


def upto(setup: Setup, last: str, updates: int) -> Callable[[Any], Any]:
    """Jitted run of `updates` updates that stop after the phase `last`.

    The compiler removes each computation whose result is not returned.
    """
    hp = Hyperparams()

    def one(state: Any, _: None) -> tuple[Any, Any]:
        state, batch, episodes = vpg.collect(setup, state, hp)
        if last == "collect":
            # Sum every array of the batch, else the compiler would remove those that are unused.
            return state, (episodes, jax.tree.map(lambda x: x.astype(float).sum(), batch))
        state, rows, judged = vpg.judge(setup, state, batch, hp)
        if last == "judge":
            return state, (episodes, judged, rows.psi.sum(), rows.outputs.sum())
        state, improved = vpg.improve(setup, state, rows, hp)
        if last == "improve":
            return state, (episodes, judged, improved)
        state, fitted = vpg.fit(setup, state, rows, hp)
        return state, (episodes, judged, improved, fitted)

    def run(state: Any) -> Any:
        return lax.scan(one, state, length=updates)

    parts = over_environments()
    return jax.jit(over_devices(setup.compute, run, (parts,), (parts, P())))


def over_devices(
    compute: Compute, function: Callable[..., Any], in_specs: Any, out_specs: Any
) -> Callable[..., Any]:
    """The same function, computed on each device for that device's share of the environments."""
    if compute.devices == 1:
        return function
    mesh = jax.make_mesh((compute.devices,), (compute.axis,), axis_types=(AxisType.Auto,))
    specs: dict[str, Any] = {"in_specs": in_specs, "out_specs": out_specs}
    return jax.shard_map(function, mesh=mesh, check_vma=False, **specs)


def repeated(
    function: Callable[..., Any], times: int, *args: Any, compute: Compute = ONE_DEVICE
) -> Callable[[], Any]:
    """Call that runs a function `times` times in one compiled loop, one after another.

    The loop returns the whole result of the function, else the compiler would remove the unused
    parts.  With several devices, each one gets a share of the first argument and all of the
    others.
    """
    floats = [i for i, x in enumerate(args) if jnp.issubdtype(x.dtype, jnp.floating)]
    smallest = min(floats, key=lambda i: args[i].size)

    def turn(carry: Any, _: None) -> tuple[Any, None]:
        args = [*carry[0]]
        out = function(*args)
        # Add a tiny part of the result to the next input, else the iterations would not have to
        # run in order.
        hair = sum(x.ravel()[0].astype(jnp.float32) for x in jax.tree.leaves(out)) * 1e-30
        args[smallest] += hair
        return (args, out), None

    def run(*args: Any) -> Any:
        out = jax.eval_shape(function, *args)
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), out)
        return lax.scan(turn, ([*args], nothing), length=times)[0]

    split = P(compute.axis)
    loop = jax.jit(over_devices(compute, run, (split, *[P()] * (len(args) - 1)), split))
    return lambda: loop(*args)


def random_actions(setup: Setup, updates: int) -> Callable[[], Any]:
    """Call that runs only the environments, for the steps of `updates` updates.

    The actions are uniformly random and drawn in advance.
    """
    config, env, compute = setup.config, setup.env, setup.compute
    params = setup.agent.env_params(Hyperparams())
    split = P(compute.axis)
    reset = over_devices(compute, lambda key: env.reset(key, params)[0], P(), split)
    state = jax.jit(reset)(jax.random.key(0))
    shape = (updates * config.num_steps, config.num_envs)
    actions = jax.random.randint(jax.random.key(1), shape, 0, 2)

    def run(state: Any, actions: Any) -> Any:
        index = jnp.arange(shape[0]) % config.num_steps
        keys = jax.vmap(env.keys)(jax.random.split(jax.random.key(2), shape[0]), index)

        def step(state: Any, x: Any) -> tuple[Any, Any]:
            state, out = env.step(x[0], state, x[1], params)
            return state, out.reward.sum() + out.obs.sum()

        return lax.scan(step, state, (keys, actions))

    in_specs = (split, P(None, compute.axis))
    jitted = jax.jit(over_devices(compute, run, in_specs, (split, P())))
    return lambda: jitted(state, actions)


def floors(setup: Setup, median: Callable[..., float]) -> tuple[dict, dict, dict]:
    """Floors of one update: seconds by phase, seconds of tanh by phase, and the rates used."""
    config, updates = setup.config, 8
    env_alone = median(random_actions(setup, updates)) / updates

    def each(function: Callable[..., Any], *args: Any) -> float:
        turns = max(8, 2**18 // len(args[0]))
        ways = {ONE_DEVICE, setup.compute}  # one program, or one per device; the faster counts
        return min(median(repeated(function, turns, *args, compute=way)) for way in ways) / turns

    def layers(x: Any, bias: Any) -> list[Any]:
        """tanh in independent chunks; `map_rows` would also copy the chunks into one array."""
        chunks = math.ceil(len(x) / CPU_ROWS)
        return [jnp.tanh(part + bias) for part in jnp.array_split(x, chunks)]

    rates, tanhs = {}, {}
    for name, number in (
        ("rows of a step", config.num_envs),
        ("rows of a batch", config.steps_per_update),
    ):
        under_way = min(number, 2 * CPU_ROWS)  # two chunks
        rates[name] = max(
            rows * 2 * 64 * 64 / each(jnp.matmul, jnp.ones((rows, 64)), jnp.eye(64))
            for rows in {number, under_way}
        )
        x = jnp.ones((under_way, 64))
        tanhs[name] = x.size / each(layers, x, jnp.zeros(64))
    numbers = jnp.ones(max(4 * config.steps_per_update, 1024))
    bandwidth = 2 * size(numbers) / each(jnp.add, numbers, jnp.ones(1))

    alone = setup_of(config.num_envs, config.num_steps, config.value_iterations)
    seconds, tanh_seconds = {}, {}
    for phase, least in work(alone).items():
        rows = "rows of a step" if phase == "collect" else "rows of a batch"
        seconds[phase] = least.flops / rates[rows] + least.bytes / bandwidth
        tanh_seconds[phase] = least.transcendentals / tanhs[rows]
    seconds["collect"] += env_alone
    return (
        seconds,
        tanh_seconds,
        {
            "environment alone, steps/s": config.num_envs * config.num_steps / env_alone,
            **{f"matrix rate over {name}, flop/s": rate for name, rate in rates.items()},
            **{f"tanh over {name}, 1/s": rate for name, rate in tanhs.items()},
            "copy, bytes/s": bandwidth,
        },
    )


def times(setup: Setup, updates: int, repeats: int) -> tuple[dict[str, float], float]:
    """Seconds of each phase of one update, and of the whole update."""
    config = setup.config
    stages = ("collect", "judge", "improve", "fit")
    runs = {stage: upto(setup, stage, updates) for stage in stages}
    state = vpg.make_learner(config).init(jax.random.key(0))
    x = jnp.ones((config.num_steps, config.num_envs))
    no, yes = jnp.zeros(x.shape, bool), jnp.ones(x.shape, bool)
    estimator, value_target = ESTIMATORS[str(config.estimator)], VALUE_TARGETS[config.value_target]
    discounts = Discounts(0.99, 0.95, config.n_step)

    def advantages(reward: Any, values: Any, ends: Any, alive: Any) -> Any:
        trajectory = Trajectory(reward, values, values, ends, ends, alive)
        return estimator(trajectory, discounts), value_target(trajectory, discounts)

    calls = {stage: lambda run=run: run(state) for stage, run in runs.items()}
    calls["advantages"] = repeated(advantages, updates, x, x, no, yes)
    measured = {name: [] for name in calls}
    for call in calls.values():
        jax.block_until_ready(call())  # compiles
    for _ in range(repeats):
        for name, call in calls.items():
            measured[name].append(_common.seconds(call) / updates)
    medians = {name: _common.median_and_spread(values)[0] for name, values in measured.items()}
    phases = {
        "collect": medians["collect"],
        "values": medians["judge"] - medians["collect"] - medians["advantages"],
        "advantages": medians["advantages"],
        "policy step": medians["improve"] - medians["judge"],
        "value fit": medians["fit"] - medians["improve"],
    }
    return phases, medians["fit"]


def line(name: str, steps: int, *seconds: float) -> str:
    """Text with a phase's time, floor, and floor with tanh, in ns a step.

    `seconds` holds these three in that order, for `steps` steps.
    """
    took, floor, tanh = (x / steps * 1e9 for x in seconds)
    return (
        f"  {name:<12} {took:8.1f}   floor {floor:8.1f}   {took / floor:5.2f} x   "
        f"with tanh {tanh:8.1f}   {took / tanh:5.2f} x"
    )


def main() -> None:
    """Measure each shape."""
    parser = _common.parser(__doc__)
    parser.add_argument("--shape", nargs=2, type=int, action="append", metavar=("N", "T"))
    parser.add_argument("--value-iterations", type=int, default=1)
    parser.add_argument("--devices", type=int, default=1, help="that share a run's environments")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    if jax.config.jax_num_cpu_devices < args.devices:  # type: ignore[attr-defined]
        jax.config.update("jax_num_cpu_devices", args.devices)
    shapes = args.shape or [(64, 128), (2048, 128)]
    if args.smoke:
        shapes, args.repeats = [(2, 4)], 1

    def median(call: Callable[[], Any]) -> float:
        jax.block_until_ready(call())  # compiles
        return _common.median_and_spread([_common.seconds(call) for _ in range(args.repeats)])[0]

    results = []
    for num_envs, num_steps in shapes:
        setup = setup_of(num_envs, num_steps, args.value_iterations, devices=args.devices)
        updates = 2 if args.smoke else max(2, 500_000 // (num_envs * num_steps))
        lowest, tanh_seconds, rates = floors(setup, median)
        with_tanh = {name: lowest[name] + tanh_seconds[name] for name in PHASES}
        phases, whole = times(setup, updates, args.repeats)
        steps = num_envs * num_steps
        print(f"{num_envs} x {num_steps}, {args.value_iterations} value iterations; ns a step")
        for name in PHASES:
            print(line(name, steps, phases[name], lowest[name], with_tanh[name]))
        gaps = {name: phases[name] - lowest[name] for name in PHASES}
        gap = max(PHASES, key=gaps.__getitem__)
        totals = line("whole", steps, whole, sum(lowest.values()), sum(with_tanh.values()))
        print(f"{totals}; the largest gap: {gap}, {gaps[gap] / steps * 1e9:.0f} ns")
        print("  " + ", ".join(f"{name} {value:.3g}" for name, value in rates.items()), flush=True)
        results.append(
            {"envs": num_envs, "steps": num_steps, "value_iterations": args.value_iterations,
             "seconds": phases, "floors": lowest, "tanh": tanh_seconds, "whole": whole,
             "rates": rates}
        )  # fmt: skip
    _common.report(results, args.json)


if __name__ == "__main__":
    main()

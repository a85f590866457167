"""Every option of VPGConfig switched on, beside the default: time, memory, compilation.

    python benchmarks/switches.py
    python benchmarks/switches.py --only shared_torso --only network=cnn --repeats 11

The default and one option run in turn (A B A B ...) in one process.  Ratios above 1: the option
takes longer, or more memory, than the default of its world; those above 1.5 are marked.  Memory is
what the compiled program says it needs.  Fields that are sizes rather than options are left out
(benchmarks/scaling.py has them); a field in neither list ends the script.
"""

import dataclasses
import time
from typing import Any, NamedTuple

import _common
import jax
import optax

from purejaxvpg import Hyperparams, VPGConfig, make_train
from purejaxvpg.advantages import ESTIMATORS

MARK = 1.5
SMOKE = "shared_torso"
SIZES = (
    "env", "env_kwargs", "total_steps", "num_envs", "num_steps", "n_step", "value_iterations",
    "hidden_sizes", "eval_episodes", "eval_steps", "init_std", "min_std", "obs_clip",
    "memory_size", "policy_obs", "value_obs",
)  # fmt: skip


def adamw(learning_rate: Any) -> optax.GradientTransformation:
    """A rule given as a function."""
    return optax.adamw(learning_rate)


class World(NamedTuple):
    """An environment's default, and the options that are switched on in it, by name."""

    default: dict[str, Any]
    options: dict[str, dict[str, Any]]


def worlds(num_steps: int) -> dict[str, World]:
    """All options, each in a world where it does something.  num_steps: T."""
    whole = {"rollout": "episodes", "max_episode_steps": num_steps}
    cartpole = {
        "shared_torso": {"shared_torso": True},
        "max_episode_steps": {"max_episode_steps": num_steps},
        "rollout=episodes": whole,
        **{
            f"estimator={name}": {"estimator": name} | (whole if name == "total_return" else {})
            for name in ESTIMATORS
            if name != "gae"
        },
        "normalize_advantages=False": {"normalize_advantages": False},
        "value_target=lambda_return": {"value_target": "lambda_return"},
        "activation=relu": {"activation": "relu"},
        "kernel_init=lecun_normal": {"kernel_init": "lecun_normal"},
        "normalize_obs": {"normalize_obs": True},
        "normalize_rewards": {"normalize_rewards": True},
        "optimizer=sgd": {"optimizer": "sgd"},
        "optimizer=rmsprop": {"optimizer": "rmsprop"},
        "optimizer=function": {"optimizer": adamw},
        "lr_schedule=linear": {"lr_schedule": "linear"},
        "lr_schedule=cosine": {"lr_schedule": "cosine"},
        "gradient_rows=1024": {"gradient_rows": 1024},
        "renewal=32": {"renewal": 32},
        "memory=gru": {"memory": "gru"},
        "eval_every=1": {"eval_every": 1},
        "diagnostics=False": {"diagnostics": False},
    }
    pendulum = {
        "std=free": {"std": "free"},
        "bounding=tanh": {"bounding": "tanh"},
    }
    return {
        "CartPole-v1": World({}, cartpole),
        "Pendulum-v1": World({}, pendulum),
        "Breakout-MinAtar": World({"network": "mlp"}, {"network=cnn": {"network": "cnn"}}),
    }


def check_all_fields(every: dict[str, World]) -> None:
    """End the script if a field of VPGConfig is measured nowhere."""
    measured = {f for world in every.values() for option in world.options.values() for f in option}
    fields = {field.name for field in dataclasses.fields(VPGConfig)}
    if missing := sorted(fields - measured - set(SIZES)):
        raise SystemExit(f"no switch for {', '.join(missing)}; add one, or name it in SIZES")


class Program(NamedTuple):
    """A compiled run."""

    run: Any
    updates: int
    megabytes: float
    compile_seconds: float  # tracing included

    def seconds(self) -> float:
        """Wall time of one update."""
        call = lambda: self.run(jax.random.key(0), Hyperparams())  # noqa: E731
        return _common.seconds(call) / self.updates


def compiled(fields: dict[str, Any], updates: int) -> Program:
    """The program of `updates` updates with these fields."""
    steps = fields["num_envs"] * fields["num_steps"] * updates
    config = VPGConfig(total_steps=steps, **fields)
    begun = time.perf_counter()
    run = jax.jit(make_train(config)).lower(jax.random.key(0), Hyperparams()).compile()
    took = time.perf_counter() - begun
    memory: Any = run.memory_analysis()
    total = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return Program(run, updates, total / 2**20, took)


def compare(name: str, env: str, default: Program, option: Program, repeats: int) -> dict:
    """Run both in turn; print one line of the table."""
    for program in (default, option):
        program.seconds()  # the first call is slower
    taken = [(default.seconds(), option.seconds()) for _ in range(repeats)]
    ratios = [b / a for a, b in taken]
    middle, low, high = _common.median_and_spread(ratios)
    before, after = (1e3 * _common.median_and_spread(list(x))[0] for x in zip(*taken, strict=True))
    mark = f"  <- above {MARK}" if middle > MARK else ""
    print(
        f"{env:<17} {name:<28} {before:8.2f} {after:8.2f}  {middle:5.2f} ({low:.2f} to {high:.2f})"
        f"  {option.megabytes / default.megabytes:5.2f}"
        f"  {default.compile_seconds:5.1f} {option.compile_seconds:5.1f}{mark}",
        flush=True,
    )
    return {
        "env": env, "option": name, "seconds": taken, "ratio": middle,
        "megabytes": (default.megabytes, option.megabytes),
        "compile_seconds": (default.compile_seconds, option.compile_seconds),
    }  # fmt: skip


def main() -> None:
    """Measure every option beside the default of its world."""
    parser = _common.parser(__doc__)
    parser.add_argument("--only", action="append", metavar="OPTION", help="may be repeated")
    parser.add_argument("--shape", nargs=2, type=int, default=(64, 128), metavar=("N", "T"))
    parser.add_argument("--updates", type=int, default=20, help="of a run")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    repeats, updates = (1, 2) if args.smoke else (args.repeats, args.updates)
    num_envs, num_steps = (2, 8) if args.smoke else args.shape
    every = worlds(num_steps)
    check_all_fields(every)
    if args.smoke and not args.only:  # all are made, and a pair is compiled
        for env, (fields, options) in every.items():
            for option in options.values():
                VPGConfig(**{"env": env, "num_envs": num_envs, "num_steps": num_steps,
                             "total_steps": num_envs * num_steps, **fields, **option})  # fmt: skip
        args.only = [SMOKE]
    names = {name for world in every.values() for name in world.options}
    if unknown := sorted(set(args.only or ()) - names):
        parser.error(f"--only {unknown[0]} is unknown; choose of {', '.join(sorted(names))}")
    print(
        f"{num_envs} x {num_steps}, {updates} updates, median of {repeats} (smallest to largest)\n"
        f"{'':<17} {'option':<28} {'ms an update':>17}  {'time ratio':<20}  memory  compile s"
    )
    results = []
    for env, (fields, options) in every.items():
        chosen = [x for x in options if not args.only or x in args.only]
        if not chosen:
            continue
        base = {"env": env, "num_envs": num_envs, "num_steps": num_steps, **fields}
        default = compiled(base, updates)
        for name in chosen:
            option = compiled(base | options[name], updates)
            results.append(compare(name, env, default, option, repeats))
    _common.report(results, args.json)


if __name__ == "__main__":
    main()

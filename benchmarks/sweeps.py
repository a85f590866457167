"""Speed of a whole study of CartPole, settings x seeds, compared with PureJaxRL on the same runs.

    python benchmarks/sweeps.py
    python benchmarks/sweeps.py --purejaxrl CHECKOUT --repeats 3     # A B A B

The study has 4 learning rates x 4 lambdas x 64 seeds = 1,024 runs of 50,176 steps, with 4
environments x 128 steps per rollout.  Each batch gets one policy and one value gradient step.
Policy and value function have two tanh layers of 64 units each.

Each measurement is a separate process.  One reason: its peak resident memory is a result.  The
other: on a small machine a second contender in the same process would make it swap.

- Ours: `sweep(...)` with chunk_size="auto" on all cores.
- PureJaxRL: its ppo.py with one epoch of one minibatch.  One call with `vmap` over 16 settings and
  64 seeds computes all runs, which is PureJaxRL's usual way.  It is measured twice: with everything
  that its `train` returns, and with the returns alone, so that the compiler drops the rest.
"""

import json
import resource
import sys
import time

import _common

STEPS, ENVS, ROLLOUT = 50_176, 4, 128
RATES, LAMBDAS, SEEDS = (1e-3, 3e-3, 1e-2, 3e-2), (0.9, 0.95, 0.99, 1.0), 64


def sizes(smoke: bool) -> dict:
    """Sizes of the study; tiny ones for a smoke test."""
    if smoke:
        return {"steps": 160, "envs": 2, "rollout": 8, "rates": (1e-3, 1e-2), "seeds": 2}
    return {"steps": STEPS, "envs": ENVS, "rollout": ROLLOUT, "rates": RATES, "seeds": SEEDS}


def ours(size: dict) -> dict:
    """Run this package's sweep in this process."""
    from purejaxvpg.experiment.devices import use_every_core

    use_every_core()
    from purejaxvpg import VPGConfig
    from purejaxvpg.experiment import sweep

    config = VPGConfig(
        num_envs=size["envs"],
        num_steps=size["rollout"],
        total_steps=size["steps"],
        value_iterations=1,
        value_target="lambda_return",
        diagnostics=False,
    )
    grid = {"policy_lr": size["rates"], "gae_lambda": LAMBDAS}
    study = sweep(config, grid, size["seeds"])
    names = ("widths", "chunks", "compilations", "compilations_to_measure_memory")
    return {
        "run_seconds": study.record.seconds,
        "compile_seconds": study.record.compile_seconds,
        **{name: getattr(study.record, name) for name in names},
    }


def purejaxrl(size: dict, checkout: str, returns_alone: bool) -> dict:
    """Run PureJaxRL's ppo.py over the same settings and seeds in one vmapped call."""
    import jax
    import jax.numpy as jnp
    from throughput import load_purejaxrl

    ppo = load_purejaxrl(checkout)

    def one_run(key, rate, gae_lambda):
        config = {
            "LR": rate, "NUM_ENVS": size["envs"], "NUM_STEPS": size["rollout"],
            "TOTAL_TIMESTEPS": size["steps"], "UPDATE_EPOCHS": 1, "NUM_MINIBATCHES": 1,
            "GAMMA": 0.99, "GAE_LAMBDA": gae_lambda, "CLIP_EPS": 0.2, "ENT_COEF": 0.0,
            "VF_COEF": 0.5, "MAX_GRAD_NORM": 0.5, "ACTIVATION": "tanh",
            "ENV_NAME": "CartPole-v1", "ANNEAL_LR": False, "DEBUG": False,
        }  # fmt: skip
        out = ppo.make_train(config)(key)  # includes the info of every step
        return out["metrics"]["returned_episode_returns"] if returns_alone else out

    rates, lambdas = (x.ravel() for x in jnp.meshgrid(jnp.array(size["rates"]), jnp.array(LAMBDAS)))
    keys = jax.vmap(jax.random.key)(jnp.arange(size["seeds"]))
    over_seeds = jax.vmap(one_run, in_axes=(0, None, None))
    study = jax.jit(jax.vmap(over_seeds, in_axes=(None, 0, 0)))
    begun = time.perf_counter()
    compiled = study.lower(keys, rates, lambdas).compile()
    compile_seconds = time.perf_counter() - begun
    run_seconds = _common.seconds(lambda: compiled(keys, rates, lambdas))
    return {"run_seconds": run_seconds, "compile_seconds": compile_seconds}


def measure(name: str, args) -> dict:
    """Measure one contender in a separate process."""
    command = [sys.executable, __file__, "--contender", name]
    command += ["--purejaxrl", args.purejaxrl] if args.purejaxrl else []
    command += ["--smoke"] if args.smoke else []
    return _common.apart(command, name)


def main() -> None:
    """Measure the contenders in turn, or one of them in this process."""
    parser = _common.parser(__doc__)
    parser.add_argument("--purejaxrl", metavar="CHECKOUT", help="a checkout of PureJaxRL")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--contender", help="measure this one in this process, and print it")
    args = parser.parse_args()
    size = sizes(args.smoke)
    if args.contender:
        begun = time.perf_counter()
        if args.contender == "purejaxvpg":
            measured = ours(size)
        else:
            measured = purejaxrl(size, args.purejaxrl, args.contender != "PureJaxRL")
        measured["whole_seconds"] = time.perf_counter() - begun
        measured["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(measured))
        return
    names = ["purejaxvpg"]
    names += ["PureJaxRL", "PureJaxRL, returns alone"] if args.purejaxrl else []
    runs = len(size["rates"]) * len(LAMBDAS) * size["seeds"]
    steps = runs * size["steps"]
    results = []
    for repeat in range(1 if args.smoke else args.repeats):
        for name in names:
            measured = measure(name, args)
            results.append({"name": name, "repeat": repeat, "steps": steps, **measured})
    print(f"{runs:,} runs of {size['steps']:,} steps; medians (smallest to largest)")
    for name in names:
        rows = [result for result in results if result["name"] == name]
        line = f"{name:<24}"
        for title, clock in (("running", "run_seconds"), ("with compilation", "whole_seconds")):
            middle, low, high = _common.median_and_spread([steps / r[clock] for r in rows])
            line += f" {middle / 1e6:.2f}M ({low / 1e6:.2f} to {high / 1e6:.2f}) steps/s {title},"
        peak = max(result["peak_bytes"] for result in rows)
        print(f"{line} peak {peak / 1e6:,.0f} MB")
        counts = {k: v for k, v in rows[0].items() if k in ("widths", "chunks") or "compil" in k}
        print(f"             {counts}")
    for name in names[1:]:
        for clock in ("run_seconds", "whole_seconds"):
            mine, theirs = ([r[clock] for r in results if r["name"] == n] for n in (names[0], name))
            ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
            middle, low, high = _common.median_and_spread(ratios)
            print(f"{middle:.2f} ({low:.2f} to {high:.2f}) x {name}, by {clock}")
    _common.report(results, args.json)


if __name__ == "__main__":
    main()

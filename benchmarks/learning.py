"""Learning curves of this code, compared with those of another checkout.

    python benchmarks/learning.py --beside CHECKOUT
    python benchmarks/learning.py --beside CHECKOUT --env Breakout-MinAtar --steps 1000000

Both train each preset with the same seeds, each in a separate process.  At ten points of the
curve the benchmark prints:

- the interquartile mean over seeds of the return of the last 20 episodes, with its 95% bootstrap
  interval;
- the probability that a seed of this code scores above a seed of the other (Mann and Whitney; 0.5
  if neither is better).

Without --beside it prints only the curve of this code.
"""

import argparse
import json
import sys

import _common
import numpy as np

POINTS, EPISODES = 10, 20


def curve(args: argparse.Namespace, env: str) -> list[list[float]]:
    """Trailing returns `[S, POINTS]` of the code that this process imports."""
    from purejaxvpg import presets
    from purejaxvpg.experiment import sweep
    from purejaxvpg.statistics import trailing_return

    config, hp = presets.load(env)
    config = presets.shortened(config, max(args.steps // config.steps_per_update, 1))
    metrics = sweep(config, {}, args.num_seeds, hp=hp).metrics  # [1, S, U] each
    sums, counts = metrics["episode_return_sum"][0], metrics["episode_count"][0]
    returns = trailing_return(sums, counts, EPISODES)
    at = np.linspace(0, returns.shape[1], POINTS + 1)[1:].astype(int) - 1
    return returns[:, at].tolist()


def measure(args: argparse.Namespace, env: str, checkout: str) -> np.ndarray:
    """Trailing returns `[S, POINTS]` of a checkout, measured in a separate process."""
    command = [sys.executable, __file__, "--worker", env, "--num-seeds", str(args.num_seeds)]
    command += ["--steps", str(args.steps)]
    path = {"PYTHONPATH": checkout} if checkout else {}
    return np.asarray(_common.apart(command, checkout or "this code", **path))


def summary(scores: np.ndarray) -> str:
    """Text with the interquartile mean and the interval of scores `[S]`."""
    from purejaxvpg.statistics import bootstrap

    if not np.isfinite(scores).all():
        return f"{'no episode yet':>28}"
    iqm = bootstrap(scores)
    return f"{float(iqm.value):10.2f} [{float(iqm.low):.2f}, {float(iqm.high):.2f}]"


def main() -> None:
    """Train each preset and print the comparison."""
    parser = _common.parser(__doc__)
    parser.add_argument("--beside", metavar="CHECKOUT", default="", help="of this package")
    parser.add_argument("--env", action="append", help="may be repeated; default: CartPole-v1")
    parser.add_argument("--num-seeds", type=int, default=32)
    parser.add_argument("--steps", type=int, default=200_000, help="of each seed")
    parser.add_argument("--worker", metavar="ENV", help="train this one here, and print its curve")
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(curve(args, args.worker)))
        return
    from purejaxvpg.statistics import probability_of_improvement

    if args.smoke:
        args.num_seeds, args.steps = 2, 1
    results = []
    for env in args.env or ["CartPole-v1"]:
        ours = measure(args, env, "")
        theirs = measure(args, env, args.beside) if args.beside else None
        print(f"{env}, {args.num_seeds} seeds, {args.steps:,} steps")
        for point in range(POINTS):
            line = f"  {(point + 1) / POINTS:4.0%}  {summary(ours[:, point])}"
            if theirs is not None:
                pair = (ours[:, point], theirs[:, point])
                line += f"   beside {summary(pair[1])}"
                if np.isfinite(pair).all():
                    line += f"   above it: {float(probability_of_improvement(*pair).value):.2f}"
            print(line, flush=True)
        beside = None if theirs is None else theirs.tolist()
        results.append({"env": env, "ours": ours.tolist(), "beside": beside})
    _common.report(results, args.json)


if __name__ == "__main__":
    main()

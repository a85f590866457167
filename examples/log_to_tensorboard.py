"""Logs: TensorBoard, lines of JSON, and a function of your own that stops when the task is solved.

    python examples/log_to_tensorboard.py            # a minute
    python examples/log_to_tensorboard.py --smoke    # tiny sizes
    tensorboard --logdir runs/logged

Needs the extra `tensorboard` (tensorboardX; to look at the files: `pip install tensorboard`).

Shows:
- a logger is anything that can be called with a `Segment`: the numbers of some updates of all
  seeds, between two compiled calls.  Nothing is called from inside the compiled program;
- several at once with `Together`; one that returns True stops the run, with everything kept;
- each seed is a curve, and `metrics.jsonl` is written beside it whatever you log.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from purejaxvpg import VPGConfig, loggers, presets
from purejaxvpg.experiment import train

SOLVED = 475.0  # gymnasium's threshold for CartPole-v1


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("runs/logged"))
    args = parser.parse_args(argv)

    (config, hp), seeds = presets.load("CartPole-v1"), 4
    if args.smoke:
        tiny = {"hidden_sizes": (8,), "value_iterations": 1}
        config, seeds = VPGConfig(total_steps=512, num_envs=2, num_steps=64, **tiny), 2
    best = -np.inf

    def until_solved(segment) -> bool:
        """Stop once all seeds together have an update whose mean return is `SOLVED`."""
        nonlocal best
        sums, counts = segment.metrics.episode_return_sum, segment.metrics.episode_count  # [k, n]
        means = sums.sum(0) / np.maximum(counts.sum(0), 1)  # [n]
        best = max(best, means.max())
        steps = segment.updates * config.steps_per_update
        print(f"{steps:>8,} steps a seed   best mean return of an update {best:6.1f}")
        return bool(best >= SOLVED)

    log = loggers.Together(loggers.TensorBoard(args.out / "tensorboard"), until_solved)
    study = train(config, hp, seeds, folder=args.out, on_segment=log, progress=False)

    lines = [json.loads(line) for line in (args.out / "metrics.jsonl").read_text().splitlines()]
    print(f"{len(lines)} lines in metrics.jsonl, one a seed and update; the last of them has")
    print({key: lines[-1][key] for key in ("seed", "update", "global_step", "losses/entropy")})
    print(f"stopped early: {not study.complete}.  Now: tensorboard --logdir {args.out}")


if __name__ == "__main__":
    main()

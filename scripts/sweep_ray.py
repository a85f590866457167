"""One study as n tasks of Ray, each with a shard of the runs, in one folder they all see.

python scripts/sweep_ray.py --folder runs/NAME                    on this machine
RAY_ADDRESS=auto python scripts/sweep_ray.py --folder /shared/NAME --gpus 1    on a Ray cluster
"""

import argparse
import shlex
from pathlib import Path

import ray

from purejaxvpg import VPGConfig
from purejaxvpg.experiment import load_study, sweep

GRID = {"policy_lr": [1e-3, 3e-3, 1e-2], "gae_lambda": [0.9, 0.95, 1.0]}
RAW = argparse.RawDescriptionHelpFormatter


@ray.remote(max_retries=3)  # a shard that is run again goes on where it was
def run_shard(index: int, args: argparse.Namespace) -> None:
    """The index-th of the shards."""
    config, num_seeds = VPGConfig(env="CartPole-v1"), 64
    if args.smoke:
        tiny = {"num_envs": 2, "num_steps": 8, "hidden_sizes": (8,), "value_iterations": 1}
        config, num_seeds = VPGConfig(env="CartPole-v1", total_steps=64, **tiny), 1
    sweep(config, GRID, num_seeds, shard=(index, args.tasks), folder=args.folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RAW)
    parser.add_argument("--folder", required=True, type=lambda text: Path(text).resolve())
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--gpus", type=float, default=0, help="of each task")
    parser.add_argument("--smoke", action="store_true", help="tiny runs, to see that it works")
    args = parser.parse_args()

    ray.init(**({"num_cpus": 1, "include_dashboard": False} if args.smoke else {}))
    task = run_shard.options(num_cpus=1, num_gpus=args.gpus)
    ray.get([task.remote(index, args) for index in range(args.tasks)])  # raises what a task raised
    done = load_study(args.folder).done
    folder = shlex.quote(args.folder)
    print(f"{done.sum()} of {done.size} runs are done; see: purejaxvpg report {folder}")


if __name__ == "__main__":
    main()

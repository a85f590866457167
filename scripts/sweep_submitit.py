"""One study as n jobs of submitit, each with a shard of the runs, in one folder they all see.

python scripts/sweep_submitit.py --folder runs/NAME                   on SLURM, 8 jobs
python scripts/sweep_submitit.py --folder runs/NAME --cluster local   on this machine
"""

import argparse
import shlex

import submitit

from purejaxvpg import VPGConfig
from purejaxvpg.experiment import load_study, sweep

GRID = {"policy_lr": [1e-3, 3e-3, 1e-2], "gae_lambda": [0.9, 0.95, 1.0]}
RAW = argparse.RawDescriptionHelpFormatter


def run_shard(index: int, args: argparse.Namespace) -> None:
    """The index-th of the shards.  Run again, it goes on where it was."""
    config, num_seeds = VPGConfig(env="CartPole-v1"), 64
    if args.smoke:
        tiny = {"num_envs": 2, "num_steps": 8, "hidden_sizes": (8,), "value_iterations": 1}
        config, num_seeds = VPGConfig(env="CartPole-v1", total_steps=64, **tiny), 1
    sweep(config, GRID, num_seeds, shard=(index, args.jobs), folder=args.folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RAW)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--cluster", default="slurm", choices=("slurm", "local", "debug"))
    parser.add_argument("--gpus", type=int, default=0, help="of each job")
    parser.add_argument("--smoke", action="store_true", help="tiny runs, to see that it works")
    args = parser.parse_args()

    executor = submitit.AutoExecutor(folder=f"{args.folder}-logs", cluster=args.cluster)
    executor.update_parameters(timeout_min=60, cpus_per_task=4, gpus_per_node=args.gpus)
    for job in executor.map_array(run_shard, range(args.jobs), [args] * args.jobs):
        job.result()  # waits; raises what the job raised
    done = load_study(args.folder).done
    folder = shlex.quote(args.folder)
    print(f"{done.sum()} of {done.size} runs are done; see: purejaxvpg report {folder}")


if __name__ == "__main__":
    main()

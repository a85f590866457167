#!/usr/bin/env bash
# One study as a SLURM array: every task computes a shard of the runs, into one folder that all of
# them see.  The last task to end completes the study and writes its report.
#
#   sbatch scripts/sweep_slurm.sh                    8 shards, a GPU each
#   sbatch --array=0-31 scripts/sweep_slurm.sh       32 shards
#   sbatch scripts/sweep_slurm.sh --out runs/NAME    the same folder again: what is done stays done
#
#SBATCH --job-name=purejaxvpg
#SBATCH --array=0-7
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --time=01:00:00
#SBATCH --output=%x-%A-%a.log
set -euo pipefail

# auto: the task's share, by SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT.
exec purejaxvpg sweep CartPole-v1 \
  --grid policy_lr=1e-3,3e-3,1e-2 gae_lambda=0.9,0.95,1.0 \
  --num-seeds 64 \
  --shard auto \
  --out "runs/cartpole-${SLURM_ARRAY_JOB_ID:-array}" \
  "$@"

"""Scores of another library beside ours: one table, one sentence, no claim beyond the intervals.

    python examples/compare_with_ppo.py            # a few minutes
    python examples/compare_with_ppo.py --smoke    # tiny sizes
    python examples/compare_with_ppo.py --scores mine.csv

ppo_cartpole.csv holds 16 seeds of PureJaxRL's PPO; its head says how they were made.  A file of
your own is a header `seed,score` (or `seed,score,env`) and a line a run.

Shows:
- `compare` reads runs, studies and files; a score has to be the same thing in all of them, here
  the mean return of the last 20 training episodes after 500,000 steps;
- the interval of the *difference* says whether two are apart; two overlapping intervals do not;
- one table says nothing of wall time, of other environments, or of other settings: ours are tuned
  for CartPole, and PPO's are those that its file came with.

    VPG                  16   500.0 [500.0, 500.0]
    ppo_cartpole         16   498.4 [492.3, 500.0]       0.25

    The interval of the difference contains 0: these runs do not tell the two apart.
"""

import argparse
from pathlib import Path

from purejaxvpg import VPGConfig, presets
from purejaxvpg.experiment import train
from purejaxvpg.report import compare


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--scores", type=Path, default=Path(__file__).parent / "ppo_cartpole.csv")
    args = parser.parse_args(argv)

    (config, hp), seeds = presets.load("CartPole-v1"), 16
    if args.smoke:
        tiny = {"hidden_sizes": (8,), "value_iterations": 1}
        config, seeds = VPGConfig(total_steps=512, num_envs=2, num_steps=64, **tiny), 2
    study = train(config, hp, seeds)

    comparison = compare(study, args.scores, labels=["VPG", args.scores.stem])
    print("                   runs    IQM [95%]               P(beats VPG)")
    for row in comparison.tables[0].rows:
        iqm, low, high = row.iqm
        beats = "" if row.beats_first is None else f"{row.beats_first.value:.2f}"
        print(f"{row.label:18} {row.runs:4}  {iqm:6.1f} [{low:.1f}, {high:.1f}]   {beats:>8}")
    print("", *comparison.sentences(), *comparison.notes, sep="\n")


if __name__ == "__main__":
    main()

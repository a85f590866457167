"""A figure and a sentence for a paper, from two runs that are kept in folders.

    python examples/paper_figure.py            # a minute or two
    python examples/paper_figure.py --smoke    # tiny sizes

Shows:
- runs with a folder: killed, they go on where they were when this is started again (`resume`);
- `plot_curves`: interquartile mean over seeds with its 95% bootstrap band, text of 8 pt, TrueType
  fonts, one column wide; the same file, byte for byte, each time it is drawn;
- `compare`: the sentence on the same runs, with intervals and the probability of improvement.

The same on the command line: `purejaxvpg plot` and `purejaxvpg compare` with the two folders.
"""

import argparse
from pathlib import Path

from purejaxvpg import VPGConfig, presets
from purejaxvpg.experiment import train
from purejaxvpg.report import compare, plot_curves


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("runs/paper_figure"))
    args = parser.parse_args(argv)

    folders, labels = [], ["λ = 0.98", "λ = 0"]
    for gae_lambda in (0.98, 0.0):
        config, hp = presets.load("CartPole-v1", total_steps=200_000, gae_lambda=gae_lambda)
        seeds = 16
        if args.smoke:
            tiny = {"hidden_sizes": (8,), "value_iterations": 1}
            config, seeds = VPGConfig(total_steps=512, num_envs=2, num_steps=64, **tiny), 2
        folders.append(args.out / f"lambda_{gae_lambda}")
        train(config, hp, seeds, folder=folders[-1], resume=True)

    figure = plot_curves(*folders, labels=labels, out=args.out / "figure.pdf")
    print(f"figure: {figure.path}")
    print(*figure.notes, *compare(*folders, labels=labels).sentences(), sep="\n")


if __name__ == "__main__":
    main()

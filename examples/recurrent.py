"""Memory: a task that nobody solves without, and that a GRU solves.

    python examples/recurrent.py            # a few minutes
    python examples/recurrent.py --smoke    # tiny sizes

MemoryChain (bsuite, as gymnax has it) shows one bit and asks for it later: +1 if the answer is
right, -1 if not.  At length L it has to be remembered for L - 1 steps.  Without memory the mean
return cannot exceed 0, except at length 1.

Shows:
- `memory="gru"`, one field: a recurrent cell between the torso and the head of both networks;
- the length of the chain as a condition, traced: settings are compared within one length.

    length  2   no memory   -0.00 [-0.01, 0.00]
    length  5   no memory   -0.00 [-0.01, 0.01]
    length 10   no memory   -0.02 [-0.02, -0.01]
    length  2   gru          1.00 [1.00, 1.00]
    length  5   gru          1.00 [1.00, 1.00]
    length 10   gru          1.00 [0.26, 1.00]

(The last interval is wide because some of the 8 seeds have not found it yet.)
"""

import argparse

from purejaxvpg import Hyperparams, VPGConfig
from purejaxvpg.experiment import sweep
from purejaxvpg.statistics import aggregate


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    args = parser.parse_args(argv)

    config = VPGConfig(
        env="MemoryChain-bsuite",
        total_steps=409_600,
        num_envs=16,
        num_steps=64,
        hidden_sizes=(32,),
        memory_size=32,
    )
    lengths, seeds, hp = [2, 5, 10], 8, Hyperparams(policy_lr=3e-3, max_grad_norm=10.0)
    if args.smoke:
        sizes = {"num_envs": 8, "num_steps": 32, "value_iterations": 1, "diagnostics": False}
        sizes |= {"total_steps": 25_600, "hidden_sizes": (8,), "memory_size": 8}
        config = VPGConfig(env="MemoryChain-bsuite", **sizes)
        lengths, seeds, hp = [2], 2, Hyperparams(policy_lr=3e-2, value_lr=3e-2)
    grid = {"memory": [None, "gru"], "env_params.memory_length": lengths}
    study = sweep(config, grid, seeds, hp=hp)

    print("return of all episodes of the last tenth, 1 at best: interquartile mean [95%]")
    last = slice(-max(config.num_updates // 10, 1), None)
    sums = study.metrics["episode_return_sum"][..., last].sum(-1)  # [H, S]
    returns = sums / study.metrics["episode_count"][..., last].sum(-1)
    for setting, scores in zip(study.design.settings(), returns, strict=True):
        iqm, low, high = aggregate(scores)
        memory, length = setting["memory"] or "no memory", setting["env_params.memory_length"]
        print(f"length {length:2}   {memory:9}   {iqm:5.2f} [{low:.2f}, {high:.2f}]")


if __name__ == "__main__":
    main()

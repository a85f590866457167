"""A policy on a robot that has neither this package nor its environment.

    python examples/deploy.py            # a minute or two
    python examples/deploy.py --smoke    # tiny sizes

Trains and exports with two commands, in processes of their own.  This process is the robot: it
never imports purejaxvpg.  It steps a CartPole written in numpy, and asks for actions

- `policy.jax`, a compiled program that needs jax alone (loading it runs it: from whom you trust);
- `policy.onnx`, where onnxruntime is installed: the same numbers in C++, C#, Java, a browser.

`card.md` beside them says shapes, units, normalisation, and how to call each.
Writing policy.onnx needs the extra `onnx`.
"""

import argparse
import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import numpy as np


def jax_policy(path: Path):
    from jax import export

    program = export.deserialize(bytearray(path.read_bytes()))
    return lambda obs: int(program.call(obs[None])[0])  # a batch of one


def onnx_policy(path: Path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    return lambda obs: int(session.run(["action"], {"obs": obs[None]})[0][0])


def episode(policy, seed: int, limit: int = 500) -> list[int]:
    """Actions of one episode of CartPole-v1; its return is their number."""
    x, actions = np.random.default_rng(seed).uniform(-0.05, 0.05, 4), []
    while len(actions) < limit and abs(x[0]) <= 2.4 and abs(x[2]) <= math.radians(12):
        actions.append(policy(x.astype(np.float32)))  # place, speed, angle, angular speed
        sin, cos = math.sin(x[2]), math.cos(x[2])
        push = ((10 if actions[-1] else -10) + 0.05 * x[3] ** 2 * sin) / 1.1
        turn = (9.8 * sin - cos * push) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
        x = x + 0.02 * np.array([x[1], push - 0.05 * turn * cos / 1.1, x[3], turn])
    return actions


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("runs/deploy"))
    args = parser.parse_args(argv)

    with_onnx = importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx")
    tiny = ["--no-preset", "--total-steps", "64", "--num-envs", "2", "--num-steps", "16",
            "--hidden-sizes", "8", "--value-iterations", "1"]  # fmt: skip
    sizes = [*tiny, "--num-seeds", "1"] if args.smoke else ["--num-seeds", "4"]
    for command in (
        ["train", "CartPole-v1", *sizes, "--out", args.out],
        ["export", args.out, *(["--onnx"] if with_onnx else [])],
    ):
        subprocess.run([sys.executable, "-m", "purejaxvpg", *command], check=True)

    policies = {"policy.jax": jax_policy(args.out / "policy" / "policy.jax")}
    if with_onnx:
        policies["policy.onnx"] = onnx_policy(args.out / "policy" / "policy.onnx")
    assert "purejaxvpg" not in sys.modules  # the robot has no such thing
    played = {
        name: [episode(policy, seed) for seed in range(3)] for name, policy in policies.items()
    }
    for name, episodes in played.items():
        print(f"{name:11} returns {[len(actions) for actions in episodes]}")
    if with_onnx:
        print(f"the same actions: {played['policy.jax'] == played['policy.onnx']}")


if __name__ == "__main__":
    main()

"""Steps per second of training over shapes and environments, optionally compared with PureJaxRL.

    python benchmarks/throughput.py
    python benchmarks/throughput.py --purejaxrl CHECKOUT    # A B A B, in this one process
    python benchmarks/throughput.py --env Breakout-MinAtar --shape 64 128 --value-iterations 80

Same work for both: two tanh layers of 64 for the policy and for the value function, orthogonal
initialisation, fresh resets, Adam, and one policy and one value gradient step on each batch.
PureJaxRL's ppo.py therefore runs one epoch of one minibatch.  Images are flattened.

Differences: PureJaxRL computes one joint loss with PPO's ratio and clipping, shuffles the batch,
and returns the info of every step.  This package returns sums.  With `diagnostics` it also measures
KL and losses after the step; the table shows it with and without them.
"""

import itertools
import sys
import types
from pathlib import Path
from typing import Any

import _common
import jax
import jax.numpy as jnp

from purejaxvpg import VPGConfig, make_train

SHAPES = ((4, 128), (64, 128), (2048, 32), (2048, 128))


def ours(env: str, shape: tuple[int, int, int], **fields: Any):
    """Jitted run of this package.

    Args: shape: environments, steps, updates.  fields: others of the config.
    """
    num_envs, num_steps, updates = shape
    config = VPGConfig(
        env=env,
        num_envs=num_envs,
        num_steps=num_steps,
        total_steps=num_envs * num_steps * updates,
        network="mlp",
        value_target="lambda_return",
        **fields,
    )
    return jax.jit(make_train(config))


def load_purejaxrl(
    checkout: str, file: str = "ppo.py", changes: dict[str, str] | None = None
) -> types.ModuleType:
    """Load PureJaxRL's ppo.py, or another of its files, as a module from a checkout.

    Args: changes: pieces of its text, and what takes their place.

    PureJaxRL's own wrappers need gymnax before 1.0, brax and navix.  So the two wrappers that
    ppo.py uses are replaced by gymnax's, whose step returns six values instead of five.
    """
    from gymnax.wrappers import purerl

    class LogWrapper(purerl.LogWrapper):
        def step(self, key, state, action, params=None):
            out = purerl.LogWrapper.step(self, key, state, action, params)
            obs, state, reward, terminated, truncated, info = out
            return obs, state, reward, jnp.logical_or(terminated, truncated), info

    wrappers = types.ModuleType("wrappers")
    wrappers.LogWrapper = LogWrapper
    wrappers.FlattenObservationWrapper = purerl.FlattenObservationWrapper
    sys.modules["wrappers"] = wrappers
    ppo = types.ModuleType("ppo")
    text = (Path(checkout) / "purejaxrl" / file).read_text()
    for old, new in (changes or {}).items():
        if old not in text:
            raise SystemExit(f"{file} of {checkout} has no {old!r}: it is another version")
        text = text.replace(old, new)
    exec(text, ppo.__dict__)
    return ppo


def purejaxrl(checkout: str, file: str = "ppo.py", changes: dict[str, str] | None = None):
    """Function that makes a jitted run of PureJaxRL's ppo.py, or of another of its files.

    Args: as of `load_purejaxrl`.
    """
    ppo = load_purejaxrl(checkout, file, changes)

    def make(env: str, num_envs: int, num_steps: int, updates: int):
        config = {
            "LR": 3e-4, "NUM_ENVS": num_envs, "NUM_STEPS": num_steps,
            "TOTAL_TIMESTEPS": num_envs * num_steps * updates, "UPDATE_EPOCHS": 1,
            "NUM_MINIBATCHES": 1, "GAMMA": 0.99, "GAE_LAMBDA": 0.95, "CLIP_EPS": 0.2,
            "ENT_COEF": 0.0, "VF_COEF": 0.5, "MAX_GRAD_NORM": 0.5, "ACTIVATION": "tanh",
            "ENV_NAME": env, "ANNEAL_LR": False, "DEBUG": False,
        }  # fmt: skip
        return jax.jit(ppo.make_train(config))

    return make


def main() -> None:
    """Measure each shape: compile all contenders, then run them in turn."""
    parser = _common.parser(__doc__)
    parser.add_argument("--purejaxrl", metavar="CHECKOUT", help="a checkout of PureJaxRL")
    parser.add_argument("--env", action="append", help="may be repeated; default: CartPole-v1")
    parser.add_argument("--shape", nargs=2, type=int, action="append", metavar=("N", "T"))
    parser.add_argument("--value-iterations", type=int, default=1)
    parser.add_argument("--steps", type=int, default=500_000, help="of a run, about")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    if args.purejaxrl and args.value_iterations != 1:
        parser.error("PureJaxRL takes one value step a batch; leave out --value-iterations")
    repeats = 1 if args.smoke else args.repeats
    shapes = ((2, 4),) if args.smoke else args.shape or SHAPES
    peer = purejaxrl(args.purejaxrl) if args.purejaxrl else None
    key, results = jax.random.key(0), []
    print(
        f"steps/s, median of {repeats} (smallest to largest); first call: compilation and one run"
    )
    for env, (num_envs, num_steps) in itertools.product(args.env or ["CartPole-v1"], shapes):
        updates = 2 if args.smoke else max(2, args.steps // (num_envs * num_steps))
        shape, iterations = (num_envs, num_steps, updates), args.value_iterations
        runs = {
            "purejaxvpg": ours(env, shape, value_iterations=iterations, diagnostics=False),
            "purejaxvpg, diagnostics": ours(
                env, shape, value_iterations=iterations, diagnostics=True
            ),
        }
        if peer:
            runs["PureJaxRL"] = peer(env, *shape)
        steps = num_envs * num_steps * updates
        compiling = {name: _common.seconds(lambda run=run: run(key)) for name, run in runs.items()}
        rates = {name: [] for name in runs}
        for _ in range(repeats):  # A B A B, so other load on the machine affects all equally
            for name, run in runs.items():
                rates[name].append(steps / _common.seconds(lambda run=run: run(key)))
        for name in runs:
            middle, low, high = _common.median_and_spread(rates[name])
            line = f"{env}  {num_envs:>5} x {num_steps:<4} {name:<24} {middle / 1e6:6.2f}M "
            line += f"({low / 1e6:.2f} to {high / 1e6:.2f})  first call {compiling[name]:.1f} s"
            if peer and name != "PureJaxRL":
                pairs = [a / b for a, b in zip(rates[name], rates["PureJaxRL"], strict=True)]
                ratio = _common.median_and_spread(pairs)[0]
                line += f"  {ratio:.2f} x PureJaxRL"
            print(line, flush=True)
            results.append(
                {"env": env, "envs": num_envs, "steps": num_steps, "value_iterations": iterations,
                 "name": name, "rates": rates[name], "first_call_seconds": compiling[name]}
            )  # fmt: skip
    _common.report(results, args.json)


if __name__ == "__main__":
    main()

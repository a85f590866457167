"""A network of your own: a residual torso with layer normalisation, beside the built-in mlp.

    python examples/own_network.py            # a minute or two
    python examples/own_network.py --smoke    # tiny sizes

Shows:
- a torso is any flax module from observations `[B, ...]` to features `[B, F]`; the heads for
  policy and value are added to it, and each has a torso of its own unless `shared_torso`;
- networks are values of a sweep like any other, with one compilation for each.

    CartPole-v1, return of the last 20 episodes: interquartile mean [95%], policy's parameters
    mlp        486.5 [473.7, 494.7]  4610
    Residual   489.8 [450.0, 500.0]  33986

So seven times the parameters buy nothing visible here.  (To tell two apart, take the interval of
their difference, as in paper_figure.py.)

A module that can be imported may be named instead, and is then kept with the run:
`purejaxvpg train CartPole-v1 --network examples/own_network.py:Residual`.
"""

import argparse

import flax.linen as nn
import jax.numpy as jnp

from purejaxvpg import VPGConfig, presets
from purejaxvpg.experiment import sweep
from purejaxvpg.statistics import aggregate


class Residual(nn.Module):
    """x + f(norm(x)), `depth` times."""

    width: int = 64  # F
    depth: int = 2

    @nn.compact
    def __call__(self, obs):  # [B, ...] float32
        x = nn.Dense(self.width)(obs.reshape(obs.shape[0], -1))  # [B, F]
        for _ in range(self.depth):
            hidden = nn.relu(nn.Dense(2 * self.width)(nn.LayerNorm()(x)))  # [B, 2F]
            x = x + nn.Dense(self.width, kernel_init=nn.initializers.orthogonal(0.1))(hidden)
        return jnp.tanh(nn.LayerNorm()(x))


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    args = parser.parse_args(argv)

    config, hp = presets.load("CartPole-v1", total_steps=100_000)
    networks, seeds = ["mlp", Residual()], 8
    if args.smoke:
        config = VPGConfig(total_steps=512, num_envs=2, num_steps=64, value_iterations=1)
        networks, seeds = [Residual(width=8, depth=1)], 2
    study = sweep(config, {"network": networks}, seeds, hp=hp)

    print(
        "CartPole-v1, return of the last 20 episodes: interquartile mean [95%], policy's parameters"
    )
    for place, (network, scores) in enumerate(zip(networks, study.scores(), strict=True)):
        run = place * seeds  # the first seed of this setting
        arrays = study.policies.arrays([run]).items()  # observation statistics among them
        size = sum(x.size for name, x in arrays if name.startswith("params"))
        iqm, low, high = aggregate(scores)
        name = network if isinstance(network, str) else type(network).__name__
        print(f"{name:9} {iqm:6.1f} [{low:.1f}, {high:.1f}]  {size}")


if __name__ == "__main__":
    main()

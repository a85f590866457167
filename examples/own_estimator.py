"""An estimator of your own: another weight Psi in the policy gradient, beside the textbook's.

    python examples/own_estimator.py            # a minute or two
    python examples/own_estimator.py --smoke    # tiny sizes

Shows:
- an estimator is one function of a trajectory, `(Trajectory, Discounts) -> Psi [T, N]`, built from
  those of advantages.py; episode ends are in them already;
- an identity to test it by, before anything is trained;
- estimators are values of a sweep, each judged on the same seeds.

The question that it asks: GAE weighs the n-step estimates by (1 - lambda) lambda^(n-1), so that
every n counts.  Do its two ends alone, one real reward and all of them, do as well?  They do not:

    CartPole-v1, return of the last 20 episodes: interquartile mean [95%], P(beats gae)
    gae              488.2 [482.9, 494.3]  0.50
    td               229.1 [112.7, 335.7]  0.00
    value_baseline   492.2 [488.9, 496.0]  0.62
    both_ends        424.9 [409.0, 449.8]  0.11
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from purejaxvpg import VPGConfig, presets
from purejaxvpg.advantages import Discounts, Trajectory, td, value_baseline
from purejaxvpg.experiment import sweep
from purejaxvpg.statistics import aggregate, probability_of_improvement


def both_ends(trajectory: Trajectory, discounts: Discounts) -> jax.Array:
    """Half td (least noise), half value_baseline (no bias).  `[T, N]`"""
    return (td(trajectory, discounts) + value_baseline(trajectory, discounts)) / 2


def check(estimator) -> None:
    """Where V is exact and nothing is random, every advantage estimate is 0, whatever its n."""
    gamma, steps = 0.9, 5
    values = jnp.cumsum(gamma ** jnp.arange(steps))[::-1, None]  # [T, 1], a reward of 1 a step
    after = jnp.append(values[1:], 0)[:, None]
    no, last = jnp.zeros((steps, 1), bool), jnp.arange(steps)[:, None] == steps - 1
    exact = Trajectory(
        jnp.ones((steps, 1)), values, after, terminated=last, truncated=no, alive=~no
    )
    np.testing.assert_allclose(estimator(exact, Discounts(gamma)), 0, atol=1e-6)


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    args = parser.parse_args(argv)

    check(both_ends)
    config, hp = presets.load("CartPole-v1", total_steps=100_000)
    estimators, seeds = ["gae", "td", "value_baseline", both_ends], 16
    if args.smoke:
        tiny = {"hidden_sizes": (8,), "value_iterations": 1}
        config = VPGConfig(total_steps=512, num_envs=2, num_steps=64, **tiny)
        estimators, seeds = ["gae", both_ends], 2
    study = sweep(config, {"estimator": estimators}, seeds, hp=hp)

    print("CartPole-v1, return of the last 20 episodes: interquartile mean [95%], P(beats gae)")
    gae = study.scores()[0]
    for estimator, scores in zip(estimators, study.scores(), strict=True):
        iqm, low, high = aggregate(scores)
        beats = probability_of_improvement(scores, gae).value
        name = getattr(estimator, "__name__", estimator)
        print(f"{name:15} {iqm:6.1f} [{low:.1f}, {high:.1f}]  {beats:.2f}")


if __name__ == "__main__":
    main()

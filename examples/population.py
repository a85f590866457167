"""Population based training: hyperparameters evolve while 32 agents train, in one compiled call.

    python examples/population.py            # a few minutes
    python examples/population.py --smoke    # tiny sizes

Shows:
- `make_segment(config, K)`: K updates as a pure function of a training state and hyperparameters,
  so that between segments anything may happen to both;
- after each segment the worst quarter copies state and hyperparameters of the best quarter, and
  changes the latter a little (Jaderberg et al. 2017, "Population based training");
- `vmap` over members, `scan` over generations, and a control that never evolves.

The members' hyperparameters follow a schedule that nobody wrote.  The best member is chosen by
its own training returns, so its score is optimistic; compare medians.

    never evolves   return: best 500.0, median 145.7
        medians: policy_lr=9.6e-04 value_lr=6.9e-03 gae_lambda=0.894
    evolves         return: best 500.0, median 500.0
        medians: policy_lr=1.6e-03 value_lr=4.2e-02 gae_lambda=0.956
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from purejaxvpg import Hyperparams, VPGConfig, make_learner, make_segment

LOW = {"policy_lr": 1e-5, "value_lr": 1e-4, "gae_gap": 1e-2}  # where members begin, log-uniform
HIGH = {"policy_lr": 1e-1, "value_lr": 1e-1, "gae_gap": 1.0}


def hyperparams(genes) -> Hyperparams:
    """Genes are logarithms, so that a change is a factor."""
    x = jax.tree.map(jnp.exp, genes)
    return Hyperparams(x["policy_lr"], x["value_lr"], gae_lambda=1 - jnp.minimum(x["gae_gap"], 1))


def first_genes(key, members: int):
    """[P] each."""
    keys = dict(zip(LOW, jax.random.split(key, len(LOW)), strict=True))
    return {k: jax.random.uniform(keys[k], (members,), minval=np.log(LOW[k]),
                                  maxval=np.log(HIGH[k])) for k in LOW}  # fmt: skip


def evolve(key, states, genes, fitness):
    """The worst quarter becomes the best quarter, with other genes.  All `[P, ...]`."""
    members, quarter = len(fitness), len(fitness) // 4
    order = jnp.argsort(fitness)  # worst first
    source = jnp.arange(members).at[order[:quarter]].set(order[members - quarter :])
    copied = source != jnp.arange(members)
    keys = jax.random.split(key, len(genes))
    factors = {k: 0.5 * jax.random.normal(keys[i], (members,)) for i, k in enumerate(genes)}
    genes = {k: genes[k][source] + jnp.where(copied, factors[k], 0) for k in genes}
    # A member keeps its own key: with its parent's it would live through the same chance.
    return jax.tree.map(lambda x: x[source], states)._replace(key=states.key), genes


def make_population(config: VPGConfig, members: int, generations: int):
    """(key, evolving) -> genes and fitness, `[G, P]` each."""
    init = make_learner(config).init
    segment = make_segment(config, config.num_updates // generations)

    def population(key, evolving):
        init_key, gene_key, key = jax.random.split(key, 3)
        states = jax.vmap(init)(jax.random.split(init_key, members))
        genes = first_genes(gene_key, members)

        def generation(carry, key):
            states, genes = carry
            states, metrics, _ = jax.vmap(segment)(states, jax.vmap(hyperparams)(genes))
            count = metrics.episode_count.sum(-1)  # [P]
            fitness = jnp.where(count > 0, metrics.episode_return_sum.sum(-1) / count, -jnp.inf)
            evolved = evolve(key, states, genes, fitness)
            after = jax.tree.map(lambda x, y: jnp.where(evolving, x, y), evolved[1], genes)
            pick = lambda x, y: lax.cond(evolving, lambda: x, lambda: y)  # noqa: E731
            states = jax.tree.map(pick, evolved[0], states)
            return (states, after), (genes, fitness)

        return lax.scan(generation, (states, genes), jax.random.split(key, generations))[1]

    return population


def main(argv=None) -> dict:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    args = parser.parse_args(argv)

    config, members, generations = VPGConfig(total_steps=200_000, diagnostics=False), 32, 20
    if args.smoke:
        tiny = {"hidden_sizes": (8,), "value_iterations": 1, "diagnostics": False}
        config = VPGConfig(total_steps=192, num_envs=2, num_steps=32, **tiny)
        members, generations = 4, 3
    population = jax.jit(make_population(config, members, generations))
    outcomes = {}
    for name, evolving in (("never evolves", False), ("evolves", True)):
        genes, fitness = outcomes[name] = population(jax.random.key(0), evolving)
        last = jax.tree.map(lambda x: x[-1], jax.vmap(jax.vmap(hyperparams))(genes))
        genomes = (last.policy_lr, last.value_lr, last.gae_lambda)
        policy_lr, value_lr, gae_lambda = (np.median(x) for x in genomes)
        print(
            f"{name:13}   return: best {fitness[-1].max():.1f}, median {np.median(fitness[-1]):.1f}"
        )
        print(f"    medians: {policy_lr=:.1e} {value_lr=:.1e} {gae_lambda=:.3f}")
    return outcomes  # name -> (genes, fitness), [G, P] each


if __name__ == "__main__":
    main()

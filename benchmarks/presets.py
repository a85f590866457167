"""Returns that the presets reach: train each preset over seeds, evaluate greedily, print a table.

    python benchmarks/presets.py                      # all of what is installed, 8 seeds each
    python benchmarks/presets.py --suite navix        # of one suite (gymnax: names without a slash)
    python benchmarks/presets.py --env CartPole-v1 --num-seeds 16

The table gives the return of greedy episodes and that of the last 20 episodes of training, whose
actions are sampled: of both the interquartile mean over seeds and its 95% interval.  "At first" is
the mean return of each seed's first 20 episodes, near enough what chance gives.
"""

import time
from importlib import metadata

import _common
import jax
import numpy as np

from purejaxvpg import make_evaluate, make_train, presets
from purejaxvpg.envs.suites import SUITES, split
from purejaxvpg.statistics import bootstrap, trailing_return


def suite_of(env: str) -> str:
    """The suite of an environment's name."""
    return (split(env) or ("gymnax", env))[0]


def installed(suite: str) -> bool:
    """Whether a suite is there."""
    return suite == "gymnax" or SUITES[suite].installed


def over_seeds(kind: str, scores: np.ndarray) -> dict[str, float]:
    """Interquartile mean and interval, by name; NaN if a seed has no score (one that diverged)."""
    names = [f"{kind}_{name}" for name in ("iqm", "low", "high")]
    if not np.isfinite(scores).all():
        return dict.fromkeys(names, float("nan"))
    return dict(zip(names, map(float, bootstrap(scores)[:3]), strict=True))


def at_first(return_sums: np.ndarray, counts: np.ndarray) -> float:
    """Mean return of each seed's first 20 episodes: the last ones, back in time.  [S, U] each."""
    return float(trailing_return(return_sums[:, ::-1], counts[:, ::-1])[:, -1].mean())


def measure(env: str, seed: int, num_seeds: int, episodes: int, smoke: bool) -> dict:
    """Train and evaluate one preset."""
    config, hp = presets.load(env)
    if smoke:
        config = presets.shortened(config, updates=2)
    keys = jax.vmap(jax.random.key)(np.arange(seed, seed + num_seeds, dtype=np.uint32))
    begun = time.perf_counter()
    train = jax.jit(jax.vmap(make_train(config), in_axes=(0, None))).lower(keys, hp).compile()
    compiled = time.perf_counter()
    result = jax.block_until_ready(train(keys, hp))
    trained = time.perf_counter()
    evaluate = jax.jit(jax.vmap(make_evaluate(config, episodes), in_axes=(0, 0, 0, None)))
    unseen = jax.random.split(jax.random.key(seed + num_seeds), num_seeds)  # of an untrained seed
    outcome = evaluate(unseen, result.state.params.policy, result.state.obs_stats, hp)
    metrics = jax.tree.map(np.asarray, result.metrics)
    training = trailing_return(metrics.episode_return_sum, metrics.episode_count)
    return {
        "env": env,
        "steps": config.total_steps,
        "seeds": num_seeds,
        **over_seeds("greedy", np.asarray(outcome.returns).mean(1)),
        **over_seeds("training", training[:, -1]),
        "training_last": training[:, -1].tolist(),
        "training_best": np.nanmax(training, axis=1, initial=-np.inf).tolist(),
        "at_first": at_first(metrics.episode_return_sum, metrics.episode_count),
        "diverged": int((~metrics.finite.all(1)).sum()),
        "seconds": trained - compiled,
        "compile_seconds": compiled - begun,
    }


def main() -> None:
    """Measure the presets given on the command line."""
    parser = _common.parser(__doc__)
    parser.add_argument("--env", action="append", help="only this preset (may be repeated)")
    parser.add_argument(
        "--suite", action="append", choices=["gymnax", *SUITES], help="only this one's presets"
    )
    parser.add_argument("--seed", type=int, default=0, help="the first; others than the sweep's")
    parser.add_argument("--num-seeds", type=int, default=8)
    parser.add_argument("--episodes", type=int, default=32, help="of evaluation, per seed")
    args = parser.parse_args()
    every = [env for env in presets.available() if installed(suite_of(env))]
    envs = args.env or [env for env in every if suite_of(env) in (args.suite or [suite_of(env)])]
    if not envs:
        parser.error(f"no presets of {', '.join(args.suite)}, or not installed")
    if args.smoke:
        envs, args.num_seeds, args.episodes = envs[:1], 2, 2
    print("IQM [95% interval] over seeds of the mean return: greedy, and training's last 20")
    results = []
    for env in envs:
        row = measure(env, args.seed, args.num_seeds, args.episodes, args.smoke)
        results.append(row)
        iqm = {
            kind: f"{row[f'{kind}_iqm']:.2f} [{row[f'{kind}_low']:.2f}, {row[f'{kind}_high']:.2f}]"
            for kind in ("greedy", "training")
        }
        last = row["training_last"]
        print(
            f"{env:<20} {row['steps']:>10,} steps  {row['seeds']} seeds  greedy {iqm['greedy']}  "
            f"training {iqm['training']}, worst {min(last):.2f}, worst best window "
            f"{min(row['training_best']):.2f}, at first {row['at_first']:.2f}  "
            f"{row['seconds']:.0f} s, compiled in {row['compile_seconds']:.0f} s",
            flush=True,
        )
    suites = sorted({suite_of(env) for env in envs} - {"gymnax"})
    if suites:
        print(", ".join(f"{name} {metadata.version(name)}" for name in suites))
    _common.report(results, args.json)


if __name__ == "__main__":
    main()

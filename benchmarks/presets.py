"""Returns that the presets reach: train each preset over seeds, evaluate greedily, print a table.

    python benchmarks/presets.py                      # all presets, 8 seeds each
    python benchmarks/presets.py --env CartPole-v1 --num-seeds 16

The table gives the greedy return (interquartile mean over seeds, 95% interval) and the training
return of the last 20 episodes.
"""

import time

import _common
import jax
import numpy as np

from purejaxvpg import make_evaluate, make_train, presets
from purejaxvpg.statistics import bootstrap, trailing_return


def measure(env: str, num_seeds: int, episodes: int, smoke: bool) -> dict:
    """Train and evaluate one preset."""
    config, hp = presets.load(env)
    if smoke:
        config = presets.shortened(config, updates=2)
    keys = jax.vmap(jax.random.key)(np.arange(num_seeds, dtype=np.uint32))
    begun = time.perf_counter()
    train = jax.jit(jax.vmap(make_train(config), in_axes=(0, None))).lower(keys, hp).compile()
    compiled = time.perf_counter()
    result = jax.block_until_ready(train(keys, hp))
    trained = time.perf_counter()
    evaluate = jax.jit(jax.vmap(make_evaluate(config, episodes), in_axes=(0, 0, 0, None)))
    unseen = jax.random.split(jax.random.key(num_seeds), num_seeds)  # of an untrained seed
    outcome = evaluate(unseen, result.state.params.policy, result.state.obs_stats, hp)
    greedy = bootstrap(np.asarray(outcome.returns).mean(1))
    metrics = jax.tree.map(np.asarray, result.metrics)
    training = trailing_return(metrics.episode_return_sum, metrics.episode_count)
    return {
        "env": env,
        "steps": config.total_steps,
        "seeds": num_seeds,
        "greedy_iqm": float(greedy.value),
        "greedy_low": float(greedy.low),
        "greedy_high": float(greedy.high),
        "training_last": training[:, -1].tolist(),
        "training_best": np.nanmax(training, axis=1, initial=-np.inf).tolist(),
        "diverged": int((~metrics.finite.all(1)).sum()),
        "seconds": trained - compiled,
        "compile_seconds": compiled - begun,
    }


def main() -> None:
    """Measure the presets given on the command line."""
    parser = _common.parser(__doc__)
    parser.add_argument("--env", action="append", help="only this preset (may be repeated)")
    parser.add_argument("--num-seeds", type=int, default=8)
    parser.add_argument("--episodes", type=int, default=32, help="of evaluation, per seed")
    args = parser.parse_args()
    envs = args.env or presets.available()
    if args.smoke:
        envs, args.num_seeds, args.episodes = envs[:1], 2, 2
    print("IQM [95% interval] over seeds of the mean greedy return; training: last 20 episodes")
    results = []
    for env in envs:
        row = measure(env, args.num_seeds, args.episodes, args.smoke)
        results.append(row)
        last = row["training_last"]
        print(
            f"{env:<20} {row['steps']:>10,} steps  {row['seeds']} seeds  greedy "
            f"{row['greedy_iqm']:8.2f} [{row['greedy_low']:.2f}, {row['greedy_high']:.2f}]  "
            f"training worst {min(last):.1f}, median {np.median(last):.1f}, worst best window "
            f"{min(row['training_best']):.1f}  {row['seconds']:.0f} s",
            flush=True,
        )
    _common.report(results, args.json)


if __name__ == "__main__":
    main()

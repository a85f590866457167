"""What the presets reach: train every preset over seeds, evaluate greedily, print the table.

python benchmarks/presets.py                      # all, 8 seeds each
python benchmarks/presets.py --env CartPole-v1 --num-seeds 16
"""

import _common
import jax
import numpy as np

from purejaxvpg import make_evaluate, presets
from purejaxvpg.experiment.runner import evaluation_keys, run
from purejaxvpg.statistics import bootstrap, trailing_return


def measure(env: str, num_seeds: int, episodes: int, smoke: bool) -> dict:
    """Train and evaluate one preset."""
    config, hp = presets.load(env)
    if smoke:
        config = presets.shortened(config, updates=2)
    result = run(config, hp, num_seeds)
    evaluate = jax.jit(jax.vmap(make_evaluate(config, episodes), in_axes=(0, 0, 0, None)))
    keys = evaluation_keys(result.seeds)
    outcome = evaluate(keys, result.state.params.policy, result.state.obs_stats, hp)
    greedy = bootstrap(np.asarray(outcome.returns).mean(1))
    metrics = result.metrics
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
        "diverged": int((~np.asarray(metrics.finite).all(1)).sum()),
        "seconds": result.seconds,
        "compile_seconds": result.compile_seconds,
    }


def main() -> None:
    """Measure the presets asked for."""
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
        found = measure(env, args.num_seeds, args.episodes, args.smoke)
        results.append(found)
        last = found["training_last"]
        print(
            f"{env:<20} {found['steps']:>10,} steps  {found['seeds']} seeds  greedy "
            f"{found['greedy_iqm']:8.2f} [{found['greedy_low']:.2f}, {found['greedy_high']:.2f}]  "
            f"training worst {min(last):.1f}, median {np.median(last):.1f}, worst best window "
            f"{min(found['training_best']):.1f}  {found['seconds']:.0f} s",
            flush=True,
        )
    _common.report(results, args.json)


if __name__ == "__main__":
    main()

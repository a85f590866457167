"""Learning curves that must not change: twelve configs, and the bits they gave at commit bf46240.

    python tests/support/curves.py tests/recorded/curves-<jax version>.npz

records them anew (from a checkout whose numbers are trusted; eight devices, as in the tests).
"""

import hashlib
import sys
from pathlib import Path

import numpy as np

SEEDS, UPDATES, N, T = 2, 8, 4, 16
SWEPT_UPDATES = 24  # at 8, that commit ran segments of one update, which round otherwise
SMALL = {"num_envs": N, "num_steps": T, "total_steps": UPDATES * N * T, "hidden_sizes": (8, 8),
             "value_iterations": 2}  # fmt: skip
CURVES = {
    "gae": {},
    "clip": {"env": "Pendulum-v1"},
    "tanh": {"env": "Pendulum-v1", "bounding": "tanh", "entropy_coef": 0.01},
    "cnn": {"env": "Breakout-MinAtar", "hidden_sizes": (8,)},
    "shared_torso": {"shared_torso": True, "optimizer": "rmsprop"},
    "episodes": {"rollout": "episodes", "estimator": "total_return", "max_episode_steps": T},
    "future_return": {"estimator": "future_return", "optimizer": "sgd", "lr_schedule": "linear"},
    "value_baseline": {"estimator": "value_baseline", "normalize_advantages": False},
    "td": {"estimator": "td", "gradient_rows": 24, "diagnostics": False},
    "n_step": {"estimator": "n_step", "n_step": 3, "max_episode_steps": 9},
    "normalised": {"env": "Pendulum-v1", "normalize_obs": True, "normalize_rewards": True,
                   "std": "free"},
    "evaluated": {"eval_every": 2, "eval_episodes": 3, "value_target": "lambda_return",
                  "lr_schedule": "cosine", "max_episode_steps": 40},
}  # fmt: skip


def settings(name, updates=UPDATES):
    """Config and hyperparameters of a curve."""
    from purejaxvpg import Hyperparams, VPGConfig

    fields = {**SMALL, "total_steps": updates * N * T, **CURVES[name]}
    hp = {key: fields.pop(key) for key in ("entropy_coef",) if key in fields}
    return VPGConfig(**fields), Hyperparams(**hp)


def trained(name):
    """Metric -> `[SEEDS, UPDATES]`, of one compiled call of `train`."""
    import jax

    from purejaxvpg import make_train

    config, hp = settings(name)
    keys = jax.vmap(jax.random.key)(np.arange(SEEDS, dtype=np.uint32))
    result = jax.jit(jax.vmap(make_train(config), in_axes=(0, None)))(keys, hp)
    nan = np.full((SEEDS, UPDATES), np.nan, np.float32)  # for what is not measured
    arrays = {k: nan if x is None else x for k, x in result.metrics._asdict().items()}
    if result.evaluations is not None:
        arrays["evaluation_returns"] = result.evaluations.returns
    return {key: np.asarray(value) for key, value in arrays.items()}


def swept(name):
    """Metric -> `[SEEDS, SWEPT_UPDATES]`, of a study of one setting, both seeds in one chunk."""
    import jax

    from purejaxvpg.experiment import sweep

    config, hp = settings(name, SWEPT_UPDATES)
    study = sweep(config, {}, SEEDS, hp=hp, chunk_size=SEEDS, devices=jax.devices()[:1])
    arrays = dict(study.metrics)
    if study.evaluations:
        arrays["evaluation_returns"] = study.evaluations["returns"]
    return {key: value[0] for key, value in arrays.items()}


def processor():
    """Digest of the instructions that this CPU has: others round otherwise."""
    import platform

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    flags = sorted({line for line in lines if line.startswith(("flags", "Features"))})
    return hashlib.sha256(f"{platform.machine()} {flags}".encode()).hexdigest()[:12]


def record(path):
    import jax

    jax.config.update("jax_num_cpu_devices", 8)
    arrays = {"processor": np.asarray(processor()), "jax": np.asarray(jax.__version__)}
    for name in CURVES:
        for how in (trained, swept):
            arrays |= {f"{how.__name__}.{name}.{k}": v for k, v in how(name).items()}
        print(name, flush=True)
    np.savez_compressed(path, **arrays)


if __name__ == "__main__":
    record(sys.argv[1])

"""Small sweeps that train: one config, so that one program serves the tests of many files."""

import jax
import numpy as np

from purejaxvpg import VPGConfig
from purejaxvpg.experiment import Study, sweep

CONFIG = VPGConfig(
    num_envs=2, num_steps=8, total_steps=160, value_iterations=1, hidden_sizes=(8,)
)  # 10 updates, in 10 segments
RATES, LAMBDAS = [1e-3, 3e-3, 1e-2], [0.9, 1.0]
GRID = {"policy_lr": RATES, "gae_lambda": LAMBDAS}
ONE = {"chunk_size": 2, "devices": jax.devices()[:1], "progress": False}  # width 2, one device


def whole_study() -> Study:
    """3 x 2 settings, 2 seeds: 12 runs, two at a time on one device."""
    return sweep(CONFIG, GRID, 2, **ONE)


def runs_of(study):
    """(setting, seed) -> every metric of that run, `[metrics, U]`."""
    rows = {}
    for h, setting in enumerate(study.design.settings()):
        for s, seed in enumerate(study.seeds):
            metrics = np.stack([values[h, s] for values in study.metrics.values()])
            rows[(*sorted(setting.items()), int(seed))] = metrics
    return rows


def assert_same_runs(study, other):
    """Every run that both have is the same, bit for bit.  Returns: how many they are."""
    ours, theirs = runs_of(study), runs_of(other)
    shared = ours.keys() & theirs.keys()
    assert shared
    for run in shared:
        np.testing.assert_array_equal(ours[run], theirs[run], err_msg=str(run))
    return len(shared)


class Stop(Exception):
    """Stands for a kill."""


def stopped_at(calls):
    """An on_progress that raises `Stop` at its so-many-th call."""
    seen = []

    def on_progress(_):
        seen.append(1)
        if len(seen) == calls:
            raise Stop

    return on_progress

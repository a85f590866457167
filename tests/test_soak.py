"""Two hours of training and resuming in one process: its memory stays where it was.

TEST_PROCESSES=0 scripts/test -m slow -k soak -s
SOAK_MINUTES=10 TEST_PROCESSES=0 scripts/test -m slow -k soak -s

(In pytest's own process, for its workers print nothing.)
"""

import dataclasses
import gc
import os
import shutil
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from support.assertions import assert_same_bits
from support.segments import stop_after

from purejaxvpg import Hyperparams, VPGConfig
from purejaxvpg.experiment import load_study, sweep, train
from purejaxvpg.experiment.memory import return_freed_memory

MINUTES = float(os.environ.get("SOAK_MINUTES", "120"))
CONFIG = VPGConfig(num_envs=4, num_steps=32, total_steps=128 * 40, hidden_sizes=(16,))


def resident() -> float:
    """Megabytes of this process that are in memory."""
    gc.collect()
    return_freed_memory()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def one_round(folder: Path, number: int) -> None:
    """A run that is stopped and resumed, saved and loaded, and a study of four."""
    hp, stop = Hyperparams(policy_lr=1e-3 * (1 + number % 7)), 8 + 4 * (number % 5)
    one = {"chunk_size": 2, "devices": jax.devices()[:1], "checkpoint_minutes": 0}
    how = {"folder": folder / "run", "checkpoint_updates": 4, **one}
    stopped = train(CONFIG, hp, 2, on_segment=stop_after(stop), **how)
    assert stopped.updates.tolist() == [[stop, stop]]
    study = train(CONFIG, hp, 2, resume=True, **how)
    assert study.complete
    back = load_study(folder / "run")
    assert_same_bits(back.metrics, study.metrics)
    assert_same_bits(back.policies.arrays([0, 1]), study.policies.arrays([0, 1]))
    config = dataclasses.replace(CONFIG, total_steps=128 * 10)
    study = sweep(config, {"gamma": [0.9, 0.99]}, 2, chunk_size=1, folder=folder / "study")
    assert study.complete
    assert np.isfinite(study.metrics["kl"]).all()
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.timeout(60 * MINUTES + 600)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_memory_is_stable(tmp_path):
    begun, rounds, warm, told = time.monotonic(), 0, 0.0, 0.0
    while time.monotonic() - begun < 60 * MINUTES or rounds < 40:
        one_round(tmp_path / str(rounds), rounds)
        rounds += 1
        if rounds == 20:  # compiled, imported, and every cache of a fixed size filled
            warm = resident()
        if rounds >= 20 and time.monotonic() - told > 600:
            told = time.monotonic()
            print(
                f"{(told - begun) / 60:.0f} min, {rounds} rounds: {resident():.0f} MB", flush=True
            )
    grown = resident() / warm - 1
    print(
        f"{rounds} rounds in {(time.monotonic() - begun) / 60:.0f} min: {warm:.0f} MB after 20, "
        f"{100 * grown:+.1f}% at the end"
    )
    assert grown < 0.05

"""Progress of a run that goes on after an interruption."""

from types import SimpleNamespace

import numpy as np
import pytest

from purejaxvpg import VPGConfig
from purejaxvpg.experiment import train
from purejaxvpg.experiment.progress import Clock

CONFIG = VPGConfig(num_envs=2, num_steps=4, total_steps=80, hidden_sizes=(4,), value_iterations=1)


@pytest.mark.slow
def test_a_resumed_run_counts_its_earlier_steps(tmp_path):
    """Two seeds of 10 updates of 8 steps, stopped after the first segment."""
    segments, progress = [], []
    how = {"num_seeds": 2, "folder": tmp_path / "run"}
    train(CONFIG, on_segment=lambda x: segments.append(x.updates) or True, **how)
    assert 0 < segments[0] < 10
    train(CONFIG, resume=True, on_progress=progress.append, **how)
    running = [now for now in progress if now.status == "running"]
    assert running[0].steps_done > 16 * segments[0]
    assert {now.steps_done + now.steps_left for now in running} == {160}
    assert (running[-1].steps_done, running[-1].steps_left) == (160, 0)


def test_one_run_is_compiled_for_one_run():
    progress = []
    train(CONFIG, num_seeds=1, on_progress=progress.append)
    assert progress[1].status == "compiling for 1 run"


def test_the_rate_of_a_resumed_run_is_that_of_this_call():
    """100 updates of 10 steps: 70 earlier ones in 700 s, and 20 in 2 s now."""
    progress = []
    clock = Clock(progress.append)
    clock.begin([SimpleNamespace(num_runs=1, runs=[0], start=0, end=100)], [10])
    clock.chunk(1, 70, done=700, seconds=700.0)
    zeros = np.zeros((1, 20))
    metrics = SimpleNamespace(episode_return_sum=zeros, episode_count=zeros)
    segment = SimpleNamespace(runs=[0], updates=90, metrics=metrics, seconds=702.0)
    clock.segment(segment, steps_per_update=10)
    now = progress[-1]
    assert (now.steps_done, now.steps_left, now.steps_per_second) == (900, 100, 100.0)

"""Programs kept from one start to the next, and what the processes of a cluster agree on."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from purejaxvpg.experiment import devices

SMALL = ["--num-envs", "2", "--num-steps", "8", "--total-steps", "64", "--hidden-sizes", "4"]


@pytest.fixture
def fresh_settings():
    """jax's settings of its cache, put back."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def train(out, **environment) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "purejaxvpg", "train", "CartPole-v1", "--out", out, *SMALL]
    inherited = ("JAX_", "TF_CPP_")  # set by these tests, and by jax within them
    environment = {k: v for k, v in os.environ.items() if not k.startswith(inherited)} | environment
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=200, check=True
    )


@pytest.mark.slow
def test_a_second_start_takes_its_programs_from_the_cache(tmp_path):
    """The second adds none, is silent, and trains the same bits."""
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    runs = [tmp_path / "a", tmp_path / "b"]
    first = train(runs[0], **cache)
    kept = sorted((tmp_path / "cache").rglob("*-cache"))
    second = train(runs[1], **cache)
    assert any("span" in path.name for path in kept)
    assert sorted((tmp_path / "cache").rglob("*-cache")) == kept
    assert first.stderr == second.stderr == ""
    with np.load(runs[0] / "metrics.npz") as one, np.load(runs[1] / "metrics.npz") as other:
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name])
    records = [json.loads((run / "run.json").read_text())["record"] for run in runs]
    compiling = [record["compile_seconds"] for record in records]
    assert compiling[1] < compiling[0]


def test_a_cache_of_the_users_choice_stays(fresh_settings, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not"))
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    devices.use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")
    assert not (tmp_path / "not").exists()


def test_a_home_that_cannot_be_written_is_no_error(fresh_settings, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    jax.config.update("jax_compilation_cache_dir", None)
    devices.use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir is None


def test_one_process_agrees_with_itself():
    assert devices.smallest_of_processes(7) == 7
    assert devices.all_of_processes({3, 1}) == {1, 3}
    assert devices.all_of_processes(set()) == set()

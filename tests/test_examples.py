"""The examples for many machines run, at a tiny size, and each completes one study in shards."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from purejaxvpg.experiment import load_study

SCRIPTS = Path(__file__).parent.parent / "scripts"
BIN = Path(sys.executable).parent  # of this environment: it has the command purejaxvpg
TIMEOUT = 250


def surroundings(**more: str) -> dict[str, str]:
    """This process's, but for what the tests say of jax's devices."""
    kept = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")}
    return kept | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"} | more


def check(folder: Path) -> None:
    """A whole study of 3 x 3 settings is there, and each run of it was computed once."""
    study = load_study(folder)
    assert study.complete
    assert study.record.complete
    assert study.design.shape == (3, 3)
    assert study.done.shape == (9, 1)
    runs = [np.load(path)["runs"] for path in (folder / "parts").glob("*.npz")]
    assert sorted(np.concatenate(runs)) == list(range(study.done.size))


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT + 30)
@pytest.mark.parametrize(
    ("library", "arguments"),
    [
        ("submitit", ["--jobs", "2", "--cluster", "local"]),
        ("ray", ["--tasks", "2"]),
    ],
)
def test_two_shards_make_one_study(library, arguments, tmp_path):
    pytest.importorskip(library, reason=f"{library} is not installed")
    folder = tmp_path / "a study"  # to be quoted where it is printed
    done = subprocess.run(
        [
            sys.executable,
            SCRIPTS / f"sweep_{library}.py",
            "--smoke",
            "--folder",
            folder,
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        cwd=tmp_path,
        env=surroundings(),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"9 of 9 runs are done; see: purejaxvpg report {shlex.quote(str(folder))}" in done.stdout
    check(folder)


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT + 30)
def test_the_tasks_of_an_array_make_one_study(tmp_path):
    """Both tasks at once, as a scheduler starts them; the folder is new to both."""
    has_sweep = subprocess.run(
        [BIN / "purejaxvpg", "sweep", "--help"], capture_output=True, env=surroundings()
    )
    if has_sweep.returncode:
        pytest.skip("the command line has no sweep")
    tiny = "--total-steps 64 --num-envs 2 --num-steps 8 --hidden-sizes 8 --value-iterations 1"
    tasks = [
        subprocess.Popen(
            ["bash", SCRIPTS / "sweep_slurm.sh", *tiny.split(), "--num-seeds", "1", "--no-report"],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=surroundings(
                SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_COUNT="2", SLURM_ARRAY_TASK_ID=str(index)
            ),
        )
        for index in range(2)
    ]
    try:
        for task in tasks:
            said = task.communicate(timeout=TIMEOUT)
            assert task.returncode == 0, said
    finally:
        for task in tasks:
            task.kill()
    check(tmp_path / "runs" / "cartpole-7")

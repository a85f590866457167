"""One study over two real processes on this machine, and devices before jax starts them."""

import json
import socket
import subprocess
import sys

import jax
import pytest
from support.assertions import assert_same_bits

from purejaxvpg import VPGConfig
from purejaxvpg.experiment import load_study, sweep

CONFIG = VPGConfig(num_envs=2, num_steps=8, total_steps=160, value_iterations=1, hidden_sizes=(8,))
RATES = [1e-3, 3e-3, 1e-2]

PROCESS = """
import sys
from purejaxvpg.experiment.devices import join_cluster
port, index, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
join_cluster(f"127.0.0.1:{port}", 2, index)
import jax
assert jax.process_count() == 2 and len(jax.devices()) == 2
from purejaxvpg import VPGConfig
from purejaxvpg.experiment import sweep
config = VPGConfig(num_envs=2, num_steps=8, total_steps=160, value_iterations=1, hidden_sizes=(8,))
study = sweep(config, {"policy_lr": [1e-3, 3e-3, 1e-2]}, 3, folder=folder, memory_limit=10**9)
assert study.complete and len(study.policies.runs) == 9
stopped = sweep(config, {"policy_lr": [1e-3, 3e-3, 1e-2]}, 3, folder=folder + "-stopped",
                memory_limit=10**9, on_segment=lambda s: index == 0 and s.updates == 3)
assert not stopped.complete and stopped.updates.max() == 3
"""


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return str(listening.getsockname()[1])


def run_python(code, *arguments, **kwargs):
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs
    )


@pytest.mark.slow
def test_two_processes_make_the_study_of_one_bit_for_bit(tmp_path):
    """9 runs, 5 on each process, a width that both measured: process 1 has a row of padding.

    A hook that stops the study in one process stops it in both, after the same segment.
    """
    folder, port = tmp_path / "study", free_port()
    both = [run_python(PROCESS, port, str(index), str(folder)) for index in (0, 1)]
    for process in both:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors[-2000:]
    study = load_study(folder)
    assert study.complete
    assert study.record.complete
    assert study.record.num_processes == 2
    assert study.record.num_devices == 2
    assert study.record.widths == [5]
    assert study.record.compilations_to_measure_memory == 2
    assert study.record.steps == 9 * 160
    assert len(list((folder / "parts").glob("*.npz"))) == 2  # each process wrote its own
    alone = sweep(CONFIG, {"policy_lr": RATES}, 3, chunk_size=5, devices=jax.devices()[:1])
    assert_same_bits(alone.metrics, study.metrics)
    assert_same_bits(alone.policies.arrays(range(9)), study.policies.arrays(range(9)))


def test_no_cluster_is_one_line(tmp_path):
    code = """
from purejaxvpg.experiment.devices import join_cluster
try:
    join_cluster()
except ValueError as error:
    print(error)
"""
    out, errors = run_python(code).communicate(timeout=100)
    assert out.count("\n") == 1, errors
    assert "give coordinator=HOST:PORT, num_processes and process_id" in out


@pytest.mark.parametrize(
    ("chosen", "expected"), [({}, "all"), ({"JAX_NUM_CPU_DEVICES": "3"}, 3)], ids=["free", "chosen"]
)
def test_every_core_becomes_a_device_unless_the_user_chose(chosen, expected, monkeypatch):
    code = """
import json, os
from purejaxvpg.experiment.devices import use_every_core
use_every_core()
import jax
use_every_core()  # too late by now, and harmless
print(json.dumps([len(jax.devices("cpu")), len(os.sched_getaffinity(0))]))
"""
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES", raising=False)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    out, errors = run_python(code).communicate(timeout=100)
    assert out, errors
    found, cores = json.loads(out)
    assert found == (cores if expected == "all" else expected)

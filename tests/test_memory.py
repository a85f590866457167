"""How many runs fit: by hand on a line, and what must hold on every line."""

import math
from types import SimpleNamespace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.saved import CELLAR

from purejaxvpg import VPGConfig
from purejaxvpg.compute import CPU_WORKING_SET
from purejaxvpg.experiment import memory as module
from purejaxvpg.experiment.memory import (
    Memory,
    choose_width,
    device_limit,
    free_host_bytes,
    small_rollouts,
    step_bytes,
)

STEADY = settings(deadline=None, derandomize=True, database=None)

LINE = Memory(fixed=100.0, per_run=10.0)


def test_the_widest_chunk_on_a_line_by_hand():
    assert [LINE.widest(limit) for limit in (150, 149, 110, 109, 100, 0)] == [5, 4, 1, 0, 0, 0]
    assert [LINE.at(width) for width in (0, 1, 5)] == [100, 110, 150]


def test_bytes_are_never_understated():
    assert Memory(100.0, 0.5).at(1) == 101


def test_runs_that_cost_nothing_more_are_bounded_by_their_number_alone():
    """Buffers are rounded up, and in tiny programs two widths may need the same."""
    flat = Memory(100.0, 0.0)
    assert choose_width(1000, 2, flat, limit=100) == 500
    with pytest.raises(ValueError, match="one run takes"):
        choose_width(1000, 2, flat, limit=99)
    assert choose_width(1000, 2, Memory(100.0, -1.0), limit=100) == 500


def test_chunks_are_evened_out():
    """10 runs, at most 4 at a time: not 4 + 4 + 2 but 4 + 4 + 2 at width 4; 9 runs: 3 + 3 + 3."""
    assert choose_width(10, 1, LINE, limit=140) == 4
    assert choose_width(9, 1, LINE, limit=140) == 3
    assert choose_width(12, 1, LINE, limit=150) == 4
    assert choose_width(18, 2, LINE, limit=140) == 3
    assert choose_width(3, 8, LINE, limit=140) == 1


def test_one_run_that_does_not_fit_is_refused_with_the_remedy():
    line = Memory(50e6, 25e6)
    match = r"one run takes 75.0 MB .* limit is 60.0 MB; lower num_envs, .* or raise memory_limit"
    with pytest.raises(ValueError, match=match):
        choose_width(8, 1, line, limit=60_000_000)
    with pytest.raises(ValueError, match="one run takes"):
        choose_width(8, 1, line, limit=60_000_000, faster_within=1.0)


def test_on_a_cpu_the_cache_bounds_the_width():
    line, cache = Memory(0.0, CPU_WORKING_SET / 8), {"faster_within": CPU_WORKING_SET}
    assert choose_width(64, 1, line, limit=10 * CPU_WORKING_SET) == 64
    assert choose_width(64, 1, line, limit=10 * CPU_WORKING_SET, **cache) == 8
    assert choose_width(64, 1, line, limit=CPU_WORKING_SET // 2, **cache) == 4
    large = Memory(0.0, 2.0 * CPU_WORKING_SET)  # one run is larger than the cache: it runs alone
    assert choose_width(64, 1, large, limit=10 * CPU_WORKING_SET, **cache) == 1


@STEADY
@given(
    num_runs=st.integers(1, 10_000),
    num_devices=st.integers(1, 16),
    fixed=st.integers(0, 2_000_000),
    twice=st.integers(1, 2_000_000),  # bytes of two runs: the line is laid through widths 2 and 4
    limit=st.integers(1, 20_000_000),
    faster_within=st.just(math.inf) | st.just(CPU_WORKING_SET) | st.integers(1, 20_000_000),
)
def test_a_width_fits_holds_all_runs_and_wastes_no_chunk(
    num_runs, num_devices, fixed, twice, limit, faster_within
):
    line = Memory(float(fixed), twice / 2)
    assume(line.at(1) <= limit)
    width = choose_width(num_runs, num_devices, line, limit, faster_within)
    chunks = -(-num_runs // (width * num_devices))
    widest = line.widest(limit)
    assert line.at(width) <= limit
    assert line.at(widest) <= limit < line.at(widest + 1)
    assert width * num_devices * chunks >= num_runs
    assert width * num_devices * (chunks - 1) < num_runs
    assert (width - 1) * num_devices * chunks < num_runs  # a narrower one would need more
    assert width == 1 or line.at(width) <= faster_within
    if faster_within >= limit:
        assert chunks == -(-num_runs // (widest * num_devices))  # evening out costs no chunk


# CartPole observes 4 numbers: 2 x 4 and 16 more, of 4 bytes each, in every step of 2 x 8.
SMALL = VPGConfig(num_envs=2, num_steps=8, total_steps=160, hidden_sizes=(8,))
SMALL_BYTES = 4 * 16 * (2 * 4 + 16)


def test_small_rollouts_are_known_on_a_cpu_without_measuring():
    cpu = SimpleNamespace(platform="cpu")
    most = CPU_WORKING_SET // SMALL_BYTES
    assert small_rollouts(SMALL, 4, cpu)
    assert small_rollouts(SMALL, most, cpu)
    assert not small_rollouts(SMALL, most + 1, cpu)
    image = VPGConfig(env="Breakout-MinAtar", num_envs=64, num_steps=128, total_steps=2**20)
    assert not small_rollouts(image, 1, cpu)  # observations of 13 MB, and as much again


def test_on_an_accelerator_nothing_is_known_without_measuring():
    assert not small_rollouts(SMALL, 1, SimpleNamespace(platform="gpu"))


def test_the_limit_of_a_device_is_nine_tenths_of_what_is_free():
    stats = {"bytes_limit": 1000, "bytes_in_use": 200}
    assert device_limit([SimpleNamespace(memory_stats=lambda: stats)]) == 720


def test_devices_without_memory_of_their_own_share_the_host(monkeypatch):
    monkeypatch.setattr(module, "free_host_bytes", lambda: 8_000)
    monkeypatch.setattr(module.jax, "local_devices", lambda: [None] * 4)
    assert device_limit([SimpleNamespace(memory_stats=lambda: None)]) == 1_800


def test_free_memory_is_known_on_systems_that_do_not_say(monkeypatch, tmp_path):
    assert free_host_bytes() > 0
    monkeypatch.setattr(module, "Path", lambda _: tmp_path / "missing")
    sizes = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(module.os, "sysconf", sizes.__getitem__)
    assert free_host_bytes() == 2_048_000
    monkeypatch.delattr(module.os, "sysconf")
    assert free_host_bytes() == 2**32


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (SMALL, 4 * 4 + 4 * 4 + 64),
        (VPGConfig(memory="gru", memory_size=8), 32 + 4 * 2 * 4 * 8 + 64),
        (VPGConfig(memory="lstm", memory_size=8, shared_torso=True), 32 + 4 * 2 * 4 * 8 + 64),
        (VPGConfig(env="FrozenLake-misc"), 4 + 4 * 16 + 64),
        # 16 bytes, three integers and a flag; seen as 16 + 3 + 2 + 1 floats; a mask of three.
        (VPGConfig(env=CELLAR), (16 + 12 + 1) + 4 * 22 + 2 * 3 + 64),
    ],
    ids=["floats", "gru", "lstm", "discrete", "tree"],
)
def test_bytes_of_a_step_by_hand(config, expected):
    assert step_bytes(config) == expected

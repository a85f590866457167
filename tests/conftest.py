"""Shared by all tests: two CPU threads are what there is, so compile little."""

import os

import jax
import pytest

# Tests leave nothing in the user's cache, and take nothing from it (but see test_devices.py).
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
jax.config.update("jax_enable_compilation_cache", False)

# Before jax starts: studies are tested on 1, 2 and 8 devices.  All else runs on the first.
jax.config.update("jax_num_cpu_devices", 8)
assert len(jax.devices()) == 8  # started here, so that no test chooses another number


@pytest.fixture
def x64():
    """float64 on for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module", autouse=True)
def _programs_are_given_back():
    """Of each module, when it is done.  A compiled program takes some hundred memory maps, a
    process may have 65,530, and beyond them LLVM crashes."""
    yield
    jax.clear_caches()

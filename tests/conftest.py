"""Shared by all tests: two CPU threads are what there is, so compile little."""

import jax
import pytest


@pytest.fixture
def x64():
    """float64 on for one test."""
    with jax.enable_x64(True):
        yield

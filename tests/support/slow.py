"""Tests that are run by `scripts/test -m slow` alone, so that `scripts/test` takes minutes."""

from collections.abc import Iterable

import pytest


def slow_but(quick: Iterable[str], names: Iterable[str]) -> list:
    """Parameters: those of `quick` in every run, the others among the slow tests."""
    quick = set(quick)
    return [n if n in quick else pytest.param(n, marks=pytest.mark.slow) for n in names]

"""Tests that are run by `scripts/test -m slow` alone, so that `scripts/test` takes minutes."""

from collections.abc import Hashable, Iterable

import pytest


def slow_but(quick: Iterable[Hashable], every: Iterable[Hashable]) -> list:
    """Parameters: those of `quick` in every run, the others among the slow tests.

    A tuple is the values of several arguments.
    """
    quick = set(quick)
    return [
        pytest.param(*values, marks=() if x in quick else pytest.mark.slow)
        for x in every
        for values in [x if isinstance(x, tuple) else (x,)]
    ]

"""Ranges to draw from: exact ends, plain values, and what is no range."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purejaxvpg.experiment.design import make_design
from purejaxvpg.ranges import Choice, LogUniform, Uniform

STEADY = settings(deadline=None, derandomize=True, database=None)


@STEADY
@given(st.floats(1e-300, 1e300), st.floats(1e-300, 1e300), st.floats(0, 1))
def test_ranges_begin_and_end_exactly_and_never_leave(a, b, fraction):
    low, high = sorted((a, b if b != a else a * 2))
    for span in (Uniform(low, high), LogUniform(low, high), Uniform(-high, high)):
        assert (span.at(0.0), span.at(1.0)) == (span.low, span.high)
        assert span.low <= span.at(fraction) <= span.high


def test_whole_ends_of_a_range_give_floats():
    for span in (Uniform(1, 2), LogUniform(1, 2), Uniform(np.float32(1), np.int64(2))):
        assert [type(span.at(f)) for f in (0.0, 0.5, 1.0)] == [float] * 3


def test_a_choice_is_balanced():
    span = Choice(("tanh", "relu", "elu", "gelu"))
    assert [span.at(f) for f in (0.0, 0.24, 0.25, 0.99, 1.0)] == [
        "tanh", "tanh", "relu", "gelu", "gelu",
    ]  # fmt: skip
    design = make_design(sample={"activation": span}, num_samples=32)
    counts = [sum(s["activation"] == o for s in design.settings()) for o in span.options]
    assert counts == [8, 8, 8, 8]


def test_options_are_plain_values_like_those_of_an_axis():
    assert Choice(np.array([1, 2])).options == (1, 2)
    assert Choice([[8], [16, 16]]).options == ((8,), (16, 16))
    assert type(Choice([np.float64(0.5)]).options[0]) is float


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: Uniform(1, 1), ValueError, r"Uniform\(low=1, high=1\) is no range"),
        (lambda: Uniform(0, math.inf), ValueError, "finite numbers, low < high"),
        (lambda: Uniform(math.nan, 1), ValueError, "is no range"),
        (lambda: Uniform("0", 1), ValueError, "is no range"),
        (lambda: Uniform(0, True), ValueError, "is no range"),
        (lambda: Uniform(False, 2), ValueError, "is no range"),
        (lambda: LogUniform(0.0, 1.0), ValueError, "no logarithm at its low end"),
        (lambda: LogUniform(-1.0, 1.0), ValueError, "accepted: low > 0"),
        (lambda: Choice(()), ValueError, "nothing to choose from"),
        (lambda: Choice("tanh"), TypeError, r"Choice\('tanh'\) has no list of options"),
        (lambda: Choice(3), TypeError, "has no list of options"),
    ],
)
def test_ranges_that_are_none_are_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()

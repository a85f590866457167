"""Statistics over seeds: exact on hand-computed cases."""

import numpy as np
import pytest
from scipy import stats

from purejaxvpg.report.statistics import bootstrap, interquartile_mean, trailing_return


def test_interquartile_mean_leaves_out_a_quarter_at_each_end():
    values = np.array([1000.0, 1, 2, 3, 4, 5, 6, -1000])
    assert interquartile_mean(values) == pytest.approx((2 + 3 + 4 + 5) / 4)


def test_interquartile_mean_rounds_the_quarter_down():
    # 5 values: 1.25 rounds to 1 left out at each end.
    assert interquartile_mean(np.array([100.0, 1, 2, 3, -100])) == pytest.approx(2)


def test_bootstrap_of_equal_values_is_a_point():
    estimate = bootstrap(np.full(6, 7.0))
    assert (estimate.value, estimate.low, estimate.high) == (7, 7, 7)


def test_bootstrap_of_one_seed_has_no_interval():
    estimate = bootstrap(np.array([[3.0, 4.0]]))
    np.testing.assert_array_equal(estimate.value, [3, 4])
    assert np.isnan(estimate.low).all()
    assert np.isnan(estimate.high).all()


def test_bootstrap_agrees_with_the_normal_interval_of_a_mean():
    values = np.random.default_rng(1).normal(10, 2, 200)
    estimate = bootstrap(values, np.mean, resamples=4000)
    half = 1.96 * values.std(ddof=1) / np.sqrt(200)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.06)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.06)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    samples = rng.normal(0, 1, (30, 200))  # 200 studies of 30 seeds, side by side
    estimate = bootstrap(samples, np.mean, resamples=500)
    covered = ((estimate.low < 0) & (estimate.high > 0)).mean()
    # 95% nominal; the percentile bootstrap of 30 is a little narrow.  4 standard errors below.
    assert 0.93 - 4 * np.sqrt(0.93 * 0.07 / 200) < covered < 1
    assert stats.binomtest(int(covered * 200), 200, 0.95).pvalue > 1e-4


def test_trailing_return_by_hand():
    #            update  0    1     2    3
    sums = np.array([[10.0, 0.0, 60.0, 5.0]])
    count = np.array([[2.0, 0.0, 3.0, 1.0]])
    found = trailing_return(sums, count, episodes=3)
    # After update 1 only two have ended.  At 2, update 2 alone holds three: 60 / 3.  At 3,
    # update 3 holds one, so update 2 is taken in: 65 / 4.
    np.testing.assert_allclose(found, [[np.nan, np.nan, 20, 16.25]])


def test_trailing_return_is_the_mean_of_exactly_the_last_episodes_where_they_fit():
    rng = np.random.default_rng(3)
    returns = rng.normal(size=(4, 50))  # one episode an update
    found = trailing_return(returns, np.ones((4, 50)), episodes=20)
    assert np.isnan(found[:, :19]).all()
    for u in range(19, 50):
        np.testing.assert_allclose(found[:, u], returns[:, u - 19 : u + 1].mean(1))

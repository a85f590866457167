"""Statistics over seeds: exact on hand-computed cases, identities, scipy called directly, and
the definitions of Agarwal et al. 2021 written out naively."""

import functools
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from purejaxvpg.statistics import (
    aggregate,
    best_setting,
    bootstrap,
    difference,
    improvements_over,
    interquartile_mean,
    mean,
    mean_rank,
    median,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    trailing_return,
    with_diverged_as_worst,
)

RNG = np.random.default_rng(10)
SCORES = RNG.normal(size=(3, 7))  # [K, S]
OTHERS = RNG.normal(0.3, 1, size=(3, 5))  # of another number of seeds
TWO_LEVELS = np.array([[0.0], [100.0]]) + RNG.normal(size=(2, 10))  # an easy and a hard task


def scipy_interval(samples, statistic, resamples=2000, **settings):
    """The percentile interval of independent samples, one resample at a time."""
    settings = {"rng": np.random.default_rng(0), "method": "percentile"} | settings
    interval = stats.bootstrap(
        samples, statistic, vectorized=False, n_resamples=resamples, **settings
    ).confidence_interval
    return interval.low, interval.high


def wins(x, y):
    """P(X > Y) + P(X = Y) / 2 of one task, pair by pair."""
    return np.mean([[(a > b) + (a == b) / 2 for b in y] for a in x])


def assert_same(a, b):
    for left, right in zip(a, b, strict=True):
        np.testing.assert_array_equal(left, right)


# ------------------------------------------------------------------ statistics and bootstrap


def test_mean_and_median_by_hand_along_each_axis():
    values = np.array([[1.0, 2, 9], [3, 4, 5]])
    np.testing.assert_array_equal(mean(values), [2, 3, 7])
    np.testing.assert_array_equal(mean(values, axis=1), [4, 4])
    np.testing.assert_array_equal(median(values), [2, 3, 7])
    np.testing.assert_array_equal(median(values, axis=-1), [2, 4])


def test_optimality_gap_counts_shortfalls_and_no_surplus():
    scores = np.array([[0.0, 4.0], [12.0, 8.0]])
    np.testing.assert_array_equal(optimality_gap(scores, 10), [(10 + 0) / 2, (6 + 2) / 2])
    np.testing.assert_array_equal(optimality_gap(scores, 10, axis=1), [(10 + 6) / 2, 2 / 2])
    # rliable's form of it: the target less the mean of the scores cut at the target.
    expected = 0.5 - np.minimum(SCORES, 0.5).mean()
    assert optimality_gap(SCORES.ravel(), 0.5) == pytest.approx(expected, abs=1e-12)
    assert optimality_gap(scores.ravel(), -1) == 0


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


@pytest.mark.parametrize("shape", [(5,), (9, 4), (6, 2, 3)])
def test_bootstrap_is_scipys_in_one_piece(shape):
    values = np.random.default_rng(4).normal(size=shape)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=700, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    estimate = bootstrap(values, np.mean, resamples=700)
    np.testing.assert_allclose(estimate.value, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(estimate.low, expected.low, rtol=1e-12)
    np.testing.assert_allclose(estimate.high, expected.high, rtol=1e-12)


def test_bootstrap_of_a_thousand_settings_draws_in_batches_that_change_nothing():
    values = np.random.default_rng(5).normal(size=(64, 1000))  # [S, H]
    tracemalloc.start()
    estimate = bootstrap(values, np.mean, resamples=800)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # all draws at once: 64 * 1000 * 800 * 8 bytes = 410 MB
    alone = bootstrap(values[:, 17], np.mean, resamples=800)  # in one batch
    np.testing.assert_allclose([x[17] for x in estimate], alone, rtol=1e-12)


# ------------------------------------------------------------------------------- aggregate


@pytest.mark.parametrize(
    ("statistic", "naive"),
    [
        (mean, lambda pool: sum(pool) / len(pool)),
        (median, lambda pool: sorted(pool)[len(pool) // 2]),  # 21 of them
        (interquartile_mean, lambda pool: np.mean(sorted(pool)[5:16])),  # 21 // 4 = 5
        (
            functools.partial(optimality_gap, target=0.5),
            lambda pool: np.mean([max(0.5 - x, 0) for x in pool]),
        ),
    ],
)
def test_aggregate_pools_tasks_and_draws_the_seeds_of_each_by_themselves(statistic, naive):
    estimate = aggregate(SCORES, statistic, resamples=400)
    expected = scipy_interval(list(SCORES), lambda *tasks: naive(np.concatenate(tasks)), 400,
                              batch=400)  # fmt: skip
    assert estimate.value == pytest.approx(naive(SCORES.ravel()), rel=1e-12)
    assert (estimate.low, estimate.high) == pytest.approx(expected, rel=1e-12)
    assert estimate.low < estimate.value < estimate.high


def test_aggregate_agrees_with_other_draws_than_its_own():
    """Written with numpy alone and another seed: the interval is of the scores, not of the rng."""
    rng = np.random.default_rng(99)
    drawn = [
        np.concatenate([task[rng.integers(0, 7, 7)] for task in SCORES]).mean() for _ in range(8000)
    ]
    estimate = aggregate(SCORES, mean, resamples=8000)
    spread = np.std(drawn)
    np.testing.assert_allclose(estimate[1:], np.quantile(drawn, [0.025, 0.975]), atol=0.1 * spread)


def test_aggregate_of_one_task_is_that_of_its_seeds():
    assert_same(aggregate(SCORES[:1]), aggregate(SCORES[0]))
    assert_same(aggregate(SCORES[0], np.mean), bootstrap(SCORES[0], np.mean))


def test_aggregate_is_narrower_than_unstratified_where_tasks_differ_in_level():
    stratified, pooled = aggregate(TWO_LEVELS, mean), bootstrap(TWO_LEVELS.ravel(), mean)
    assert stratified.value == pytest.approx(pooled.value)
    # Unstratified, the share of the easy task varies: standard deviation 50 / sqrt(20) each way.
    assert pooled.high - pooled.low == pytest.approx(2 * 1.96 * 50 / np.sqrt(20), rel=0.1)
    # Stratified, only the unit noise is left.
    assert stratified.high - stratified.low == pytest.approx(2 * 1.96 / np.sqrt(20), rel=0.3)


def test_aggregate_median_is_of_all_scores_and_not_of_task_means():
    scores = np.array([[0.0, 0, 9], [1, 1, 1], [2, 2, 2]])
    assert aggregate(scores, median).value == 1
    assert np.median(scores.mean(1)) == 2  # rliable's


# --------------------------------------------------------------------- performance profile


def test_performance_profile_by_hand():
    # "More than": a score equal to the threshold does not count.
    profile = performance_profile([[1.0, 2], [2, 5]], [-np.inf, 0, 1, 2, 4.9, 5, np.inf])
    np.testing.assert_array_equal(profile.value, [1, 1, 0.75, 0.25, 0.25, 0, 0])
    for end in (0, 1, 5, 6):  # every draw says the same
        assert profile.low[end] == profile.value[end] == profile.high[end]


def test_performance_profile_is_one_minus_the_distribution_function():
    thresholds = np.sort(np.concatenate([SCORES.ravel(), np.linspace(-3, 3, 20)]))
    profile = performance_profile(SCORES, thresholds)
    ecdf = stats.ecdf(SCORES.ravel()).cdf.evaluate(thresholds)
    np.testing.assert_allclose(profile.value, 1 - ecdf, atol=1e-12)
    for curve in profile:
        assert curve.shape == thresholds.shape
        assert (np.diff(curve) <= 0).all()
    assert (profile.low <= profile.value).all()
    assert (profile.value <= profile.high).all()


def test_performance_profile_intervals_are_scipys_at_each_threshold():
    thresholds = np.array([-1.0, 0, 0.5])
    profile = performance_profile(SCORES, thresholds, resamples=300)
    for i, threshold in enumerate(thresholds):
        expected = scipy_interval(
            list(SCORES), lambda *tasks, t=threshold: np.mean(np.concatenate(tasks) > t), 300
        )
        assert (profile.low[i], profile.high[i]) == pytest.approx(expected, rel=1e-12)


def test_performance_profile_encloses_the_mean_of_positive_scores():
    """The area under the profile is the mean, so the definition and the aggregate agree."""
    scores = np.random.default_rng(6).uniform(0, 1, (2, 6))
    thresholds = np.linspace(0, 1, 20001)
    area = np.trapezoid(performance_profile(scores, thresholds, resamples=2).value, thresholds)
    assert area == pytest.approx(aggregate(scores, mean).value, abs=1e-4)


@pytest.mark.parametrize("thresholds", [[0.0, np.nan], [[0.0]], []])
def test_performance_profile_refuses_thresholds_that_are_none(thresholds):
    with pytest.raises(ValueError, match=r"^thresholds=.*give one or more numbers.*$"):
        performance_profile(SCORES, thresholds)


# ------------------------------------------------------------------- probability to improve


def test_probability_of_improvement_by_hand():
    # 3 beats 1 and 2 and ties with 3; 1 ties with 1: (2.5 + 0.5) of 6 pairs.
    assert probability_of_improvement([3.0, 1], [1.0, 2, 3]).value == pytest.approx(3 / 6)
    # The mean over tasks of that, and of a task always won.
    two = probability_of_improvement([[3.0, 1], [9, 9]], [[1.0, 2, 3], [0, 0, 0]])
    assert two.value == pytest.approx((3 / 6 + 1) / 2)


def test_probability_of_improvement_is_mann_whitneys_u_with_ties():
    rng = np.random.default_rng(7)
    x, y = rng.integers(0, 4, (5, 8)), rng.integers(0, 4, (5, 6))  # full of ties
    u = [stats.mannwhitneyu(a, b, method="asymptotic").statistic for a, b in zip(x, y, strict=True)]
    expected = np.mean([wins(a, b) for a, b in zip(x, y, strict=True)])
    assert probability_of_improvement(x, y).value == pytest.approx(expected, rel=1e-12)
    assert np.mean(u) / 48 == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("paired", [False, True])
def test_probabilities_of_improvement_either_way_sum_to_one(paired):
    x, y = np.round(SCORES, 1), np.round(SCORES[::-1] + 0.1, 1)
    there = probability_of_improvement(x, y, paired)
    back = probability_of_improvement(y, x, paired)
    assert there.value + back.value == pytest.approx(1, abs=1e-12)
    # Paired, both ways draw the same seeds; unpaired, other draws estimate the same ends.
    tolerance = 1e-12 if paired else 0.02
    assert there.low + back.high == pytest.approx(1, abs=tolerance)
    assert there.high + back.low == pytest.approx(1, abs=tolerance)


def test_probability_of_improvement_draws_x_and_y_of_every_task_independently():
    def naive(*tasks):
        return np.mean([wins(x, y) for x, y in zip(tasks[:3], tasks[3:], strict=True)])

    estimate = probability_of_improvement(SCORES, OTHERS, resamples=300)
    expected = scipy_interval([*SCORES, *OTHERS], naive, 300, batch=300)
    assert (estimate.low, estimate.high) == pytest.approx(expected, rel=1e-12)


def test_probability_of_improvement_paired_is_scipys_paired_bootstrap():
    x, y = SCORES[0], SCORES[0] + 0.5 * SCORES[1]
    estimate = probability_of_improvement(x, y, paired=True, resamples=300)
    expected = scipy_interval([x, y], wins, 300, paired=True)
    assert (estimate.low, estimate.high) == pytest.approx(expected, rel=1e-12)


def test_probability_of_improvement_paired_draws_the_seeds_of_each_task_by_themselves():
    def naive(*seeds):
        return np.mean([wins(a[s], b[s]) for a, b, s in zip(x, y, seeds, strict=True)])

    x, y = SCORES, SCORES[::-1] + 0.2
    estimate = probability_of_improvement(x, y, paired=True, resamples=300)
    expected = scipy_interval([np.arange(7)] * 3, naive, 300, batch=300)
    assert (estimate.low, estimate.high) == pytest.approx(expected, rel=1e-12)


def test_probability_of_improvement_paired_moves_the_interval_alone():
    seed_effect = np.random.default_rng(8).normal(size=(1, 20))
    x, y = seed_effect + 0.5, seed_effect + 0.01 * RNG.normal(size=(1, 20))
    paired = probability_of_improvement(x, y, paired=True)
    unpaired = probability_of_improvement(x, y)
    assert paired.value == unpaired.value
    assert paired.high - paired.low < 0.6 * (unpaired.high - unpaired.low)
    assert paired.low > 0.5 > unpaired.low
    # The same runs on both sides: no draw of whole seeds can tell them apart.
    assert tuple(probability_of_improvement(x, x, paired=True)) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("x", "y", "paired"),
    [(SCORES, OTHERS, True), (SCORES, OTHERS[:2], False), (SCORES[0], SCORES, True)],
)
def test_probability_of_improvement_refuses_shapes_that_do_not_fit(x, y, paired):
    with pytest.raises(ValueError, match=r"^x has shape .* and y .*; both need the same tasks"):
        probability_of_improvement(x, y, paired)


# ---------------------------------------------------------------------------- best setting


def test_best_setting_by_hand():
    #                  choose       report: even and odd positions
    scores = np.array([[1.0, 9.0, 1.0, 9.0, 1.0], [3.0, 2.0, 5.0, 4.0, 4.0]])
    best = best_setting(scores)
    assert best.index == 1  # although setting 0 has the larger mean
    assert_same(best.selected, bootstrap(np.array([3.0, 5, 4])))
    assert_same(best.held_out, bootstrap(np.array([2.0, 4])))
    assert best.held_out.value == 3


def test_best_setting_chooses_by_the_interquartile_mean():
    scores = np.repeat([[0.0, 0, 0, 100], [1, 1, 1, 1]], 2, axis=1)
    assert best_setting(scores).index == 1


def test_best_setting_of_equal_settings_is_biased_where_it_was_chosen_and_not_where_held_out():
    """50 settings whose true value is 0, 8 seeds of unit noise each, 400 studies."""
    studies = np.random.default_rng(9).normal(size=(400, 50, 8))
    naive = interquartile_mean(studies, axis=2).max(1)
    bests = [best_setting(study) for study in studies]
    selected = np.array([best.selected.value for best in bests])
    held_out = np.array([best.held_out.value for best in bests])
    assert naive.mean() > 0.7  # the bias that is to be removed: two standard errors of an IQM
    assert selected.mean() > naive.mean()  # of half the seeds, so noisier
    assert abs(held_out.mean()) < 4 * held_out.std() / np.sqrt(400) < 0.12
    # Not by shrinking: where one setting is truly better by 2, it is found and reported as such.
    studies[:, 31] += 2
    bests = [best_setting(study) for study in studies]
    found = np.array([best.index == 31 for best in bests])
    assert found.mean() > 0.8
    reported = np.mean([best.held_out.value for best in bests])
    assert reported == pytest.approx(2 * found.mean(), abs=0.12)


@pytest.mark.parametrize("seeds", [2, 3])
def test_best_setting_with_one_seed_held_out_has_no_interval_there(seeds):
    best = best_setting(SCORES[:, :seeds])
    assert best.held_out.value == SCORES[best.index, 1]
    assert np.isnan([best.held_out.low, best.held_out.high]).all()


def test_best_setting_needs_settings_and_two_seeds():
    with pytest.raises(ValueError, match=r"^scores has 1 seed a setting; give 2 or more.*$"):
        best_setting(SCORES[:, :1])
    with pytest.raises(ValueError, match=r"^scores has shape \(7,\); give \[H, S\].*$"):
        best_setting(SCORES[0])


# --------------------------------------------------- what holds for all: diverged, one seed

ESTIMATORS = {
    "aggregate": aggregate,
    "profile": lambda scores: performance_profile(scores, [0.0, 1.0]),
    "x": lambda scores: probability_of_improvement(scores, OTHERS),
    "y": lambda scores: probability_of_improvement(OTHERS, scores),
    "paired": lambda scores: probability_of_improvement(scores, SCORES, paired=True),
    "best": best_setting,
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_scores_that_are_not_finite_are_refused_in_one_line(name):
    scores = SCORES.copy()
    scores[0, 1], scores[1, 2], scores[2, 0] = np.nan, np.inf, -np.inf
    argument = name if name in ("x", "y") else "x" if name == "paired" else "scores"
    remedy = rf"^{argument} has 3 values that are not finite; .*with_diverged_as_worst\(\.\.\.\).*$"
    with pytest.raises(ValueError, match=remedy) as error:
        ESTIMATORS[name](scores)
    assert "\n" not in str(error.value)
    ESTIMATORS[name](with_diverged_as_worst(scores))


@pytest.mark.parametrize("scores", [np.zeros((2, 3, 4)), np.zeros((3, 0)), np.float64(1)])
def test_scores_of_another_shape_are_refused(scores):
    with pytest.raises(ValueError, match=r"^scores has shape \(.*\); give \[S\] or \[K, S\]"):
        aggregate(scores)


def test_diverged_runs_count_as_the_worst_of_all():
    scores = np.array([[5.0, np.nan, 7], [-np.inf, 2, np.inf]])
    before = scores.copy()
    np.testing.assert_array_equal(with_diverged_as_worst(scores), [[5, 2, 7], [2, 2, 2]])
    np.testing.assert_array_equal(scores, before)  # a copy
    np.testing.assert_array_equal(with_diverged_as_worst(SCORES), SCORES)
    assert np.isnan(with_diverged_as_worst([np.nan, np.inf])).all()
    assert with_diverged_as_worst([]).shape == (0,)


def test_dropping_diverged_runs_would_have_flattered():
    scores = np.array([10.0, np.nan, np.nan, np.nan, 8, 9])
    assert aggregate(with_diverged_as_worst(scores), mean).value < np.nanmean(scores)


def test_one_seed_has_a_value_and_no_interval():
    column = SCORES[:, :1]
    for estimate, value in [
        (aggregate(column, mean), column.mean()),
        (performance_profile(column, [0.0]), [(column > 0).mean()]),
        (probability_of_improvement(column, OTHERS), np.mean([*map(wins, column, OTHERS)])),
        (probability_of_improvement(OTHERS, column), np.mean([*map(wins, OTHERS, column)])),
        (probability_of_improvement(column, column, paired=True), 0.5),
    ]:
        np.testing.assert_allclose(estimate.value, value)
        assert np.shape(estimate.low) == np.shape(estimate.high) == np.shape(value)
        assert np.isnan(estimate.low).all()
        assert np.isnan(estimate.high).all()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_same_scores_give_the_same_numbers_and_stay_as_they_were(name):
    scores = SCORES.copy()
    first, second = ESTIMATORS[name](scores), ESTIMATORS[name](scores.tolist())
    for left, right in zip(first, second, strict=True):
        np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(scores, SCORES)


# -------------------------------------------------------------------------- learning curves


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


def test_improvements_over_one_setting_are_those_of_each_alone():
    """The intervals too: the same seeds are drawn.  Ties are among the scores."""
    scores = np.random.default_rng(3).integers(0, 5, (6, 9)).astype(float)
    value, low, high = improvements_over(scores, scores[0], resamples=300)
    for h, x in enumerate(scores):
        alone = probability_of_improvement(x, scores[0], paired=True, resamples=300)
        np.testing.assert_allclose([value[h], low[h], high[h]], alone, rtol=1e-12)
    one = improvements_over(scores[:, :1], scores[0, :1])
    assert np.isnan(one.low).all()
    with pytest.raises(ValueError, match=r"reference has shape \(8,\); give one of 9 seeds"):
        improvements_over(scores, scores[0, :8])


def test_difference_of_interquartile_means_by_hand():
    """4.5 and 6 (of 1, 5, 7, 9); over two tasks the mean of -1.5 and 10."""
    x, y = np.arange(1.0, 9), [1.0, 5, 7, 9]
    assert difference(x, y).value == -1.5
    assert difference([x, [12.0, 12]], [y, [2.0, 2, 2]]).value == (-1.5 + 10) / 2
    assert difference(x, y, statistic=mean).value == 4.5 - 5.5
    assert tuple(difference(x, x + 3, paired=True)) == (-3, -3, -3)  # the same seeds
    apart = difference(x, x + 3)
    assert apart.low < -3 < apart.high
    assert np.isnan(difference(x, [1.0]).low)
    with pytest.raises(ValueError, match="both need the same tasks and seeds"):
        difference(x, y, paired=True)


def test_difference_is_scipys_bootstrap_of_two_samples():
    def less(a, b, axis):
        return interquartile_mean(a, axis=axis) - interquartile_mean(b, axis=axis)

    estimate = difference(SCORES[0], OTHERS[0], resamples=300)
    expected = stats.bootstrap(
        (SCORES[0], OTHERS[0]), less, method="percentile", n_resamples=300,
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    assert (estimate.low, estimate.high) == (expected.low, expected.high)


def test_tasks_may_have_different_numbers_of_seeds():
    ragged = [[1.0, 2, 3, 4], [10.0, 20]]
    assert aggregate(ragged).value == interquartile_mean(np.array([1, 2, 3, 4, 10, 20.0]))
    assert probability_of_improvement(ragged, [[2.5], [10.0, 10]]).value == (1 / 2 + 3 / 4) / 2
    ranks = mean_rank([ragged, [[5.0], [1.0, 1, 1]]], paired=False)
    assert ranks.value.tolist() == [1.5, 1.5]
    with pytest.raises(ValueError, match="1 values that are not finite"):
        aggregate([[1.0, np.nan], [2.0]])


def test_mean_rank_unpaired_draws_the_seeds_of_each_setting_by_themselves():
    """Equal settings tie in every paired resample, and hardly ever in an unpaired one."""
    alike = np.broadcast_to(np.arange(8.0), (2, 1, 8))
    paired, unpaired = mean_rank(alike), mean_rank(alike, paired=False)
    assert paired.low.tolist() == paired.high.tolist() == [1.5, 1.5]
    assert unpaired.value.tolist() == [1.5, 1.5]
    assert (unpaired.low.tolist(), unpaired.high.tolist()) == ([1, 1], [2, 2])


def test_mean_rank_shares_ranks_and_needs_no_scale():
    """Interquartile means 1, 2, 2 in one task and 30, 10, 20 in the other."""
    scores = np.array([[[1, 1], [30, 30]], [[2, 2], [10, 10]], [[2, 2], [20, 20]]], float)
    ranks = mean_rank(scores)
    np.testing.assert_array_equal(ranks.value, [(3 + 1) / 2, (1.5 + 3) / 2, (1.5 + 2) / 2])
    np.testing.assert_array_equal(ranks.low, ranks.value)  # seeds are alike: no spread
    scaled = mean_rank(scores * np.array([[[1e6], [1e-6]]]) + 5)
    np.testing.assert_array_equal(scaled.value, ranks.value)
    unsure = mean_rank([[[1.0, 5.0]], [[2.0, 2.0]]])  # the first loses where both draws are 1
    np.testing.assert_array_equal(unsure, [[1, 2], [1, 1], [2, 2]])
    assert np.isnan(mean_rank(scores[:, :, :1]).low).all()
    with pytest.raises(ValueError, match=r"give \[H, K, S\]"):
        mean_rank(scores[0])
    with pytest.raises(ValueError, match="1 values that are not finite"):
        mean_rank(np.where(scores == 30, [np.nan, 30], scores))

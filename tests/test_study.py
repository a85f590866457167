"""`Study`: scores by hand, returns, runs that are done, and the study in ten lines."""

import sys

import numpy as np
import pytest
from support.studies import CONFIG, EVALUATING, all_parts, make_part, make_spec, make_study

NAN = np.nan
ONE = make_spec(grid={}, num_seeds=1)


def episodes(counts, sums, spec=ONE, **metrics):
    """A study of one run with these episodes by update."""
    end = len(counts)
    rows = {"episode_count": np.array([counts]), "episode_return_sum": np.array([sums])}
    part = make_part(spec, [0], 0, end, **{k: v.astype(np.float32) for k, v in rows.items()})
    extra = {k: np.broadcast_to(v, part.metrics.kl.shape) for k, v in metrics.items()}
    return make_study(spec, [part._replace(metrics=part.metrics._replace(**extra))])


# -------------------------------------------------------------------------------------- SCORES


def test_the_score_is_the_mean_of_the_last_20_episodes():
    """8 + 12 of them in the last two updates: (80 + 360) / 20; the 100 before are not looked at."""
    assert episodes([50, 50, 8, 12], [0, 0, 80, 360]).scores() == [[22.0]]


def test_the_window_is_whole_updates_with_at_least_20_episodes():
    """15 are too few, 15 + 30 are enough: (30 + 150) / 45."""
    assert episodes([50, 0, 30, 15], [0, 0, 30, 150]).scores() == [[4.0]]


def test_fewer_than_20_episodes_are_averaged_over_all():
    assert episodes([0, 2, 0, 3], [0, 10, 0, 40]).scores() == [[10.0]]


def test_no_episode_is_no_score():
    assert np.isnan(episodes([0, 0, 0, 0], [0, 0, 0, 0]).scores()).all()


def test_a_run_that_diverged_has_no_score_whatever_came_after():
    study = episodes([9, 9, 9, 9], [9, 9, 9, 9], finite=np.array([True, False, True, True]))
    assert study.diverged.all()
    assert np.isnan(study.scores()).all()
    assert not episodes([9, 9, 9, 9], [9, 9, 9, 9]).diverged.any()


def test_a_run_that_was_not_run_has_no_score_and_did_not_diverge():
    study = make_study(make_spec(), all_parts(make_spec())[:1])
    np.testing.assert_array_equal(np.isnan(study.scores()), [[False] * 2, [True] * 2])
    assert not study.diverged.any()


def test_a_run_that_is_half_done_is_scored_by_its_last_update():
    assert episodes([10, 20], [0, 60]).scores() == [[3.0]]


def test_each_run_is_scored_at_its_own_last_update():
    spec = make_spec({"num_envs": [4, 2]}, num_seeds=1)  # U = 4 and 8
    parts = [
        make_part(spec, [h], episode_count=20.0, episode_return_sum=np.arange(u) * 20.0)
        for h, u in enumerate((4, 8))
    ]
    assert make_study(spec, parts).scores().tolist() == [[3.0], [7.0]]


def test_a_study_that_evaluates_is_scored_by_its_last_evaluation():
    """Returns of run r at evaluation v: r + v / 4 + 0, 1, 2."""
    spec = make_spec(config=EVALUATING)
    assert make_study(spec).scores().tolist() == [[1.25, 2.25], [3.25, 4.25]]
    half = make_study(spec, [make_part(spec, [0], 0, 2)])
    np.testing.assert_array_equal(half.scores(), [[1.0, NAN], [NAN, NAN]])


def test_settings_with_fewer_or_shorter_evaluations_are_scored_by_their_own():
    """The rest of the cube is NaN, which is no score of theirs."""
    axes = {"eval_every": [2, 4, 0], "eval_episodes": [3, 2, 5]}
    study = make_study(make_spec(grid={}, zipped=axes, config=EVALUATING))
    np.testing.assert_array_equal(study.scores(), [[1.25, 2.25], [2.5, 3.5], [NAN, NAN]])


def test_an_evaluation_that_returned_nan_is_not_passed_over_for_an_earlier_one():
    spec = make_spec(grid={}, num_seeds=1, config=EVALUATING)
    part = make_part(spec, [0])
    returns = part.evaluations.returns.copy()
    returns[0, 1, 2] = NAN
    part = part._replace(evaluations=part.evaluations._replace(returns=returns))
    assert np.isnan(make_study(spec, [part]).scores()).all()


# ------------------------------------------------------------------------------------- RETURNS


def test_returns_are_means_over_the_last_episodes_by_each_update():
    study = episodes([1, 1, 2, 0], [4, 8, 30, 0])
    np.testing.assert_array_equal(study.trailing_returns(1)[0, 0], [4, 8, 15, 15])
    np.testing.assert_array_equal(study.trailing_returns(2)[0, 0], [NAN, 6, 15, 15])
    np.testing.assert_array_equal(study.trailing_returns(3)[0, 0], [NAN, NAN, 38 / 3, 38 / 3])


def test_returns_end_where_the_run_does():
    np.testing.assert_array_equal(
        episodes([1, 1], [4, 8]).trailing_returns(1)[0, 0], [4, 8, NAN, NAN]
    )


@pytest.mark.parametrize("lost", [NAN, np.inf, -np.inf])
def test_a_return_that_is_no_number_is_not_taken_for_zero(lost):
    study = episodes([1, 1, 1, 1], [4, lost, 8, 8])
    np.testing.assert_array_equal(study.trailing_returns(1)[0, 0], [4, NAN, NAN, NAN])


def test_returns_end_where_the_run_diverged():
    """Later updates end no episode, and the last good return, held, would flatter the run."""
    study = episodes([1, 1, 0, 0], [4, 8, 0, 0], finite=np.array([True, True, False, False]))
    np.testing.assert_array_equal(study.trailing_returns(1)[0, 0], [4, 8, NAN, NAN])
    once = episodes([1, 1, 1, 1], [4, 8, 9, 9], finite=np.array([True, False, True, True]))
    np.testing.assert_array_equal(once.trailing_returns(1)[0, 0], [4, NAN, NAN, NAN])


# -------------------------------------------------------------------------------- DONE, COMPLETE


def test_done_is_at_the_last_update_of_each_setting():
    spec = make_spec({"num_envs": [4, 2]}, num_seeds=2)
    study = make_study(spec, [make_part(spec, [0, 1]), make_part(spec, [2, 3], 0, 4)])
    np.testing.assert_array_equal(study.updates, [[4, 4], [4, 4]])
    np.testing.assert_array_equal(study.done, [[True, True], [False, False]])
    assert not study.complete
    assert make_study(spec).complete


def test_plain_arrays_need_no_extra(monkeypatch):
    for library in ("xarray", "pandas"):
        monkeypatch.setitem(sys.modules, library, None)
    study = make_study(make_spec(config=CONFIG))
    assert study.scores().shape == (2, 2)
    assert study.trailing_returns().shape == (2, 2, 4)


# -------------------------------------------------------------------------------------- SETTINGS


def test_settings_are_found_by_their_values():
    study = make_study(make_spec({"policy_lr": [1e-3, 1e-2], "gamma": [0.9, 0.99]}))
    assert study.where(gamma=0.99).tolist() == [1, 3]
    assert study.where(gamma=0.99, policy_lr=1e-2).tolist() == [3]
    config, hp = study.setting(3)
    assert (config, hp.gamma, hp.policy_lr) == (CONFIG, 0.99, 1e-2)
    with pytest.raises(ValueError, match=r"no setting of the study has gamma=0.5"):
        study.where(gamma=0.5)


def scored(*sums, ends=None):
    """A study of one seed whose settings score these."""
    spec = make_spec({"gamma": np.linspace(0.5, 0.9, len(sums))}, num_seeds=1)
    ends = ends or [4] * len(sums)
    parts = [
        make_part(spec, [h], 0, end, episode_count=20.0, episode_return_sum=20.0 * x)
        for h, (x, end) in enumerate(zip(sums, ends, strict=True))
    ]
    return make_study(spec, parts)


def test_the_best_setting_has_the_highest_score_of_those_that_are_done():
    assert scored(3, 7, 5).best() == 1
    assert scored(3, 7, 5, ends=[4, 3, 4]).best() == 2
    assert scored(3, NAN, 1).best() == 0
    with pytest.raises(ValueError, match="no setting ran to its end"):
        scored(3, 7, ends=[2, 2]).best()


# ---------------------------------------------------------------------------------- IN TEN LINES


def test_a_study_is_shown_in_ten_lines(capsys):
    """Settings, seeds, runs done and the device are among them."""
    spec = make_spec({"policy_lr": [1e-3, 1e-2], "gamma": [0.9, 0.99, 1.0]}, num_seeds=3)
    record = {"device": "NVIDIA H100", "num_devices": 4, "steps": 8_000, "seconds": 2.0}
    study = make_study(spec, all_parts(spec)[:4], versions={"jax": "1.2.3"}, **record)
    print(study)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert max(map(len, lines)) < 250
    text = "\n".join(lines)
    for words in (
        "Study of CartPole-v1",
        "settings     6: policy_lr (2) x gamma (3)",
        "seeds        3: 5 to 7",
        "updates      4 of 4 environments x 8 steps",
        "runs done    12 of 18, 0 diverged, 0 settings pruned",
        "policies     of 0 runs",
        "8,000 steps in 2.0 s (4,000 steps/s) on 4 x NVIDIA H100",
        "jax 1.2.3",
    ):
        assert words in text


@pytest.mark.parametrize("parts", [[], None])
def test_a_study_of_one_setting_or_of_nothing_yet_is_shown_too(parts):
    lines = repr(make_study(make_spec(grid={}, num_seeds=1), parts)).splitlines()
    assert len(lines) == 10
    assert "  settings     1: one" in lines
    assert ("none yet" in lines[5]) == (parts == [])

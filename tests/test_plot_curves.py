"""Figures of several runs and studies: which values they show, over what, and their bytes."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from support.refusals import assert_refused
from support.scored import RISE, scored, write
from support.studies import CONFIG, EVALUATING, make_spec, make_study

from purejaxvpg import cli
from purejaxvpg.report import overlay, plot_curves, plots

RECORDED = Path(__file__).parent / "recorded" / "bf46240"
NAN = np.nan
GRID = {"policy_lr": [1e-3, 1e-2]}
LUCKY = [[10.0, 1, 10, 2], [5, 8, 5, 8]]  # seeds at even places prefer the first setting


@pytest.fixture
def figures(monkeypatch):
    """Figures, as they are drawn; nothing is rendered."""
    drawn = []
    monkeypatch.setattr(plots, "drawn", lambda figure, *_: drawn.append(figure) or b"figure")
    return drawn


def lines(*sources, tmp_path, **how):
    return plot_curves(*sources, out=tmp_path / "x.pdf", **how).lines


# ---------------------------------------------------------------------------------- THE VALUES


def test_curves_are_returns_over_the_steps_of_each(tmp_path, figures):
    """One update is 32 steps of four environments, and 16 of two."""
    short = dataclasses.replace(CONFIG, num_envs=2, total_steps=4 * 16)
    first, second = lines(
        scored([4.0, 8.0, 8.0, 12.0]), scored([20.0], config=short), tmp_path=tmp_path
    )
    assert first.x.tolist() == [32, 64, 96, 128]
    np.testing.assert_allclose(first.values, np.outer([4, 8, 8, 12], RISE))
    assert second.x.tolist() == [16, 32, 48, 64]
    np.testing.assert_allclose(second.values, [20 * RISE])
    assert (tmp_path / "x.pdf").read_bytes() == b"figure"


def test_the_line_is_the_interquartile_mean_and_the_band_its_interval(tmp_path, figures):
    lines(scored([4.0, 8.0, 8.0, 12.0]), tmp_path=tmp_path)
    (axes,) = figures[0].axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), 8 * RISE)
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    expected = plots.bootstrap(np.outer([4, 8, 8, 12], RISE), resamples=500)
    assert (heights.min(), heights.max()) == (expected.low.min(), expected.high.max())
    assert axes.get_xlabel() == "environment steps"
    assert axes.get_ylabel() == "return of the last 20 episodes"


def test_seconds_are_of_all_seeds_of_the_setting_without_compilation(tmp_path, figures):
    """10 s of running, 90 s of compiling: a run takes 10, each of two settings 5."""
    (run,) = lines(scored([1.0, 2.0]), tmp_path=tmp_path, x="seconds")
    assert run.x.tolist() == [2.5, 5, 7.5, 10]
    assert figures[0].axes[0].get_xlabel() == "seconds of 2 seeds, without compilation"
    study = scored(LUCKY, GRID)
    each = lines(study, tmp_path=tmp_path, x="seconds", group_by=["all"])
    assert [line.x[-1] for line in each] == [5, 5]
    (best,) = lines(study, tmp_path=tmp_path, x="seconds")  # of which half of the seeds are shown
    assert best.x[-1] == 5
    with pytest.raises(ValueError, match="has recorded no seconds"):
        lines(scored([1.0], record={"seconds": 0.0}), tmp_path=tmp_path, x="seconds")


def test_of_a_study_the_best_is_drawn_of_the_seeds_that_did_not_choose_it(tmp_path, figures):
    figure = plot_curves(scored(LUCKY, GRID), out=tmp_path / "x.svg")
    (line,) = figure.lines
    assert line.seeds.tolist() == [6, 8]
    np.testing.assert_allclose(line.values[:, -1], [1, 2])
    assert figure.notes == [
        "1: 2 seeds; best of 2 settings: policy_lr=0.001; chosen by 2 seeds, left out here"
    ]


def test_other_metrics_are_shown_as_they_are(tmp_path, figures):
    study = scored([1.0, 2.0])
    (line,) = lines(study, tmp_path=tmp_path, metric="kl")
    np.testing.assert_array_equal(line.values, study.metrics["kl"][0])
    (line,) = lines(study, tmp_path=tmp_path, metric="episode_length")
    assert figures[1].axes[0].get_ylabel() == "length of the last 20 episodes"
    sums = study.metrics["episode_length_sum"][0]
    np.testing.assert_allclose(line.values, sums / 20)


def test_evaluations_are_shown_at_their_steps(tmp_path, figures):
    """Returns of run r at evaluation v: r + v / 4 + 0, 1, 2."""
    study = make_study(make_spec(grid={}, config=EVALUATING))
    (line,) = lines(study, tmp_path=tmp_path, metric="evaluation_returns")
    assert line.x.tolist() == [64, 128]
    assert line.values.tolist() == [[1, 1.25], [2, 2.25]]
    with pytest.raises(ValueError, match=r"no values of evaluation_returns.*did not evaluate"):
        lines(scored([1.0]), tmp_path=tmp_path, metric="evaluation_returns")


def test_long_runs_are_means_over_spans_of_updates(tmp_path, figures):
    long = dataclasses.replace(CONFIG, total_steps=250 * 32)
    study = make_study(make_spec(grid={}, config=long, num_seeds=1))
    (line,) = lines(study, tmp_path=tmp_path, metric="kl")
    kl = study.metrics["kl"][0, 0]
    assert len(line.x) == 100
    assert line.x[[0, -1]].tolist() == [3 * 32, 250 * 32]  # spans of 3 and 2 updates
    np.testing.assert_allclose(line.values[0, [0, -1]], [kl[:3].mean(), kl[-2:].mean()])


def test_diverged_seeds_are_the_worst_seed_from_then_on(tmp_path, figures):
    study = scored([4.0, NAN, 8.0])
    figure = plot_curves(study, out=tmp_path / "x.png")
    np.testing.assert_allclose(figure.lines[0].values[1], [0, 0, 3, 4])
    assert "1 of 3 seeds diverged, and count as the worst" in figure.notes[0]
    kl = plot_curves(study, out=tmp_path / "x.png", metric="kl")
    np.testing.assert_array_equal(kl.lines[0].values, study.metrics["kl"][0, [0, 2]])
    assert kl.lines[0].seeds.tolist() == [5, 7]
    assert "1 of 3 seeds diverged, and are left out" in kl.notes[0]


def test_settings_that_have_not_begun_are_named(tmp_path, figures):
    study = scored([[1.0, 2], [3, 4]], GRID)
    study = study._replace(updates=np.asarray([[4, 4], [0, 0]]))
    figure = plot_curves(study, out=tmp_path / "x.png", group_by=["all"])
    assert figure.notes == ["policy_lr=0.001: 2 seeds", "policy_lr=0.01: no results yet"]


def test_seeds_that_are_behind_are_left_out(tmp_path, figures):
    run = scored([1.0, 2.0, 3.0])
    run = run._replace(updates=np.asarray([[4, 2, 4]]))
    figure = plot_curves(run, out=tmp_path / "x.png")
    assert figure.lines[0].seeds.tolist() == [5, 7]
    assert "1 of 3 seeds are behind, and are left out" in figure.notes[0]


def test_percentiles_are_runs_by_their_scores(tmp_path, figures):
    """Of 40 runs the 2nd, the 20th and the 38th, from the worst."""
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 41))
    figure = plot_curves(scored(scores), out=tmp_path / "x.png", show="percentiles")
    ends = [line.get_ydata()[-1] for line in figures[0].axes[0].lines[:3]]
    np.testing.assert_allclose(ends, [2, 20, 38])
    seeds = [5 + int(np.flatnonzero(scores == score)[0]) for score in (2, 20, 38)]
    shown = f"P5 is seed {seeds[0]}, P50 is seed {seeds[1]}, P95 is seed {seeds[2]}"
    assert shown in figure.notes[0]
    worst = plot_curves(scored([3.0, NAN, 5.0]), out=tmp_path / "x.png", show="percentiles")
    assert "P5 is seed 6, P50 is seed 5, P95 is seed 7" in worst.notes[0]


def test_every_seed_is_a_line(tmp_path, figures):
    plot_curves(scored([1.0, 2.0, 3.0]), out=tmp_path / "x.png", show="seeds")
    ends = [line.get_ydata()[-1] for line in figures[0].axes[0].lines[:3]]
    np.testing.assert_allclose(ends, [1, 2, 3])


# -------------------------------------------------------------------------- PANELS AND LEGENDS


def test_environments_have_a_panel_each_and_an_entry_one_colour(tmp_path, figures):
    grid = {"env": ["CartPole-v1", "Acrobot-v1"], "policy_lr": [1e-3, 1e-2]}
    study = scored([[1.0, 2]] * 4, grid)
    plot_curves(study, scored([3.0]), out=tmp_path / "x.pdf", group_by=["policy_lr"])
    first, second = figures[0].axes
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["CartPole-v1", "Acrobot-v1"]
    ends = [[line.get_ydata()[-1] for line in axes.lines if len(line.get_ydata())]
            for axes in (first, second)]  # fmt: skip
    np.testing.assert_allclose(ends[0], [1.5, 1.5, 3])
    np.testing.assert_allclose(ends[1], [1.5, 1.5])
    colors = [[line.get_color() for line in axes.lines[:2]] for axes in (first, second)]
    assert colors[0] == colors[1] == list(plots.COLORS[:2])
    (legend,) = figures[0].legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["policy_lr=0.001", "policy_lr=0.01", "policy_lr=0.003"]
    assert figures[0].get_figwidth() == overlay.PAGE


def test_more_curves_than_can_be_told_apart_are_refused(tmp_path):
    study = scored([[1.0, 2]] * 26, {"gamma": np.linspace(0.9, 0.99, 26).tolist()})
    with pytest.raises(ValueError, match=r"26 curves .* 25 can; choose some"):
        plot_curves(study, out=tmp_path / "x.pdf", group_by=["all"])
    assert not (tmp_path / "x.pdf").exists()


def test_curves_of_one_colour_have_other_dashes(tmp_path, figures):
    study = scored([[1.0, 2]] * 25, {"gamma": np.linspace(0.9, 0.99, 25).tolist()})
    plot_curves(study, out=tmp_path / "x.pdf", group_by=["all"])
    shown = {
        (line.get_color(), str(line._dash_pattern)) for line in figures[0].legends[0].get_lines()
    }
    assert len(shown) == 25


# ----------------------------------------------------------------------------------- THE BYTES


@pytest.mark.parametrize("form", ["pdf", "svg", "png"])
def test_files_have_no_date_and_the_same_bytes(tmp_path, monkeypatch, form):
    study = scored(LUCKY, GRID)
    bytes_of = []
    for number in range(2):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(number * 10**8))
        path = plot_curves(study, out=tmp_path / f"{number}.{form}", group_by=["all"]).path
        bytes_of.append(path.read_bytes())
    assert bytes_of[0] == bytes_of[1]
    assert b"CreationDate" not in bytes_of[0]
    assert not re.search(rb"\b(19|20)\d\d-\d\d-\d\d", bytes_of[0])


def test_fonts_are_embedded_as_truetype_whatever_the_users_settings_are(tmp_path):
    import matplotlib

    with matplotlib.rc_context({"pdf.fonttype": 3, "font.size": 30}):
        data = plot_curves(scored([1.0, 2]), out=tmp_path / "x.pdf").path.read_bytes()
        assert matplotlib.rcParams["font.size"] == 30  # and they stay
    assert b"/FontFile2" in data
    assert b"/Type3" not in data


# --------------------------------------------------------------------------- THE COMMAND LINE


def test_the_command_overlays_folders_of_all_ages(tmp_path, capsys):
    folder = write(tmp_path / "mine", [1.0, 2.0])
    out = tmp_path / "new" / "fig.svg"
    old = [str(RECORDED / name) for name in ("run", "run-format-1", "study", "pruned")]
    assert cli.main(["plot", folder, *old, "--out", str(out), "--metric", "entropy"]) == 0
    printed = capsys.readouterr().out
    assert f"figure: {out}" in printed
    assert "best of 4 settings" in printed
    assert b"<svg" in out.read_bytes()


def test_the_command_takes_every_flag(tmp_path, capsys, figures):
    study = write(tmp_path / "study", LUCKY, GRID)
    words = ["--where", "policy_lr=1e-2", "--labels", "best of mine", "--width", "4", "--show"]
    words += ["seeds", "--out", str(tmp_path / "x.png")]
    assert cli.main(["plot", study, *words]) == 0
    assert "best of mine: 4 seeds" in capsys.readouterr().out
    assert figures[0].get_figwidth() == 4
    assert len([line for line in figures[0].axes[0].lines if len(line.get_ydata())]) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{r}/run", "--out", "x.jpg"], "x.jpg ends in none of .pdf, .svg, .png"),
        (["{r}/run", "--metric", "episode_retrun"], "did you mean episode_return"),
        (["{r}/run", "--metric", "return"], "metric return is unknown; did you mean"),
        (["{r}/run-interrupted"], "has results yet; go on with it: purejaxvpg train --resume"),
        (["{t}"], "is no run or study folder"),
        (["{r}/study", "--group-by", "gama"], "did you mean gamma?"),
        (["{r}/study", "--where", "env=1"], "env does not vary in this study"),
        (["{r}/run", "--labels", "a", "b"], "are 2 for 1 entries"),
        (["{r}/run", "--width", "0"], "accepted: 1 to 100 inches"),
        (["{r}/run", "--out", "{t}/file/x.pdf"], "file"),
        ([], "nothing to draw; give run or study folders"),
    ],
)
def test_bad_commands_are_one_line_and_write_nothing(tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    words = [word.format(t=tmp_path, r=RECORDED) for word in words]
    assert_refused(["plot", *words], message, capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_without_the_extra_the_error_names_it(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"needs matplotlib.*pip install 'purejaxvpg\[cli\]'"):
        plot_curves(scored([1.0]), out=tmp_path / "x.pdf")

"""The report and the tables of a study of several conditions."""

import re

import numpy as np
import pytest
from support.reports import LAMBDAS, LRS, report, synthetic
from support.scored import scored
from support.studies import all_parts, make_spec

from purejaxvpg import statistics
from purejaxvpg.cli import main, output
from purejaxvpg.cli.terminal import console
from purejaxvpg.experiment import load_study
from purejaxvpg.experiment.design import make_design
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.store import Store
from purejaxvpg.ranges import Uniform
from purejaxvpg.report import tables
from purejaxvpg.report.curves import curves_figure, profile_figure, training_curves
from purejaxvpg.report.digest import digest, digests
from purejaxvpg.report.headline import size
from purejaxvpg.report.overview import choice
from purejaxvpg.report.reproduce import python_call
from purejaxvpg.report.sensitivity import heat_map_cells, heat_map_pairs, varied
from purejaxvpg.statistics import best_setting, bootstrap, interquartile_mean

GRAVITY = "env_params.gravity"
GRID = make_design({"policy_lr": LRS, "gae_lambda": LAMBDAS, GRAVITY: [5.0, 9.8]})


def worlds(**how):
    """A study of 3 x 2 settings under two conditions.  The later settings are the better ones, and
    the worst of the second world is better than the best of the first."""
    study = synthetic(GRID, **how)
    study.metrics["episode_return_sum"][1::2] += 10_000 * 4
    return study


def only(study, value):
    """Scores of one world, [6, 8], as the study gives them."""
    return study.scores()[study.where(**{GRAVITY: value})]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    study = worlds(diverged=[(3, 2, 4)])
    folder = tmp_path_factory.mktemp("conditions")
    return study, *report(study, folder, target=12_000.0), folder


# -------------------------------------------------------------------------------------- NUMBERS


def test_a_digest_is_of_one_condition():
    study = worlds()
    light, heavy = digests(study)
    assert (light.condition, heavy.condition) == (f"{GRAVITY}=5", f"{GRAVITY}=9.8")
    assert heavy.labels[3] == "policy_lr=0.001, gae_lambda=1"
    assert heavy.name_of(3) == f"{GRAVITY}=9.8, policy_lr=0.001, gae_lambda=1"
    np.testing.assert_array_equal(heavy.scores, only(study, 9.8))
    first = heavy.rows[0]
    best = bootstrap(heavy.scores[first.setting])
    assert (first.setting, float(first.iqm.low)) == (5, float(best.low))
    with pytest.raises(ValueError, match="2 conditions; compare within each"):
        digest(study)
    assert digest(study.with_conditions([])).rows[0].setting == 11


def test_a_diverged_run_is_the_worst_of_its_condition():
    study = worlds(diverged=[(3, 2, 4)])
    _, heavy = digests(study)
    assert heavy.scores[1, 2] == np.nanmin(only(study, 9.8)) > 9_000


def test_sensitivity_and_heat_maps_are_within():
    study = worlds()
    _, heavy = digests(study)
    assert [v.name for v in varied(heavy)] == ["policy_lr", "gae_lambda"]
    ((rows, columns),) = heat_map_pairs(heavy)
    cells = heat_map_cells(heavy, rows, columns)
    np.testing.assert_allclose(cells, interquartile_mean(only(study, 9.8), 1).reshape(3, 2))


def test_the_best_of_each_is_scored_on_seeds_that_did_not_choose_it():
    study = worlds()
    for view, value in zip(digests(study), (5.0, 9.8), strict=True):
        setting, estimate, basis = choice(view)
        best = best_setting(only(study, value))
        assert (setting, float(estimate.value)) == (best.index, float(best.held_out.value))
        assert basis == "4 seeds that did not choose it"


# --------------------------------------------------------------------------------------- THE PAGE


def test_the_page_compares_within_conditions(shown):
    study, text, page, _ = shown
    box = page.texts["best"]
    assert "Best setting of each condition" in box
    assert "Best setting" not in box.replace("Best setting of each condition", "")
    heads, *rows = page.tables["best"][0]
    assert heads == ["condition", "best setting", "score", "over"]
    assert [row[0] for row in rows] == [f"{GRAVITY}=5", f"{GRAVITY}=9.8"]
    assert {row[1] for row in rows} == {"policy_lr=0.01, gae_lambda=1"}
    for place, value in ((1, 5.0), (2, 9.8)):
        (table,) = page.tables[f"condition-{place}"]
        assert table[0][:3] == ["", "policy_lr", "gae_lambda"]  # no column for the condition
        assert len(table) == 1 + 6
        settings = [tuple(row[1:3]) for row in table[1:]]
        order = np.argsort(-interquartile_mean(only(study, value), axis=1))
        values = [(f"{lr:.4g}", f"{lam:g}") for lr in LRS for lam in LAMBDAS]
        assert settings == [values[h] for h in order] if value == 5.0 else settings[0] == values[5]
    assert text.count(' id="condition-') == 2
    assert "Scores of different environments" not in text


def test_each_condition_has_its_own_pictures(shown):
    _, _, page, folder = shown
    names = {path.name for path in folder.glob("*.png")}
    each = "learning_curves settings sensitivity heat_map_1 profile".split()
    assert names == {f"condition_{k}_{name}.png" for k in (1, 2) for name in each}
    alts = [image["alt"] for image in page.attributes("img")]
    assert sum(alt.startswith(f"{GRAVITY}=9.8: ") for alt in alts) == len(each)


def test_failures_name_the_condition(shown):
    _, _, page, _ = shown
    (row,) = page.tables["failures"][0][1:]
    assert row == [f"{GRAVITY}=9.8, policy_lr=0.0001, gae_lambda=1", "1", "0",
                   "diverged at update 4: seed 2"]  # fmt: skip


def test_over_all_conditions_settings_have_a_rank(shown):
    _, _, page, _ = shown
    heads, *rows = page.tables["over"][0]
    assert heads == ["", "setting", "mean rank", f"{GRAVITY}=5", f"{GRAVITY}=9.8"]
    assert rows[0][1] == "policy_lr=0.01, gae_lambda=1"
    assert rows[0][2].startswith("1.0[")
    assert len(rows) == 6


def test_pruning_is_told_of_all_conditions(tmp_path):
    study = worlds(reached={0: 2, 1: 2, 2: 2, 5: 2, 4: 6, 7: 6})
    _, page = report(study, tmp_path)
    rows = page.tables["pruning"][0][1:]
    assert [row[:2] for row in rows] == [["2", "12 to 8"], ["6", "8 to 6"]]
    assert f"{GRAVITY}=9.8, policy_lr=0.001, gae_lambda=1" in rows[1][2]
    assert "6 of 12 settings were stopped early" in page.texts["pruning"]
    assert (tmp_path / "condition_2_pruning.png").exists()


def test_conditions_alone_have_no_best_setting(tmp_path):
    """One setting in each world: nothing is compared."""
    study = synthetic(make_design({"env": ["CartPole-v1", "Acrobot-v1"]}), seeds=2)
    _, page = report(study, tmp_path)
    assert "Score under each condition" in page.texts["best"]
    assert "nothing is compared" in page.texts["best"]
    assert page.tables["best"][0][0] == ["condition", "score", "over"]
    assert "over" not in page.tables
    assert python_call(study).count("conditions") == 0


def test_many_conditions_have_tables_and_the_first_have_pictures(tmp_path):
    design = make_design(sample={GRAVITY: Uniform(1, 9)}, num_samples=8)
    text, page = report(synthetic(design, seeds=2), tmp_path)
    assert len(page.tables["best"][0]) == 1 + 8
    assert [len(page.tables[f"condition-{k}"][0]) for k in range(1, 9)] == [2] * 8
    assert {p.name.split("_")[1] for p in tmp_path.glob("*.png")} == set("123456")
    assert "Pictures are drawn of the first 6 of 8 conditions" in text


def test_a_condition_without_scores_is_a_line(tmp_path):
    study = worlds(missing=[(h, s) for h in range(0, 12, 2) for s in range(8)], record={})
    _, page = report(study, tmp_path)
    assert page.tables["best"][0][1][1:3] == ["no run has a score", "–"]  # noqa: RUF001
    assert "no run has a score" not in page.tables["best"][0][2]


def test_zipped_conditions_leave_the_other_names_of_their_axis():
    paired = {"policy_lr": [1e-3, 1e-2, 1e-1], "env": ["A", "B", "A"]}
    first, second = digests(synthetic(make_design({"gamma": [0.9, 0.99]}, paired), seeds=2))
    assert first.labels == [
        f"gamma={g}, policy_lr={lr}" for g in (0.9, 0.99) for lr in (0.001, 0.1)
    ]
    assert [v.name for v in varied(first)] == ["gamma", "policy_lr"]
    assert second.labels == ["gamma=0.9, policy_lr=0.01", "gamma=0.99, policy_lr=0.01"]


def test_environments_that_are_declared_to_compare_are_warned_of(tmp_path):
    design = make_design({"env": ["CartPole-v1", "Acrobot-v1"]}, conditions=[])
    text, page = report(synthetic(design, seeds=2), tmp_path)
    assert "Settings of different environments are compared here" in text
    assert "Best setting" in page.texts["best"]
    assert "conditions=[]," in python_call(synthetic(design, seeds=1))


# ---------------------------------------------------------------------------------- THE TERMINAL


def test_the_terminal_shows_the_best_of_each_and_the_first_by_rank(capsys, monkeypatch):
    monkeypatch.setattr(console, "width", 200)
    output.print_results(worlds())
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if f"{GRAVITY}=" in line]
    assert len(lines) == 2
    assert all("policy_lr=0.01, gae_lambda=1" in line for line in lines)
    assert (
        "best mean rank over 2 conditions, of 6 settings: policy_lr=0.01, gae_lambda=1" in printed
    )
    assert "best by half of the seeds" not in printed


def test_the_table_scores_the_best_of_each_on_seeds_that_did_not_choose_it():
    """Seeds at even places prefer the first setting (10), those at odd places the second (8)."""
    lucky = [[10, 1, 10, 1, 10, 2, 10, 4], [5, 8, 5, 8, 5, 8, 5, 8]]
    study = scored(lucky + lucky, {GRAVITY: [5.0, 9.8], "policy_lr": [1e-3, 1e-2]})
    table = tables.conditions(digests(study))
    _, best, score, _, seeds, _ = (list(column.cells) for column in table.columns)
    assert (best, seeds) == (["policy_lr=0.001"] * 2, ["4"] * 2)
    assert [float(text.split(" [")[0]) for text in score] == [1.5, 1.5]  # of 1, 1, 2, 4
    assert table.caption == "scores are of seeds that did not choose the setting"


def test_no_best_setting_is_named_before_all_runs_are_done(capsys, monkeypatch):
    """As of the first shards that end: the best of their settings is not the best of the study."""
    monkeypatch.setattr(console, "width", 200)
    grid = make_design({"gamma": [0.9, 0.95, 0.99]})
    for study in (synthetic(grid, seeds=2, missing=[(2, 0), (2, 1)]), worlds(missing=[(0, 0)])):
        output.print_results(study)
        printed = capsys.readouterr().out
        assert "best by half" not in printed
        assert "best mean rank" not in printed
        number = int((~study.done).sum())
        assert f"{number} of {study.done.size} runs are not done yet; the best" in printed
    output.print_results(synthetic(grid, seeds=2))
    assert "(IQM over 1 seed)" in capsys.readouterr().out


def test_the_table_of_many_conditions_counts_the_others():
    design = make_design(sample={GRAVITY: Uniform(1, 9)}, num_samples=8)
    table = tables.conditions(digests(synthetic(design, seeds=2)), most=5)
    assert (table.row_count, table.caption) == (5, "and 3 more conditions")


def test_a_report_may_compare_otherwise_than_its_study(tmp_path, capsys):
    """The study in the folder stays as it was declared."""
    spec = make_spec({"policy_lr": [1e-3, 1e-2], GRAVITY: [5.0, 9.8]})
    store = Store(spec, tmp_path / "study", StudyRecord())
    for part in all_parts(spec):
        store.add(part)
    for flags, best in (
        ("", "Best setting of each condition"),
        ("--conditions none", "Best setting"),
    ):
        out = tmp_path / f"page{len(flags)}"
        line = f"report {tmp_path / 'study'} --out {out} {flags}"
        assert main(line.split()) == 0
        assert best in (out / "report.html").read_text(encoding="utf-8")
        assert ("condition-2" in (out / "report.html").read_text(encoding="utf-8")) == (not flags)
    assert main(["report", str(tmp_path / "study"), "--conditions", "gama"]) == 2
    assert "condition gama does not vary in this study; known: policy_lr" in capsys.readouterr().err
    assert load_study(tmp_path / "study").design.conditions == (GRAVITY,)


# ------------------------------------------------------------------------------------- ANY PAGE


def test_thousands_are_separated():
    study = synthetic(make_design(), seeds=1)
    study = study._replace(updates=np.zeros((1200, 2048), int), steps=np.full((1200, 1), 1e6))
    expected = "1,200 settings \u00d7 2,048 seeds = 2,457,600 runs of 1,000,000 environment steps"
    assert size(study) == expected


def test_every_picture_can_be_opened_larger(shown):
    """The picture links to its figure, which page.css then shows over the page, without scripts;
    `close` links to the caption below it."""
    _, text, page, _ = shown
    figures = [figure["id"] for figure in page.attributes("figure")]
    assert len(set(figures)) == len(page.attributes("img")) == 10
    links = [a["href"] for a in page.attributes("a") if a.get("class") == "larger"]
    assert links == [f"#{name}" for name in figures]
    back = [a["href"].removeprefix("#") for a in page.attributes("a") if a.get("class") == "close"]
    assert back == [caption["id"] for caption in page.attributes("figcaption")]
    assert re.search(r"figure:target \{[^}]*position: fixed", text)


def test_a_legend_is_never_cut():
    """Five settings of nine names each: their labels are taller than the plot would be."""
    names = ("policy_lr", "value_lr", "gamma", "gae_lambda", "entropy_coef", "max_grad_norm")
    values = {name: [0.1234, 0.2345, 0.3456, 0.4567, 0.5678] for name in names}
    judged = digest(synthetic(make_design(zipped=values), seeds=2))
    for figure in (curves_figure(judged, training_curves(judged)), profile_figure(judged)):
        figure.draw_without_rendering()
        (legend,) = figure.legends
        assert legend.get_window_extent().y0 >= 0
        assert len(legend.get_texts()) >= 5


def test_the_profile_steps_at_the_scores_themselves():
    """Of -50, -9 and -8: 2/3 of the runs from -50 to -9, 1/3 to -8, none from there on."""
    figure = profile_figure(digest(scored([-50.0, -9.0, -8.0])))
    line = figure.axes[0].lines[0]
    below, *steps, above = line.get_xdata()
    assert steps == [-50, -9, -8]
    assert below < -50
    assert above > -8
    np.testing.assert_allclose(line.get_ydata(), [1, 2 / 3, 1 / 3, 0, 0])


def test_many_settings_are_resampled_together(monkeypatch):
    """Three statistics in two blocks are six calls, not 1,800; and a plot has 400 grey lines."""
    calls = []

    def counted(values, *rest):
        calls.append(values.shape)
        return bootstrap(values, *rest)

    values = {"gamma": np.linspace(0.1, 0.9, 25), "gae_lambda": np.linspace(0.1, 0.9, 24)}
    values = {name: row.tolist() for name, row in values.items()}
    study = synthetic(make_design(values), seeds=2)
    with monkeypatch.context() as patch:
        patch.setattr(statistics, "bootstrap", counted)
        judged = digest(study)
    assert calls == [(2, 512)] * 3 + [(2, 88)] * 3
    last = judged.rows[-1]
    alone = bootstrap(judged.scores[last.setting], resamples=1666)
    assert tuple(map(float, last.iqm)) == tuple(map(float, alone))
    figure = curves_figure(judged, training_curves(judged))
    (legend,) = figure.legends
    assert legend.get_texts()[-1].get_text() == "298 of the other 595"


def test_lines_differ_in_more_than_colour():
    judged = digest(synthetic(make_design({"gamma": [0.1, 0.2, 0.3, 0.4, 0.5]}), seeds=2))
    for figure in (curves_figure(judged, training_curves(judged)), profile_figure(judged)):
        (legend,) = figure.legends
        drawn = [(x.get_color(), str(x._unscaled_dash_pattern)) for x in legend.get_lines()[:5]]
        assert len({color for color, _ in drawn}) == len({dashes for _, dashes in drawn}) == 5


def rules(text, query):
    """Style rules of a media query."""
    style = text[text.index("<style>") : text.index("</style>")]
    start = style.index("{", style.index(f"@media {query}"))
    depth = 0
    for place in range(start, len(style)):
        depth += {"{": 1, "}": -1}.get(style[place], 0)
        if not depth:
            return style[start:place]
    raise AssertionError("the braces do not match")


def test_on_paper_no_table_is_cut(shown):
    """What scrolls on a screen is whole on paper, in ink on white."""
    paper = rules(shown[1], "print")
    assert re.search(
        r"\.scroll, \.scroll\.long \{[^}]*overflow: visible[^}]*max-height: none", paper
    )
    assert re.search(r"\.ranking td[^{]*\{ white-space: normal", paper)
    assert re.search(r"details::details-content \{ content-visibility: visible", paper)
    assert "color-scheme" not in paper


def test_in_the_dark_every_colour_has_another_value(shown):
    text = shown[1]
    dark = rules(text, "screen and (prefers-color-scheme: dark)")
    light = text[text.index(":root") : text.index("@media screen")]
    names = set(re.findall(r"(--\w+):", light))
    assert names == set(re.findall(r"(--\w+):", dark))
    used = set(re.findall(r"var\((--\w+)\)", text))
    assert used <= names
    rest = text[text.index("@media screen") + len(dark) : text.index("</style>")]
    literal = set(re.findall(r"(?<!-)\b(?:color|background): ?(#\w+)", rest))
    assert literal <= {"#fff"}  # behind pictures, which are drawn on white

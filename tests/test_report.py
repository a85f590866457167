"""The report of a study: its numbers equal the statistics called directly, text from outside is
escaped, and a browser shows the page of every kind of study whole."""

import ast
import base64
import functools
import html
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
from support.reports import LAMBDAS, LRS, RECORD, Page, report, synthetic

from purejaxvpg import Hyperparams, VPGConfig
from purejaxvpg.experiment.design import Axis, Design, make_design
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.ranges import Choice, LogUniform, Uniform
from purejaxvpg.report import texts
from purejaxvpg.report.curves import evaluation_curves, own_curve, training_curves
from purejaxvpg.report.digest import digest
from purejaxvpg.report.headline import duration
from purejaxvpg.report.markup import Html, element
from purejaxvpg.report.page import MARKS, write_report
from purejaxvpg.report.reproduce import python_call, section, spans
from purejaxvpg.report.sensitivity import (
    heat_map_cells,
    heat_map_pairs,
    marginal,
    scale_of,
    varied,
)
from purejaxvpg.statistics import (
    aggregate,
    best_setting,
    bootstrap,
    interquartile_mean,
    optimality_gap,
    probability_of_improvement,
    with_diverged_as_worst,
)

HOSTILE = "<script>alert(1)</script>"
GRID = make_design({"policy_lr": LRS, "gae_lambda": LAMBDAS})
KINDS = {
    "grid": lambda: synthetic(GRID, diverged=[(0, 3, 2), (0, 5, 2), (4, 1, 7)]),
    "one setting": lambda: synthetic(make_design()),
    "one seed": lambda: synthetic(GRID, seeds=1),
    "one run": lambda: synthetic(make_design(), seeds=1, record={}),
    "two seeds": lambda: synthetic(GRID, seeds=2),
    "sampled": lambda: synthetic(
        make_design(
            sample={
                "policy_lr": LogUniform(1e-5, 1e-1),
                "gamma": Uniform(0.9, 1),
                "activation": Choice(("tanh", "relu")),
            },
            num_samples=8,
        )
    ),
    "zip": lambda: synthetic(
        make_design({"gamma": [0.9, 0.99]}, zipped={"policy_lr": LRS, "value_lr": (1, 2, 3)})
    ),
    "static": lambda: synthetic(
        make_design(
            {"num_envs": [4, 8], "hidden_sizes": [(16,), (8, 8)], "diagnostics": [False, True]}
        )
    ),
    "lengths": lambda: synthetic(make_design({"total_steps": [128 * 6, 128 * 12]})),
    "partial": lambda: synthetic(
        GRID, missing=[(4, 6), *[(5, s) for s in range(8)]], record={}
    ),
    "nothing run": lambda: synthetic(GRID, missing=list(np.ndindex(6, 8)), record={}),
    "all diverged": lambda: synthetic(GRID, diverged=[(h, s, 1) for h, s in np.ndindex(6, 8)]),
    "pruned": lambda: synthetic(GRID, reached={0: 2, 1: 2, 2: 2, 3: 6}),
    "evaluated": lambda: synthetic(
        make_design({"policy_lr": LRS}),
        config=VPGConfig(num_envs=4, num_steps=32, total_steps=128 * 12, eval_every=4),
    ),
    "some evaluated": lambda: synthetic(make_design({"eval_every": [0, 3, 4, 12]})),
    "hostile": lambda: hostile(),
}  # fmt: skip


def hostile():
    """Names and values that would be markup, scripts or mathematics if they were let."""
    study = synthetic(make_design({"activation": ["tanh", "relu"], "policy_lr": LRS}))
    values = ((HOSTILE,), ("$\\frac{$ \"'><img src=x onerror=alert(2)>\u202e漢\x07",))
    axes = (Axis("activation", ("activation",), values), study.design.axes[1])
    record = study.record.replace(command=HOSTILE, device=HOSTILE, versions={HOSTILE: HOSTILE})
    return study._replace(design=Design(axes), record=record)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The report of a kind of study, made once: its text, parsed, and its folder."""

    @functools.cache
    def make(kind):
        folder = tmp_path_factory.mktemp("report") / "deep" / "folder"
        return *report(KINDS[kind](), folder, target=400.0), folder

    return make


# ---------------------------------------------------------------------------- EVERY KIND OF STUDY


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_needs_nothing_else(kind, pages):
    """Every picture is in the page, is a PNG, has a description, and lies beside it as well."""
    text, page, folder = pages(kind)
    images = [base64.b64decode(image["src"].removeprefix("data:image/png;base64,"), validate=True)
              for image in page.attributes("img")]  # fmt: skip
    beside = [path.read_bytes() for path in folder.glob("*.png")]
    assert all(data.startswith(b"\x89PNG\r\n\x1a\n") for data in images)
    assert sorted(images) == sorted(beside)
    assert all(len(image["alt"]) > 20 for image in page.attributes("img"))
    assert bool(images) == (kind not in ("nothing run", "all diverged"))
    tags = {"html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "p", "section",
            "span", "data", "dl", "div", "dt", "dd", "nav", "a", "main", "figure", "img",
            "figcaption", "table", "thead", "tbody", "tr", "th", "td", "pre", "details",
            "summary"}  # fmt: skip
    assert {tag for tag, _ in page.tags} <= tags
    assert not re.search(r"https?:|//|url\(|@import", re.sub(r'src="data:[^"]*"', "", text))
    anchors = {section["id"] for section in page.attributes("section") if "id" in section}
    links = [link["href"] for link in page.attributes("a") if not link["href"].startswith("#pic")]
    assert links == [f"#{name}" for name in page_order(anchors)]


def page_order(anchors):
    order = "curves sensitivity pairs ranking profile failures pruning reproduce".split()
    return [name for name in order if name in anchors]


@pytest.mark.parametrize(
    ("kind", "sections"),
    [
        ("grid", {"sensitivity", "pairs"}),
        ("one setting", set()),
        ("one seed", {"sensitivity", "pairs"}),
        ("sampled", {"sensitivity"}),
        ("zip", {"sensitivity", "pairs"}),
        ("lengths", {"sensitivity"}),
        ("pruned", {"sensitivity", "pairs", "pruning"}),
    ],
)
def test_sections_that_a_study_has(kind, sections, pages):
    """A study has a sensitivity section if a name varies, a timeline if it was pruned, and a
    profile if it has two seeds."""
    _, page, folder = pages(kind)
    present = {section["id"] for section in page.attributes("section") if "id" in section}
    always = {"curves", "ranking", "failures", "reproduce"}
    assert present == always | sections | ({"profile"} if kind != "one seed" else set())
    assert (folder / "pruning.png").exists() == ("pruning" in sections)
    assert (folder / "heat_map_1.png").exists() == ("pairs" in sections)


# --------------------------------------------------------------------------------------- SAFETY


def test_what_comes_from_outside_is_escaped(pages):
    """A script in a value, the command, the device or a version is text."""
    text, page = pages("hostile")[:2]
    assert "<script" not in text
    assert html.escape(HOSTILE) in text
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    assert HOSTILE in page.texts["reproduce"]
    assert [row[1] for row in page.tables["ranking"][0][1:]].count(HOSTILE) == 3
    assert "\u202e" not in text
    policy = next(meta["content"] for meta in page.attributes("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")


def test_markup_is_the_only_text_that_is_not_escaped():
    """Children and attributes alike; the negative case is markup itself."""
    assert element("p", "<b>", class_='"x') == '<p class="&quot;x">&lt;b&gt;</p>'
    assert element("p", Html("<b>"), 3, None) == "<p><b>3</p>"


# -------------------------------------------------------------------------------------- NUMBERS


def values_of(text):
    """The machine-readable numbers of each row of the ranking."""
    table = text[text.index('<table class="ranking"') :]
    rows = table[: table.index("</table>")].split("<tr")[2:]
    return [[float(v) for v in re.findall(r'<data value="([^"]*)"', row)] for row in rows]


def test_the_table_equals_the_statistics(pages):
    """Order, interquartile mean, mean, median, gap and comparison, each with its interval, called
    directly."""
    study = KINDS["grid"]()
    text, page, _ = pages("grid")
    scores = with_diverged_as_worst(study.scores())
    order = np.argsort(-interquartile_mean(scores, axis=1))
    settings = study.design.settings()
    rows = page.tables["ranking"][0]
    assert rows[0][1:3] == ["policy_lr", "gae_lambda"]
    for place, (h, row, values) in enumerate(zip(order, rows[1:], values_of(text), strict=True)):
        runs = scores[h]
        gap = functools.partial(optimality_gap, target=400.0)
        estimates = [bootstrap(runs, s) for s in (interquartile_mean, np.mean, np.median, gap)]
        assert row[:3] == [str(place + 1), *(f"{v:.4g}" for v in settings[h].values())]
        expected = [float(estimate.value) for estimate in estimates]
        for cell, estimate in zip(row[3:7], estimates, strict=True):
            value, low, high = (f"{x:,.1f}" for x in estimate)
            assert cell == f"{value}[{low}, {high}]"
        if place:
            better = probability_of_improvement(runs, scores[order[0]], paired=True)
            expected.append(better.value)
            assert row[7].endswith(f"[{better.low:.2f}, {better.high:.2f}]")
            assert ("≈" in row[7]) == (better.low <= 0.5 <= better.high)
        np.testing.assert_allclose(values, expected, rtol=1e-12)
        assert row[-2:] == ["8", str({0: 2, 4: 1}.get(int(h), 0))]


def test_the_headline_is_the_best_setting_on_seeds_that_did_not_choose_it(pages):
    study = KINDS["grid"]()
    text, page, _ = pages("grid")
    best = best_setting(with_diverged_as_worst(study.scores()))
    box = page.texts["best"]
    assert f"{best.held_out.value:.1f} [{best.held_out.low:.1f}, {best.held_out.high:.1f}]" in box
    lr, lam = study.design.settings()[best.index].values()
    assert f"policy_lr={lr:g}, gae_lambda={lam:g}" in box
    assert "over the 4 seeds" in box
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text))
    assert facts["runs finished"] == "all 48"
    assert facts["runs diverged"] == "3"
    assert facts["time"] == "1 min 33 s"
    assert facts["steps/s"] == "1,000"


def test_one_seed_has_no_interval_and_says_that_the_best_is_biased(pages):
    _, page, _ = pages("one seed")
    assert "biased upward" in page.texts["best"]
    rows = page.tables["ranking"][0][1:]
    assert not [cell for row in rows for cell in row if "[" in cell]


def test_marginals_and_cells_equal_the_statistics():
    """Over the other axis and the seeds; the negative case: a setting alone is not its marginal."""
    judged = digest(KINDS["grid"]())
    lr, lam = varied(judged)
    scores = with_diverged_as_worst(judged.study.scores()).reshape(3, 2, 8)
    for i in range(3):
        estimate = marginal(judged, lr.places == i)
        for value, expected in zip(estimate, aggregate(scores[i], resamples=500), strict=True):
            assert value == expected
    assert marginal(judged, lr.places == 0).value != interquartile_mean(scores[0, 0])
    ((rows, columns),) = heat_map_pairs(judged)
    assert (rows.name, columns.name) == ("policy_lr", "gae_lambda")
    cells = heat_map_cells(judged, rows, columns)
    np.testing.assert_allclose(cells, interquartile_mean(scores, axis=2))
    assert scale_of(lr).kind == "log"
    assert scale_of(lam).kind == "linear"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1e-4, 1e-3], "log"),
        ([0.9, 0.95, 1.0], "linear"),
        ([0.9, 0.99, 0.999], "category"),  # too near each other to be told apart
        ([0.5, float("inf")], "category"),
        ([0.0, 0.5], "linear"),
    ],
)
def test_scales(values, kind):
    judged = digest(synthetic(make_design({"max_grad_norm": [1.0, 2.0]}), seeds=2))
    one = varied(judged)[0]._replace(values=values)
    assert scale_of(one).kind == kind


def test_a_diverged_run_is_the_worst_of_its_time():
    """The curve of a run is the lowest of all from the update at which it diverged."""
    study = KINDS["grid"]()
    judged = digest(study)
    curves = training_curves(judged)
    returns = study.trailing_returns(10)  # 48 episodes a run: a third of them is more than 10
    assert curves.what == "return of the last 10 episodes"
    at = int(np.flatnonzero(curves.steps == 128 * 8)[0])
    lost = study.diverged & (study.diverged_at <= 8)
    lowest = returns[..., 7][~lost].min()
    assert curves.values[4, 1, at] == lowest
    assert curves.values[4, 1, at - 2] == returns[4, 1, 5]  # it diverges at update 7
    index, runs = own_curve(curves, judged, 4)
    assert runs.shape == (8, len(index))
    assert curves.steps[index[-1]] == 128 * 12


def test_curves_of_settings_that_update_at_other_times():
    """Each curve has the values of its own updates, and ends where its run ends."""
    study = KINDS["static"]()
    judged = digest(study)
    curves = training_curves(judged)
    for h in (0, 7):
        index, runs = own_curve(curves, judged, h)
        last = study.num_updates[h] - 1
        assert curves.steps[index[-1]] == study.steps[h, last] == 128 * 12
        window = int(curves.what.split()[4])
        np.testing.assert_array_equal(runs[:, -1], study.trailing_returns(window)[h, :, last])


def test_evaluation_curves_stand_at_the_updates_they_were_taken_at(pages):
    study = KINDS["evaluated"]()
    curves = evaluation_curves(digest(study))
    np.testing.assert_array_equal(curves.steps, [128 * 4, 128 * 8, 128 * 12])
    np.testing.assert_array_equal(curves.values, study.evaluations["returns"].mean(-1))
    _, page, folder = pages("evaluated")
    assert "last evaluation (3 episodes)" in page.texts["best"]
    assert (folder / "evaluation_curves.png").exists()


def test_a_setting_that_never_evaluates_has_no_score_beside_those_that_do(pages):
    """The setting has no curve either; the curves of the others end at their last evaluation."""
    study = KINDS["some evaluated"]()
    curves = evaluation_curves(digest(study))
    np.testing.assert_array_equal(curves.steps, [128 * 3, 128 * 6, 128 * 9, 128 * 12])
    means = study.evaluations["returns"].mean(-1)
    np.testing.assert_array_equal(curves.values[1], means[1])
    np.testing.assert_array_equal(curves.values[2, :, 1:], means[2, :, :3])
    assert np.isnan(curves.values[0]).all()
    _, page, folder = pages("some evaluated")
    assert page.tables["ranking"][0][-1][1:3] == ["0", "–"]  # noqa: RUF001
    (failure,) = page.tables["failures"][0][1:]
    assert failure == ["eval_every=0", "0", "0", "no evaluation ended: seeds 0 to 7"]
    assert (folder / "evaluation_curves.png").exists()


# ----------------------------------------------------------------------- FAILURES AND WHAT IS LEFT


def test_failures_are_named_by_seed_and_update(pages):
    _, page, _ = pages("grid")
    rows = page.tables["failures"][0][1:]
    assert rows[0] == [
        "policy_lr=0.0001, gae_lambda=0.9", "2", "0", "diverged at update 2: seeds 3, 5",
    ]  # fmt: skip
    assert rows[1] == [
        "policy_lr=0.01, gae_lambda=0.9", "1", "0", "diverged at update 7: seed 1",
    ]  # fmt: skip
    assert len(rows) == 2


def test_a_study_without_failures_says_so(pages):
    _, page, _ = pages("one setting")
    assert "every run has a score" in page.texts["failures"]


def test_a_partial_study_says_what_is_missing(pages):
    """The best is chosen among settings that ran whole; a hole moves no other number."""
    study = KINDS["partial"]()
    text, page, _ = pages("partial")
    assert "This report is partial: 9 of 48 runs were not run." in text
    assert "among 4 settings" in page.texts["best"]
    rows = page.tables["failures"][0][1:]
    assert [row[2:] for row in rows] == [["1", "not run: seed 6"], ["8", "not run: seeds 0 to 7"]]
    ranking = page.tables["ranking"][0][1:]
    assert ranking[0][1:3] == ["0.01", "0.9"]
    assert ranking[0][8] == "7 of 8"
    assert ranking[-1][3] == "–"  # noqa: RUF001
    scores = study.scores()[4]
    assert values_of(text)[0][0] == interquartile_mean(scores[np.isfinite(scores)])
    whole, _, _ = pages("grid")
    assert "partial" not in whole


@pytest.mark.parametrize("kind", ["nothing run", "all diverged"])
def test_a_study_without_scores_says_so(kind, pages):
    text, page, _ = pages(kind)
    assert "No run has a score" in page.texts["best"]
    assert ("This report is partial" in text) == (kind == "nothing run")
    assert len(page.tables["failures"][0]) == 7


def test_a_run_that_ended_no_episode_is_not_one_that_diverged(tmp_path):
    study = synthetic(GRID)
    study.metrics["episode_count"][1, 2] = study.metrics["episode_return_sum"][1, 2] = 0
    _, page = report(study, tmp_path)
    assert page.tables["failures"][0][1][1:] == ["0", "0", "no episode ended: seed 2"]


def test_a_return_that_is_not_finite_is_the_worst(tmp_path):
    """It is no divergence of the parameters, and no missing run either."""
    study = synthetic(GRID)
    study.metrics["episode_return_sum"][5, 2, 3] = np.inf
    _, page = report(study, tmp_path)
    assert page.tables["failures"][0][1][1:] == ["0", "0", "a return that is not finite: seed 2"]
    judged = digest(study)
    assert judged.scores[5, 2] == np.nanmin(np.where(judged.overflown, np.nan, judged.scores))


def test_pruned_settings_come_last_with_the_update_they_were_stopped_at(tmp_path):
    """The order ignores their scores: a stopped setting may have been ahead."""
    study = synthetic(GRID, reached={2: 2, 3: 2, 4: 2, 5: 11})
    scores = interquartile_mean(study.scores(), axis=1)
    assert scores[5] > scores[1]
    _, page = report(study, tmp_path)
    rows = page.tables["ranking"][0][1:]
    assert [row[-1] for row in rows[:2]] == ["12 of 12"] * 2
    assert rows[2][1:3] == ["0.01", "1"]
    assert rows[2][-1] == "stopped at 11 of 12"
    assert "among 2 settings" in page.texts["best"]
    pruning = page.tables["pruning"][0][1:]
    assert [row[:2] for row in pruning] == [["2", "6 to 3"], ["11", "3 to 2"]]
    assert "4 of 6 settings were stopped early" in page.texts["pruning"]
    assert "saved 43% of the updates" in page.texts["pruning"]  # 1 - (24 + 6 + 11) / 72


# -------------------------------------------------------------------------------- REPRODUCTION


def test_how_to_have_it_again(pages):
    _, page, _ = pages("grid")
    assert RECORD["command"] in page.texts["reproduce"]
    how, versions = (dict(rows[1:]) for rows in page.tables["reproduce"])
    assert how["seeds"] == "0 to 7"
    assert how["device"] == "cpu:0"
    assert how["runs at a time, on each device"] == "8, 4"
    assert versions == {"python": "3.11.9", "jax": "0.9.2"}


@pytest.mark.parametrize(
    ("flag", "shown"),
    [("--shard 1/4 ", "--shard 1/4"), ("--shard=12/40 ", "--shard=12/40"), ("", None),
     ("--shards 1/4 ", None), ("--shard none ", None), ("--x--shard 1/4 ", None)],
)  # fmt: skip
def test_a_command_of_one_shard_is_shown_without_its_flag(flag, shown):
    """The recorded command would compute one shard again; other flags stay as they are."""
    start, end = "purejaxvpg sweep CartPole-v1 ", "--grid policy_lr=1e-4,1e-3 --out runs/a"
    record = {**RECORD, "command": start + flag + end}
    text = Page(section(synthetic(GRID, seeds=1, record=record))).texts[""]
    assert (record["command"] in text) == (shown is None)
    assert (start + end in text) == (shown is not None or not flag)
    assert ("Without that flag it computes all of them" in text) == (shown is not None)
    assert (f"command had {shown} and computed one shard" in text) == (shown is not None)
    at_its_end = {"command": f"{start}{end} {flag}".strip()}
    text = Page(section(synthetic(GRID, seeds=1, record=at_its_end))).texts[""]
    assert (at_its_end["command"] in text) == (shown is None)


@pytest.mark.parametrize(
    ("widths", "prune", "expected"),
    [
        ([8, 4], None, {}),
        ([8, 8], None, {"chunk_size": 8}),
        ([], None, {}),
        ([6], {"method": "successive_halving", "rungs": 4, "keep": 0.25},
         {"chunk_size": 6, "prune": "successive_halving", "rungs": 4, "keep": 0.25}),
    ],
)  # fmt: skip
def test_the_call_in_python_has_the_width_and_the_pruning(widths, prune, expected):
    """The width if it was one, and the pruning even if it stopped nothing."""
    study = synthetic(GRID, seeds=1, record={"widths": widths, "prune": prune})
    assert called(study, lambda config, grid, num_seeds, **rest: rest) == expected
    older = synthetic(GRID, reached={0: 2}, record={})
    given = called(older, lambda config, grid, num_seeds, **rest: rest)
    assert given == {"prune": "successive_halving"}
    assert "its rungs= and keep= were not recorded" in python_call(older)


def called(study, sweep):
    """Result of the call of a study, made with this `sweep`."""
    lines = [line for line in python_call(study).splitlines() if "import" not in line]
    names = {"sweep": sweep, "VPGConfig": VPGConfig, "Hyperparams": Hyperparams}
    exec("\n".join(lines), names)
    return names["study"]


@pytest.mark.parametrize("kind", ["grid", "one setting", "zip", "static", "sampled", "evaluated"])
def test_the_call_in_python_means_the_same_study(kind):
    """Run with a `sweep` that only resolves its arguments: same settings, seeds and config."""
    study = KINDS[kind]()
    study = study._replace(hyperparams=Hyperparams(gamma=0.5), seeds=np.arange(8) + 7)
    got = {}

    def sweep(config, grid=None, num_seeds=1, *, zipped=None, hp=None, first_seed=0):
        got.update(design=make_design(grid, zipped), config=config, hp=hp)
        got["seeds"] = np.arange(first_seed, first_seed + num_seeds)

    called(study, sweep)
    assert got["config"] == study.config
    assert got["hp"] == study.hyperparams
    np.testing.assert_array_equal(got["seeds"], study.seeds)
    assert got["design"].settings() == study.design.settings()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (59.4, "59.4 s"), (59.9, "1 min 0 s"), (93.2, "1 min 33 s"),
     (3599.7, "1 h 0 min"), (90_061, "25 h 1 min"), (float("nan"), "?"), (float("inf"), "?")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_spans():
    assert spans([7, 0, 1, 2, 4, 5]) == "0 to 2, 4, 5, 7"


def test_every_sentence_has_a_use_and_every_use_a_sentence():
    """Literal names in calls of `words`, against texts.toml (`show` asks for alt and caption)."""
    used = set()
    for path in Path(texts.__file__).parent.glob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "words":
                nodes = [node for argument in call.args for node in ast.walk(argument)]
                names = [node.value for node in nodes if isinstance(node, ast.Constant)]
                section, *names = [name for name in names if isinstance(name, str)]
                used |= {(section, name) for name in names}
    written = tomllib.loads((texts.FILES / "texts.toml").read_text(encoding="utf-8"))
    fields = written.pop("record")
    sentences = {(section, name) for section, names in written.items() for name in names}
    assert used == {(s, name) for s, name in sentences if name not in ("alt", "caption")}
    assert all(hasattr(StudyRecord(), field) for field in fields)


# ------------------------------------------------------------------------------------ BAD INPUT


def test_bad_input_gets_one_line(tmp_path):
    study = KINDS["one run"]()
    with pytest.raises(ValueError, match=r"target=nan is out of range"):
        write_report(study, tmp_path, target=float("nan"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write .*file.*; choose another folder"):
        write_report(study, tmp_path / "file")
    (tmp_path / "taken" / "report.html").mkdir(parents=True)
    with pytest.raises(OSError, match=r"cannot write .*taken: Is a directory; choose another"):
        write_report(study, tmp_path / "taken")
    empty = study._replace(updates=np.zeros((0, 1), int))
    with pytest.raises(ValueError, match="no settings yet"):
        write_report(empty, tmp_path)


FORMER = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'">
<title>CartPole-v1: a study</title>
"""  # as pages began before they had a mark


def test_a_page_of_the_users_own_stays(tmp_path):
    study, page = KINDS["one run"](), tmp_path / "report.html"
    page.write_text("<!DOCTYPE html><html><head><title>My thesis</title></head></html>")
    with pytest.raises(FileExistsError, match="is not a report of this package, and stays as it"):
        write_report(study, tmp_path)
    assert "My thesis" in page.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    for ours in (FORMER, FORMER.replace("'unsafe-inline'", "x") + MARKS[0]):
        page.write_text(ours)
        write_report(study, tmp_path)
        assert "a study" not in page.read_text()
    assert MARKS[0] in page.read_text()
    write_report(study, tmp_path)


# -------------------------------------------------------------------------------------- BROWSER

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PROBE = """<script>addEventListener("load", () => {
  const images = [...document.images];
  const whole = images.filter(i => i.complete && i.naturalWidth > 100).length;
  const wide = document.documentElement.scrollWidth > innerWidth;
  document.title = `${whole} of ${images.length} images, wide: ${wide}`;
})</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium")
@pytest.mark.parametrize("kind", ["grid", "hostile"])
def test_a_browser_shows_it_whole(kind, pages, tmp_path):
    """All images are there, nothing is wider than the window, and the console stays silent."""
    text, page, _ = pages(kind)
    allowed = text.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    probed = tmp_path / "probed.html"
    probed.write_text(allowed.replace("</body>", PROBE), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
               f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1100,900",
               "--virtual-time-budget=5000", "--dump-dom", probed.as_uri()]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    number = len(page.attributes("img"))
    assert number >= 5
    assert f"<title>{number} of {number} images, wide: false</title>" in run.stdout
    assert "CONSOLE" not in run.stderr

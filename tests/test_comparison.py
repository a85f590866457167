"""Comparisons of runs, studies and files of scores: who is compared, and the numbers."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from support.refusals import assert_refused
from support.scored import scored, write
from support.studies import CONFIG, EVALUATING, make_spec, make_study

from purejaxvpg import cli, statistics
from purejaxvpg.experiment.run import run_of
from purejaxvpg.report import compare
from purejaxvpg.report.score_files import read_scores

RECORDED = Path(__file__).parent / "recorded" / "bf46240"
NAN = np.nan
LOW, HIGH = np.arange(1.0, 9), np.arange(2.0, 10)  # IQM 4.5 and 5.5
GRID = {"policy_lr": [1e-3, 1e-2]}
# Seeds at even places choose: they prefer the first setting, the others the second.
LUCKY = [[10, 1, 10, 1, 10, 2, 10, 4], [5, 8, 5, 8, 5, 8, 5, 8]]
WORLDS = {"env": ["CartPole-v1", "Acrobot-v1"], "policy_lr": [1e-3, 1e-2]}
OTHER = dataclasses.replace(CONFIG, estimator="td")


def file_of(folder, text, name="theirs.csv"):
    (folder / name).write_text(text)
    return str(folder / name)


def values(table):
    return {row.label: float(row.iqm.value) for row in table.rows}


# -------------------------------------------------------------------------------------- NUMBERS


def test_the_numbers_of_two_runs_by_hand():
    """Of 8 x 8 pairs 36 have the second higher, and 7 are equal."""
    comparison = compare(scored(LOW), scored(HIGH, first_seed=90), labels=["a", "b"])
    ((world, (first, second)),) = comparison.tables
    assert world == "CartPole-v1"
    assert (first.label, first.runs, first.failed) == ("a", 8, 0)
    assert [float(x.value) for x in first[3:6]] == [4.5, 4.5, 4.5]
    assert first.beats_first is None
    assert first.difference is None
    assert [float(x.value) for x in second[3:6]] == [5.5, 5.5, 5.5]
    assert float(second.difference.value) == 1
    assert float(second.beats_first.value) == pytest.approx((36 + 7 / 2) / 64)
    assert tuple(first.iqm) == tuple(statistics.aggregate(LOW))
    assert tuple(second.difference) == tuple(statistics.difference(HIGH, LOW))
    assert tuple(second.beats_first) == tuple(statistics.probability_of_improvement(HIGH, LOW))
    assert comparison.overall == []


def test_runs_of_the_same_seeds_are_resampled_together():
    """Each seed of the second is better by 1: the difference has no spread."""
    second = compare(scored(LOW), scored(HIGH), labels=["a", "b"]).tables[0].rows[1]
    assert second.paired
    assert tuple(second.difference) == (1, 1, 1)
    apart = compare(scored(LOW), scored(HIGH, first_seed=6), labels=["a", "b"]).tables[0].rows[1]
    assert not apart.paired
    assert apart.difference.low < 1 < apart.difference.high


def test_the_best_setting_of_a_study_is_scored_on_seeds_that_did_not_choose_it():
    comparison = compare(scored([6.0] * 4), scored(LUCKY, GRID), labels=["run", "study"])
    row = comparison.tables[0].rows[1]
    assert (row.runs, float(row.iqm.value)) == (4, 1.5)  # of 1, 1, 2, 4
    assert not row.paired  # four of eight seeds
    note = "study: best of 2 settings: policy_lr=0.001; chosen by 4 seeds, left out here"
    assert comparison.notes == [note]


def test_one_seed_can_choose_but_the_score_is_said_to_be_biased():
    comparison = compare(scored([[3.0], [7.0]], GRID), scored([5.0]), labels=["study", "run"])
    assert values(comparison.tables[0]) == {"study": 7, "run": 5}
    assert "chosen by the 1 seed shown here, so this is biased upward" in comparison.notes[0]
    assert np.isnan(comparison.tables[0].rows[1].difference.low)


def test_groups_of_a_study_are_compared_and_where_leaves_some():
    grid = {"policy_lr": [1e-3, 1e-2], "gamma": [0.9, 0.99]}
    study = scored([[1.0] * 4, [2.0] * 4, [3.0] * 4, [4.0] * 4], grid)
    by_lr = compare(study, group_by=["policy_lr"])
    assert values(by_lr.tables[0]) == {"policy_lr=0.001": 2, "policy_lr=0.01": 4}
    each = compare(study, group_by=["all"], where={"gamma": 0.9})
    assert values(each.tables[0]) == {"policy_lr=0.001": 1, "policy_lr=0.01": 3}
    assert [row.runs for row in each.tables[0].rows] == [4, 4]  # nothing was chosen
    assert each.notes == []


def test_failed_runs_count_as_the_worst_of_all_that_is_compared(tmp_path):
    theirs = file_of(tmp_path, "3\nnan\n6\n7\n")
    runs = scored([5.0, NAN, 7.0, 8.0])
    comparison = compare(runs, theirs, labels=["ours", "theirs"])
    ours, other = comparison.tables[0].rows
    assert (ours.failed, float(ours.mean.value)) == (1, (5 + 3 + 7 + 8) / 4)
    assert (other.failed, float(other.mean.value)) == (1, (3 + 3 + 6 + 7) / 4)
    assert "A run that failed counts as the worst" in comparison.sentences()[-1]
    with pytest.raises(ValueError, match="every run failed"):
        compare(scored([NAN]), scored([NAN]))


def test_runs_that_are_not_done_or_ended_no_episode_are_left_out():
    run = scored([5.0, 6.0, 7.0])
    updates = np.asarray([[4, 3, 4]])
    counts = run.metrics["episode_count"].copy()
    counts[0, 2] = 0
    run = run._replace(updates=updates, metrics={**run.metrics, "episode_count": counts})
    comparison = compare(run, scored([1.0]), labels=["a", "b"])
    assert values(comparison.tables[0]) == {"a": 5, "b": 1}
    assert comparison.notes == [
        "a: 1 of 3 seeds are not done, and are left out",
        "a: 1 of 3 seeds ended no episode, and are left out",
    ]
    with pytest.raises(ValueError, match="no run of 1 that is to be compared is done"):
        compare(run._replace(updates=updates * 0 + 1), scored([1.0]))


def test_unequal_lengths_are_said():
    longer = dataclasses.replace(CONFIG, num_steps=16, total_steps=4 * 64)
    same = compare(scored([1.0]), scored([2.0]), labels=["a", "b"])
    assert same.notes == []
    comparison = compare(scored([1.0]), scored([2.0], config=longer), labels=["a", "b"])
    assert comparison.notes == ["runs have unequal steps: a 128, b 256"]


def test_a_score_is_that_of_the_study():
    evaluating = make_study(make_spec(grid={}, config=EVALUATING))
    comparison = compare(evaluating, scored([1.0]), labels=["a", "b"])
    assert values(comparison.tables[0])["a"] == evaluating.scores().mean()
    assert comparison.scores == {
        "a": "mean return of the last evaluation (3 episodes)",
        "b": "mean return of the last 20 training episodes",
    }
    assert any("different kinds" in note for note in comparison.notes)


# ------------------------------------------------------------------------- SEVERAL ENVIRONMENTS


def test_environments_have_a_table_each_and_are_put_together_by_rank(tmp_path):
    """Ranks 2 and 1 in the first environment, 1 and 2 in the second."""
    ours = scored([[1.0] * 4, [2.0] * 4, [30.0] * 4, [40.0] * 4], WORLDS)
    lines = [f"{s},{x},{env}" for env, x in (("CartPole-v1", 5), ("Acrobot-v1", 20))
             for s in range(3)]  # fmt: skip
    theirs = file_of(tmp_path, "seed,score,env\n" + "\n".join(lines))
    comparison = compare(ours, theirs, labels=["ours", "theirs"])
    assert {table.world: values(table) for table in comparison.tables} == {
        "CartPole-v1": {"ours": 2, "theirs": 5},
        "Acrobot-v1": {"ours": 40, "theirs": 20},
    }
    first, second = comparison.overall
    assert [float(x) for x in first.rank] == [1.5, 1.5, 1.5]
    assert [float(x) for x in second.beats_first] == [0.5, 0.5, 0.5]  # 1 and 0
    assert second.score is None


def test_bounds_put_environments_on_one_scale():
    study = scored([[1.0] * 4, [2.0] * 4, [30.0] * 4, [40.0] * 4], WORLDS)
    bounds = {"CartPole-v1": (0, 4), "Acrobot-v1": (20, 40)}
    comparison = compare(study, group_by=["policy_lr"], bounds=bounds)
    normalised = [[float(x) for x in row.score] for row in comparison.overall]
    assert normalised == [[0.375] * 3, [0.75] * 3]  # of 1/4 and 1/2, of 1/2 and 1
    for wrong, message in {
        ((("CartPole-v1", (0, 4)),)): "missing for Acrobot-v1",
        (("CartPole-v1", (4, 4)), ("Acrobot-v1", (0, 1))): "4 and 4; accepted: low < high",
        (("CartPol-v1", (0, 4)),): r"no such environment; did you mean CartPole-v1 or",
    }.items():
        with pytest.raises(ValueError, match=message):
            compare(study, group_by=["policy_lr"], bounds=dict(wrong))


def test_parameters_of_an_environment_are_another_world():
    grid = {"env_params.gravity": [5.0, 9.8]}
    comparison = compare(
        scored([[1.0] * 2, [2.0] * 2], grid), scored([3.0, 4.0]), labels=["a", "b"]
    )
    assert [(table.world, [row.label for row in table.rows]) for table in comparison.tables] == [
        ("CartPole-v1, gravity=5", ["a"]),
        ("CartPole-v1, gravity=9.8", ["a"]),
        ("CartPole-v1", ["b"]),
    ]
    assert comparison.overall == []  # no entry is in all of them but one


# ------------------------------------------------------------------------------------ THE FILES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed,score\n0,1.5\n1,2\n", {"": [1.5, 2]}),
        ("\ufeff Seed ; Episode-Return ; extra\n0;1;x\n\n# note\n1;-2e1;y\n", {"": [1, -20]}),
        ("score\tenv\n1\ta\n2\tb\n3\ta\n", {"a": [1, 3], "b": [2]}),
        ('env,score\n"CartPole-v1, gravity=5",1\n', {"CartPole-v1, gravity=5": [1]}),
        ("1\n2\ninf\nNaN\n", {"": [1, 2, NAN, NAN]}),
        ("ppo\n1\n2\n", {"": [1, 2]}),
        ("7,10\n8,20\n", {"": [10, 20]}),
    ],
)
def test_files_of_scores_are_read(tmp_path, text, expected):
    read = read_scores(file_of(tmp_path, text))
    assert list(read) == list(expected)
    for env, scores in read.items():
        np.testing.assert_array_equal(scores, expected[env])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("seed,score\n", "a header and no scores"),
        ("seed,score\n0,1\n0,2\n", "line 3: seed 0 has a score on line 2 already"),
        ("seed,score\n0,one\n", "line 2: the score is 'one'; give a number"),
        ("seed,score\n0,\n", "line 2: the score is nothing"),
        ("seed,score\n0\n", "line 2: 1 columns are too few"),
        ("seed,accuracy\n0,1\n", r"no column named score \(its header: seed, accuracy\)"),
        ("return,score\n0,1\n", "two columns of scores"),
        ("1,2,3\n", "3 columns need a header"),
        ("algo,score\nppo,1\na2c,2\n", r"holds 2 algorithms \(a2c, ppo\)"),
    ],
)
def test_bad_files_of_scores_are_one_line(tmp_path, text, message):
    path = file_of(tmp_path, text)
    with pytest.raises(ValueError, match=message) as error:
        read_scores(path)
    assert path in str(error.value)
    assert "\n" not in str(error.value)


def test_bytes_are_no_text(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"\x93NUMPY\xff")
    with pytest.raises(ValueError, match="is no text"):
        read_scores(tmp_path / "x.csv")


def test_a_file_without_environments_is_of_the_only_one_there_is(tmp_path):
    theirs = file_of(tmp_path, "1\n2\n")
    assert compare(scored([1.0]), theirs).tables[0].world == "CartPole-v1"
    assert compare(theirs, file_of(tmp_path, "1\n", "b.csv")).tables[0].world == ""
    with pytest.raises(ValueError, match="add a column env"):
        compare(scored([[1.0]] * 4, WORLDS), theirs)
    named = file_of(tmp_path, "score,env\n1,CartPole-v0\n", "c.csv")
    with pytest.raises(ValueError, match=r"scores of CartPole-v0.*did you mean CartPole-v1\?"):
        compare(scored([1.0]), named)


def test_a_file_names_an_environment_of_a_file_as_the_tables_do(tmp_path):
    """`mine.py:Mine`, and under conditions `"mine.py:Mine, gravity=0.4"`, from any folder."""
    (tmp_path / "mine.py").write_text(
        "from gymnax.environments.classic_control.cartpole import CartPole as Mine\n"
    )
    mine = dataclasses.replace(CONFIG, env=str(tmp_path / "mine.py:Mine"))
    ours = scored([1.0, 3.0], config=mine)
    theirs = file_of(tmp_path, "score,env\n7,mine.py:Mine\n")
    (table,) = compare(ours, theirs, labels=["a", "b"]).tables
    assert (table.world, values(table)) == ("mine.py:Mine", {"a": 2, "b": 7})
    planets = scored([[1.0], [3.0]], {"env_params.gravity": [0.2, 0.4]}, config=mine)
    theirs = file_of(tmp_path, 'score,env\n7,"mine.py:Mine, gravity=0.4"\n', "g.csv")
    tables = compare(planets, theirs, labels=["a", "b"]).tables
    assert {table.world: values(table) for table in tables} == {
        "mine.py:Mine, gravity=0.2": {"a": 1},
        "mine.py:Mine, gravity=0.4": {"a": 3, "b": 7},
    }


# --------------------------------------------------------------------------------------- LABELS


def test_labels_are_the_few_things_that_differ_or_the_names_of_the_folders(tmp_path):
    def labels(*sources, **how):
        return [row.label for row in compare(*sources, **how).tables[0].rows]

    gae, td = write(tmp_path / "x" / "one", [1.0, 2]), write(tmp_path / "two", [3.0], config=OTHER)
    again = write(tmp_path / "y" / "one", [1.0, 2])
    assert labels(gae, td) == ["estimator=gae", "estimator=td"]
    assert labels(gae, again) == [gae, again]
    assert labels(gae, file_of(tmp_path, "1\n", "sb3.csv")) == ["one", "sb3"]
    assert labels(file_of(tmp_path, "1\n", "sb3.csv"), gae, td, labels=["c", "a", "b"]) == [
        "c", "a", "b",
    ]  # fmt: skip
    study = write(tmp_path / "study", [[1.0] * 2, [2.0] * 2], GRID)  # its rate is not fixed
    assert labels(study, td) == ["estimator=gae", "estimator=td"]
    assert labels(study, gae) == ["study", "one"]


def test_a_run_object_is_a_source():
    run = run_of(scored([1.0, 2.0]))
    assert values(compare(run, scored([4.0])).tables[0]) == {"1": 1.5, "2": 4}
    with pytest.raises(ValueError, match="one of 2 settings"):
        compare(run_of(scored([[1.0], [2.0]], GRID)), run)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"labels": ["a"]}, "1 labels are given for 2 entries"),
        ({"labels": ["a", "a"]}, "two entries are called a"),
        ({"where": {"gamma": 1}}, "nothing varies"),
        ({"group_by": ["gamma"]}, "nothing varies"),
    ],
)
def test_bad_arguments_are_refused(how, message):
    with pytest.raises(ValueError, match=message):
        compare(scored([1.0]), scored([2.0]), **how)


def test_names_that_do_not_vary_are_refused():
    study = scored([[1.0] * 2] * 2, GRID)
    with pytest.raises(ValueError, match=r"1: gamma does not vary in this study; .*policy_lr"):
        compare(study, scored([1.0]), where={"gamma": 1})
    with pytest.raises(ValueError, match=r"group_by policy_r .*did you mean policy_lr\?"):
        compare(study, group_by=["policy_r"])
    with pytest.raises(ValueError, match="one entry is nothing to compare"):
        compare(study)


# ------------------------------------------------------------------------------------- SENTENCES


def test_the_sentences_say_the_numbers_and_what_they_mean():
    first, last = compare(scored(LOW), scored(HIGH), labels=["a", "b"]).sentences()
    low, high = statistics.aggregate(LOW), statistics.aggregate(HIGH)
    assert first.startswith(
        f"On CartPole-v1, a has an IQM of 4.500 [{low.low:.3f}, {low.high:.3f}] (8 runs) and b has "
        f"an IQM of 5.500 [{high.low:.3f}, {high.high:.3f}] (8 runs). The IQM of b is 1.000 higher "
        f"than that of a (difference 1.000 [1.000, 1.000]), and a run of b scores higher than one "
        f"of a with probability 0.62 ["
    )
    assert "do not tell the two apart" not in first
    assert last == (
        "A score is the mean return of the last 20 training episodes. IQM is the interquartile "
        "mean over runs; brackets are 95% percentile bootstrap intervals over runs; runs of the "
        "same seeds are resampled together; equal scores count half in a probability (Agarwal et "
        "al. 2021)."
    )
    unsure = compare(scored(LOW), scored(HIGH, first_seed=9), labels=["a", "b"]).sentences()[0]
    assert "contains 0: these runs do not tell the two apart." in unsure
    lower = compare(scored(HIGH), scored(LOW), labels=["a", "b"]).sentences()[0]
    assert "The IQM of b is 1.000 lower than that of a (difference -1.000" in lower
    alone = compare(scored([1.0]), scored([2.0]), labels=["a", "b"]).sentences()[0]
    assert "with one run there is no interval" in alone


# ---------------------------------------------------------------------------- THE COMMAND LINE


def test_the_command_prints_a_table_and_writes_it(tmp_path, capsys):
    folder = write(tmp_path / "run", LOW)
    theirs = file_of(tmp_path, "seed,score\n" + "\n".join(f"{i},{x}" for i, x in enumerate(HIGH)))
    out = tmp_path / "new" / "table.csv"
    assert cli.main(["compare", folder, theirs, "--csv", str(out), "--labels", "VPG", "PPO"]) == 0
    printed = capsys.readouterr().out
    expected = compare(folder, theirs, labels=["VPG", "PPO"])
    assert expected.sentences()[0] in printed
    row = next(line for line in printed.splitlines() if line.startswith("│ PPO"))
    cells = [cell.strip() for cell in row.split("│")[1:-1]]
    assert cells[1] == "8"
    assert cells[2].startswith("5.500 [")
    assert cells[6].startswith("1.000 [")
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["label"], row["iqm"], row["difference"]) for row in rows] == [
        ("VPG", "4.5", ""),
        ("PPO", "5.5", "1.0"),
    ]
    assert cli.main(["compare", folder, theirs, "--json"]) == 0
    back = json.loads(capsys.readouterr().out)
    assert [row["mean"] for row in back["rows"]] == [4.5, 5.5]
    assert back["rows"][0]["beats_first"] is None


def test_the_command_puts_environments_together(tmp_path, capsys):
    folder = write(tmp_path / "study", [[1.0] * 4, [2.0] * 4, [30.0] * 4, [40.0] * 4], WORLDS)
    line = ["compare", folder, "--group-by", "policy_lr", "--bounds", "CartPole-v1=0:4"]
    assert cli.main([*line, "Acrobot-v1=20:40"]) == 0
    printed = capsys.readouterr().out
    assert "over 2 environments" in printed
    assert "0.750 [0.750, 0.750]" in printed


@pytest.mark.parametrize("names", [("run", "run-format-1"), ("study", "pruned", "search")])
def test_old_folders_are_compared(names, capsys):
    assert cli.main(["compare", *[str(RECORDED / name) for name in names]]) == 0
    assert "On CartPole-v1, " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{t}/nothing", "{t}"], "nothing is neither a folder nor a file"),
        (["{t}", "{t}/bad.csv"], "is no run or study folder"),
        (["{r}/run", "{t}/bad.csv"], "line 2: the score is 'x'"),
        (["{r}/run"], "one entry is nothing to compare"),
        (["{r}/run", "{r}/run-interrupted"], "no run in"),
        (["{r}/run", "{r}/study", "--bounds", "CartPole-v1=5"], "write ENV=LOW:HIGH"),
        (["{r}/run", "{r}/study", "--where", "policy_lr=7"], "no setting of the study has"),
        (["{r}/run", "{r}/study", "--target", "7"], "no flag of compare, but of report"),
    ],
)
def test_bad_commands_are_one_line(tmp_path, capsys, words, message):
    file_of(tmp_path, "seed,score\n1,x\n", "bad.csv")
    words = [word.format(t=tmp_path, r=RECORDED) for word in words]
    assert_refused(["compare", *words], message, capsys)

"""eval and export on the command line: policies of any run of any study."""

import json
import re

import jax
import numpy as np
import pytest
from support.studies import make_part, make_spec, make_study
from support.sweeps import CONFIG, ONE, RATES

from purejaxvpg import Hyperparams, cli
from purejaxvpg.cli import policies as command
from purejaxvpg.experiment import load_policy, load_study, save_policy, sweep, train
from purejaxvpg.experiment.evaluation import policies_of
from purejaxvpg.state import Evaluation

LIMITS = [3, 5]
GRID = {"policy_lr": RATES, "env_params.max_steps_in_episode": LIMITS}
LIMIT = "env_params.max_steps_in_episode=5"
WHERE = f"--where policy_lr=3e-3 {LIMIT}"  # setting 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study of 3 x 2 settings and the seeds 1, 2, 3."""
    place = tmp_path_factory.mktemp("studies") / "study"
    sweep(CONFIG, GRID, 3, first_seed=1, folder=place, **ONE)
    return place


@pytest.fixture
def evaluated(monkeypatch):
    """(setting, seeds, episodes, greedy, seed, env_params) of every evaluation from now on."""
    calls, original = [], command.evaluate_setting

    def seen(study, setting, seeds, *how):
        calls.append((setting, seeds.tolist(), *how))
        return original(study, setting, seeds, *how)

    monkeypatch.setattr(command, "evaluate_setting", seen)
    return calls


def run(line, capsys, **places):
    """What a command prints, spaces and lines as single spaces."""
    capsys.readouterr()
    assert cli.main(line.format(**places).split()) == 0
    return " ".join(capsys.readouterr().out.split())


def refused(line, capsys, **places):
    """The line that a command gives for bad input."""
    capsys.readouterr()
    assert cli.main(line.format(**places).split()) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    return printed


def assert_exported(policy, study, setting, seed):
    """The policy acts as that of this run."""
    config, hp = study.setting(setting)
    params, stats = policies_of(study, setting, np.asarray([seed]))
    params, stats = jax.tree.map(lambda x: x[0], (params, stats))
    save_policy(policy.parent / "expected", config, params, stats, hp)
    obs = jax.random.normal(jax.random.key(0), (64, 4))
    expected = load_policy(policy.parent / "expected")
    key = jax.random.key(1)
    np.testing.assert_array_equal(load_policy(policy).act(obs, key), expected.act(obs, key))
    assert json.loads((policy / "card.json").read_text())["scores"]["seed"] == seed


# ---------------------------------------------------------------------------------------- EVAL


def test_eval_of_a_study_has_a_row_for_each_setting(folder, evaluated, capsys, monkeypatch):
    """Each with the environment's parameters that it trained on: episodes of 3 steps, or of 5."""
    monkeypatch.setattr(command.console, "width", 200)
    capsys.readouterr()
    assert cli.main(["eval", str(folder), "--num-episodes", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if re.search("greedy|sampled", line)][1:]  # below the title
    assert len(rows) == 12
    for number, row in enumerate(rows):
        limit = LIMITS[number // 2 % 2]
        assert (f"max_steps_in_episode={limit}" in row) == (number % 2 == 0)
        assert ("greedy", "sampled")[number % 2] in row
        assert re.findall(r"\d+\.\d\b", row)[-1] == f"{limit}.0"
    both = [(h, [1, 2, 3], 2, greedy, 0, {}) for h in range(6) for greedy in (True, False)]
    assert evaluated == both


def test_settings_of_one_config_are_evaluated_by_one_program(folder, capsys):
    compiled = []

    def count(event, _, **__):
        if "backend_compile" in event:
            compiled.append(event)

    run(f"eval {folder} --num-episodes 3 --greedy {WHERE}", capsys)
    jax.monitoring.register_event_duration_secs_listener(count)
    run(f"eval {folder} --num-episodes 3 --greedy", capsys)
    assert not compiled
    run(f"eval {folder} --num-episodes 4 --greedy --best", capsys)
    assert compiled  # else nothing would be counted


def test_eval_of_the_best_setting_is_of_each_condition_or_of_one(folder, evaluated, capsys):
    """The limits of an episode are conditions: the best of all would be one of the longest."""
    best = load_study(folder).best_of_each().tolist()
    assert [h % 2 for h in best] == [0, 1]
    printed = run(f"eval {folder} --best --num-episodes 2 --eval-seed 7", capsys)
    assert evaluated == [(h, [1, 2, 3], 2, greedy, 7, {}) for h in best for greedy in (True, False)]
    assert "2 greedy and 2 sampled episodes a seed" in printed
    evaluated.clear()
    printed = run(f"eval {folder} --best --where {LIMIT} --num-episodes 2", capsys)
    assert evaluated == [(best[1], [1, 2, 3], 2, greedy, 0, {}) for greedy in (True, False)]
    rows = [printed.index(f"{way} {x}") for x in ("return", "length") for way in WAYS]
    assert rows == sorted(rows)


WAYS = ("greedy", "sampled")


@pytest.mark.parametrize("way", WAYS)
def test_eval_of_one_way_alone(way, folder, evaluated, capsys):
    printed = run(f"eval {folder} --best --where {LIMIT} --num-episodes 2 --{way}", capsys)
    assert [call[3] for call in evaluated] == [way == "greedy"]
    assert f"2 {way} episodes a seed" in printed
    assert "--no-greedy is called --sampled now" in refused(f"eval {folder} --no-greedy", capsys)


def test_eval_of_a_setting_by_its_values_and_of_one_training_seed(folder, evaluated, capsys):
    printed = run(f"eval {folder} {WHERE} --seed 2 --num-episodes 2 --sampled", capsys)
    assert evaluated == [(3, [2], 2, False, 0, {})]
    assert "2 sampled episodes a seed (policy_lr=0.003, env_params.max_steps" in printed
    run(f"eval {folder} --where policy_lr=3e-3 --seed 2 --num-episodes 2 --greedy", capsys)
    assert [call[:2] for call in evaluated[1:]] == [(2, [2]), (3, [2])]


BAD = {
    "eval {folder} --best --where policy_lr=7": "no setting of the study has policy_lr=7",
    "eval {folder} --where policy_lr=7": "no setting of the study has policy_lr=7",
    "eval {folder} --where gamma=0.9": "gamma does not vary in this study; varying: policy_lr, env",
    "eval {folder} --where policy_lr": "is not name=value",
    "eval {folder} --seed 9": "seed=9 is not in the study; accepted: 1 to 3",
    "eval {folder} --seed -2": "seed=-2 is not in the study; accepted: 1 to 3",
    "eval {folder} --num-episodes 0": "num_episodes=0 is out of range",
    "export {folder} --seed 9 --best --where {limit}": "seed=9 is not in the study; accepted: 1",
    "export {folder} --seed -2 --best --where {limit}": "seed=-2 is not in the study; accepted: 1",
    "export {folder}": "6 settings are left to choose from; pass --best, or --where with values of "
    "policy_lr, env_params.max_steps_in_episode",
    "export {folder} --best": "2 settings are left to choose from; pass --where with values of "
    "env_params.max_steps_in_episode",
    "export {folder} --where policy_lr=1e-3": "2 settings are left to choose from",
}


@pytest.mark.parametrize("line", BAD)
def test_what_cannot_be_chosen_is_one_line(line, folder, capsys):
    assert BAD[line] in refused(line, capsys, folder=folder, limit=LIMIT)
    assert not (folder / "policy").exists()


# -------------------------------------------------------------------------------------- EXPORT


RETURNS = {  # of 2 episodes of the seeds 1, 2, 3
    True: [[9.0, 1.0], [8.0, 8.0], [1.0, 1.0]],
    False: [[3.0, 3.0], [1.0, 1.0], [5.0, 7.0]],
}


@pytest.fixture
def judged(monkeypatch):
    """Evaluations that give `RETURNS`; the calls, as of `evaluated`."""
    calls = []

    def outcome(study, setting, seeds, episodes, greedy, seed, env_params):
        calls.append((setting, list(seeds), episodes, greedy, seed))
        rows = np.asarray(RETURNS[greedy])[[{1: 0, 2: 1, 3: 2}[s] for s in seeds]]
        return Evaluation(rows, np.ones(rows.shape, int), np.ones(rows.shape, bool))

    monkeypatch.setattr(command, "evaluate_setting", outcome)
    return calls


@pytest.mark.parametrize(("flag", "seed", "mean"), [("", 2, 8.0), ("--sampled", 3, 6.0)])
def test_export_chooses_by_the_way_that_the_policy_will_act(
    flag, seed, mean, folder, judged, tmp_path, capsys
):
    """And says which, with the number that it chose by."""
    words = f"{WHERE} {flag} --num-episodes 2 --eval-seed 4 --no-compiled --out {tmp_path}/policy"
    printed = run(f"export {folder} {words}", capsys)
    assert judged == [(3, [1, 2, 3], 2, not flag, 4)]
    way = "sampled" if flag else "greedy"
    name = f"mean return of 2 {way} episodes"
    assert f"seed {seed}: the best of 3 by a {name}, {mean} policy of seed {seed}: " in printed
    card = json.loads((tmp_path / "policy" / "card.json").read_text())
    assert card["scores"][name] == mean
    assert_exported(tmp_path / "policy", load_study(folder), 3, seed)


def test_the_seed_that_is_asked_for_is_judged_alone(folder, judged, tmp_path, capsys):
    words = f"{WHERE} --seed 1 --num-episodes 2 --no-compiled --out {tmp_path}/policy"
    printed = run(f"export {folder} {words}", capsys)
    assert judged == [(3, [1], 2, True, 0)]
    assert "seed 1: as asked for, with a mean return of 2 greedy episodes, 5.0" in printed


def test_of_equal_returns_the_best_in_training_is_chosen_and_no_nan():
    best, nan = command._best, np.nan
    assert best(np.array([5.0, 7.0, 7.0, nan]), np.array([9.0, 1.0, 2.0, 9.0])) == 2
    assert best(np.array([7.0, 7.0]), np.array([nan, 1.0])) == 1
    assert best(np.array([nan, nan]), np.array([nan, nan])) == 0


def test_runs_that_diverged_or_are_not_done_are_not_chosen():
    spec = make_spec({}, num_seeds=3)

    def study(lost, ends):
        parts = [
            make_part(spec, [run], end=end, finite=run not in lost) for run, end in enumerate(ends)
        ]
        return make_study(spec, parts)

    assert command._candidates(study([], [4, 4, 2]), 0).tolist() == [5, 6]
    assert command._candidates(study([0], [4, 4, 4]), 0).tolist() == [6, 7]
    assert command._candidates(study([0, 1, 2], [4, 4, 4]), 0).tolist() == [5, 6, 7]


def test_export_of_the_best_setting_is_of_its_best_seed(folder, tmp_path, capsys):
    study = load_study(folder)
    best = study.best(**{"env_params.max_steps_in_episode": 5})
    returns = np.asarray(command.evaluate_setting(study, best, study.seeds, 3).returns).mean(1)
    seed = int(study.seeds[np.argmax(returns)])
    words = f"--best --where {LIMIT} --num-episodes 3 --out {tmp_path}/policy"
    printed = run(f"export {folder} {words}", capsys)
    assert f"policy of seed {seed}: {tmp_path}/policy" in printed
    assert (tmp_path / "policy" / "policy.jax").stat().st_size > 0
    assert_exported(tmp_path / "policy", study, best, seed)
    card = json.loads((tmp_path / "policy" / "card.json").read_text())
    assert card["env_params"] == study.setting(best)[1].env_params
    score = study.scores()[best, np.flatnonzero(study.seeds == seed)[0]]
    assert card["scores"]["return of the last 20 episodes"] == pytest.approx(score)


def test_export_of_a_run_by_its_values_and_seed(folder, tmp_path, capsys):
    run(f"export {folder} {WHERE} --seed 2 --no-compiled --out {tmp_path}/policy", capsys)
    assert_exported(tmp_path / "policy", load_study(folder), 3, 2)
    assert not (tmp_path / "policy" / "policy.jax").exists()


# ---------------------------------------------------------------------------- WHAT IS NOT KEPT


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    """A study that keeps no policies, and one that keeps the best."""
    places = {name: tmp_path_factory.mktemp("studies") / name for name in ("none", "best")}
    for name, place in places.items():
        sweep(CONFIG, {"policy_lr": RATES[:2]}, 2, folder=place, keep_policies=name, **ONE)
    return places


def test_a_study_without_policies_says_so(without, capsys):
    for line in ("eval {none}", "eval {none} --best", "export {none} --best"):
        assert "keep_policies left it out); policies are kept of 0 runs" in refused(
            line, capsys, **without
        )


def test_of_a_study_that_keeps_the_best_only_those_can_be_used(without, evaluated, capsys):
    best = load_study(without["best"]).best()
    run("eval {best} --best --num-episodes 2 --greedy", capsys, **without)
    assert evaluated == [(best, [0, 1], 2, True, 0, {})]
    other = RATES[1 - best]
    message = refused(f"eval {{best}} --where policy_lr={other}", capsys, **without)
    assert "keep_policies left it out); policies are kept of 2 runs" in message


def test_a_study_of_which_no_run_is_done_says_how_to_go_on(tmp_path, capsys):
    hook = {"on_segment": lambda segment: True}
    train(CONFIG, Hyperparams(), 2, folder=tmp_path / "run", **hook, **ONE)
    message = refused("eval {run}", capsys, run=tmp_path / "run")
    assert f"go on with it: purejaxvpg train --resume {tmp_path / 'run'}" in message
    sweep(CONFIG, {"policy_lr": RATES}, 2, folder=tmp_path / "study", **hook, **ONE)
    message = refused("export {study} --best", capsys, study=tmp_path / "study")
    assert f"go on with it: purejaxvpg sweep --resume {tmp_path / 'study'}" in message


def test_seeds_that_are_done_can_be_used_before_the_others_are(tmp_path, evaluated, capsys):
    seen = []

    def stop(segment):
        seen.append(segment.runs)
        return len(seen) == 12

    train(CONFIG, Hyperparams(), 4, folder=tmp_path / "run", on_segment=stop, **ONE)
    run("eval {run} --seed 1 --num-episodes 2 --greedy", capsys, run=tmp_path / "run")
    assert evaluated == [(0, [1], 2, True, 0, {})]
    message = refused("eval {run} --seed 2", capsys, run=tmp_path / "run")
    assert "the policy of run 2 is not kept (the run is not done" in message

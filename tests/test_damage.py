"""Every file of a run, a study and a policy, damaged: named, and never a wrong number.

200 cases: cut at a random place, one random byte changed, a random stretch of zeros, or gone.
"""

import random
import shutil

import jax
import numpy as np
import pytest
from support.assertions import assert_same_bits
from support.segments import stop_after
from support.studies import assert_same_study

from purejaxvpg import Hyperparams, VPGConfig, cli, make_learner
from purejaxvpg.experiment import load_policy, load_study, save_policy, sweep, train

CASES, HARMS = 50, ("cut", "changed", "zeroed", "gone")
CONFIG = VPGConfig(
    num_envs=2, num_steps=8, total_steps=160, hidden_sizes=(8,), value_iterations=1
)  # U = 10
HP, ONE = Hyperparams(), {"chunk_size": 2, "devices": jax.devices()[:1]}


def harm(path, how, draw):
    """Damage a file.  Returns: whether it is another one now."""
    data = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
        return True
    if how == "cut":
        after = data[: draw.randrange(len(data))]
    elif how == "changed":
        after, place = bytearray(data), draw.randrange(len(data))
        after[place] = (after[place] + draw.randrange(1, 256)) % 256
    else:
        after, place = bytearray(data), draw.randrange(len(data))
        after[place : place + 16] = bytes(len(after[place : place + 16]))
    path.write_bytes(after)
    return after != data


def cases(folder):
    """(number, file, how, draw), every file in turn."""
    others = (".lock", "metrics.jsonl", "card.md")  # empty, a log, and for people: nothing is read
    paths = [p for p in folder.rglob("*") if p.is_file() and p.name not in others]
    files = sorted(p.relative_to(folder) for p in paths)
    for number in range(CASES):
        draw = random.Random(number)
        yield number, files[number % len(files)], HARMS[(number // len(files)) % 4], draw


def attempt(load, folder):
    """The outcome of a load, or the line that says why there is none."""
    try:
        return load(folder), ""
    except (ValueError, FileNotFoundError) as error:
        said = str(error)
    assert said
    assert "\n" not in said
    return None, said


def assert_no_wrong_number(back, whole):
    """Runs that are there have their numbers, and the others have none."""
    for name, x in whole.metrics.items():
        np.testing.assert_array_equal(back.metrics[name][back.done], x[back.done], err_msg=name)
        assert np.isnan(back.metrics[name][~back.done]).all()


def assert_no_wrong_policy(back, whole):
    """A policy that is kept is the one that was, or its file is named.  Returns: how many are."""
    kept = 0
    for run in back.policies.runs:
        arrays, error = attempt(back.policies.arrays, [run])
        if error:
            assert "cannot be read" in error
        else:
            assert_same_bits(arrays, whole.policies.arrays([run]))
            kept += 1
    return kept


@pytest.fixture
def copies(tmp_path):
    def copy(folder, number):
        return shutil.copytree(folder, tmp_path / str(number))

    return copy


# ----------------------------------------------------------------------------------------- RUNS


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that is done: run.json, metrics.npz, its part and its policies."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(CONFIG, HP, 2, folder=folder, **ONE)
    return folder


@pytest.mark.filterwarnings("ignore:.*is left out:UserWarning")
def test_a_finished_run(finished, copies):
    whole, noticed = load_study(finished), 0
    for number, name, how, draw in cases(finished):
        folder = copies(finished, number)
        assert harm(folder / name, how, draw)
        back, error = attempt(load_study, folder)
        if error:
            assert name.name == "run.json", (name, how)
            assert str(folder) in error
            noticed += 1
            continue
        assert back.record == whole.record
        assert back.complete == (name.parts[0] != "parts"), (name, how)
        assert_no_wrong_number(back, whole)
        kept = assert_no_wrong_policy(back, whole)
        assert kept == (0 if name.parts[0] in ("parts", "policies") else 2), (name, how)
        if back.complete and kept:  # metrics.npz, for others; or a blank of run.json
            assert name.name in ("metrics.npz", "run.json")
            assert_same_study(back, whole)
        else:
            noticed += 1
    print(f"{CASES} damaged runs: {noticed} noticed, the rest whole where it counts")
    assert noticed >= 0.6 * CASES


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run with three checkpoints, stopped after 6 updates of 10."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    how = {"checkpoint_updates": 2, "checkpoint_minutes": 0}
    train(CONFIG, HP, 2, folder=folder, on_segment=stop_after(6), **how, **ONE)
    assert len(list(folder.glob("chunks/*/*.npz"))) >= 2
    return folder


def test_a_run_that_is_not_done(finished, stopped, copies, capsys):
    """It goes on from what is whole, to the same bits, and names the files that are not."""
    whole, refused = load_study(finished), 0
    newest = max(path.name for path in stopped.glob("chunks/*/*.npz"))
    for number, name, how, draw in cases(stopped):
        folder = copies(stopped, number)
        assert harm(folder / name, how, draw)
        capsys.readouterr()
        code = cli.main(["train", "--resume", str(folder), "--chunk-size", "2"])
        said = capsys.readouterr()
        assert "Traceback" not in said.err + said.out
        if code:
            assert code == 2
            assert name.name == "run.json"
            assert said.err.count("\n") == 1
            refused += 1
            continue
        assert said.err == ""
        assert "going on after" in said.out  # one checkpoint at least is whole
        if name.suffix == ".npz" and how != "gone":
            used = newest == name.name
            assert (f"{name.name} is not used" in said.out.replace("\n", "")) == used
        back = load_study(folder)
        for metric, x in whole.metrics.items():
            np.testing.assert_array_equal(x, back.metrics[metric], err_msg=str((name, how)))
        assert_same_bits(back.policies.arrays([0, 1]), whole.policies.arrays([0, 1]))
    print(
        f"{CASES} damaged runs to go on with: {refused} refused, the rest ends with the same bits"
    )
    assert refused


# -------------------------------------------------------------------------------------- STUDIES


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two settings of eight seeds, in eight parts."""
    folder = tmp_path_factory.mktemp("study") / "study"
    sweep(CONFIG, {"gamma": [0.9, 0.99]}, 8, folder=folder, **ONE)
    return folder


@pytest.mark.filterwarnings("ignore:.*is left out:UserWarning")
def test_a_study(study, copies):
    whole, incomplete, refused, bad_policies = load_study(study), 0, 0, 0
    for number, name, how, draw in cases(study):
        folder = copies(study, number)
        assert harm(folder / name, how, draw)
        back, error = attempt(load_study, folder)
        if error:
            assert name.name == "study.json"
            refused += 1
            continue
        incomplete += not back.complete
        assert back.complete == (name.parts[0] != "parts"), (name, how)
        assert_no_wrong_number(back, whole)
        kept = assert_no_wrong_policy(back, whole)
        assert kept == (14 if name.parts[0] in ("parts", "policies") else 16), (name, how)
        bad_policies += name.parts[0] == "policies"
        if back.complete:
            assert_same_study(back, whole)
    print(
        f"{CASES} damaged studies: {refused} refused, {incomplete} with runs to do again, "
        f"{bad_policies} with policies that are named"
    )
    assert refused
    assert incomplete
    assert bad_policies


# ------------------------------------------------------------------------------------- POLICIES


def test_a_policy(tmp_path, copies):
    state = make_learner(CONFIG).init(jax.random.key(0))
    source = tmp_path / "policy"
    source.mkdir()
    save_policy(source, CONFIG, state.params.policy)
    expected, noticed = load_policy(source).act(state.obs, jax.random.key(1)), 0
    for number, name, how, draw in cases(source):
        folder = copies(source, number)
        assert harm(folder / name, how, draw)
        policy, error = attempt(load_policy, folder)
        if error:
            noticed += 1
        else:  # a blank of the card
            np.testing.assert_array_equal(policy.act(state.obs, jax.random.key(1)), expected)
            assert name.suffix == ".json"
    print(f"{CASES} damaged policies: {noticed} refused in a line")
    assert noticed >= 0.8 * CASES

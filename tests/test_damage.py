"""Every file of a run, a study and a policy, damaged: named, and never a wrong number.

200 cases: cut at a random place, one random byte changed, a random stretch of zeros, or gone.
"""

import random
import shutil

import jax
import numpy as np
import pytest
from test_sweep import assert_same_bits

from purejaxvpg import VPGConfig, cli
from purejaxvpg.experiment.checkpoint import Checkpoints
from purejaxvpg.experiment.export import load_policy, save_policy
from purejaxvpg.experiment.results import load_run
from purejaxvpg.experiment.store import load_study

CASES, HARMS = 50, ("cut", "changed", "zeroed", "gone")
TINY = "--num-envs 2 --num-steps 8 --total-steps 128 --hidden-sizes 8 --value-iterations 1"


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
    files = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    for number in range(CASES):
        draw = random.Random(number)
        yield number, files[number % len(files)], HARMS[(number // len(files)) % 4], draw


def attempt(load, folder):
    """What is loaded, or the line that says why not."""
    try:
        return load(folder), ""
    except (ValueError, FileNotFoundError) as error:
        said = str(error)
    assert said
    assert "\n" not in said
    return None, said


@pytest.fixture
def copies(tmp_path):
    def copy(folder, number):
        return shutil.copytree(folder, tmp_path / str(number))

    return copy


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert cli.main(f"train CartPole-v1 {TINY} --num-seeds 2 --out {folder}".split()) == 0
    return folder


def assert_same_run(one, other):
    assert one.record == other.record
    for name, values in one.metrics.items():
        np.testing.assert_array_equal(values, other.metrics[name], err_msg=name)
    jax.tree.map(np.testing.assert_array_equal, one.policy_params, other.policy_params)


def test_a_finished_run(finished, copies):
    whole, found = load_run(finished), 0
    for number, name, how, draw in cases(finished):
        folder = copies(finished, number)
        assert harm(folder / name, how, draw)
        back, error = attempt(load_run, folder)
        if error:
            assert str(folder) in error
            found += 1
        else:  # the picture; or a blank of run.json, which means nothing
            assert name.name in ("learning_curve.png", "run.json"), (name, how)
            assert_same_run(whole, back)
    print(f"{CASES} damaged runs: {found} refused in a line, the rest whole where it counts")
    assert found >= 0.6 * CASES


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run with three checkpoints, stopped."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    line = f"train CartPole-v1 {TINY} --num-seeds 2 --checkpoint-updates 2 --out {folder}"
    due = Checkpoints.due

    def stopping(self, update):
        self.stop = update == 6
        return due(self, update)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Checkpoints, "due", stopping)
        assert cli.main(line.split()) == 130
    assert len(list(folder.glob("checkpoints/*.npz"))) >= 2
    return folder


def test_a_run_that_is_not_done(finished, stopped, copies, capsys):
    """It goes on from what is whole, to the same bits, and names what is not."""
    whole, refused = load_run(finished), 0
    for number, name, how, draw in cases(stopped):
        folder = copies(stopped, number)
        assert harm(folder / name, how, draw)
        capsys.readouterr()
        code = cli.main(["train", "--resume", str(folder), "--checkpoint-minutes", "0"])
        said = capsys.readouterr()
        assert "Traceback" not in said.err + said.out
        if code:
            assert code == 2
            assert name.name == "run.json"
            assert said.err.count("\n") == 1
            refused += 1
            continue
        if name.suffix == ".npz" and how != "gone":
            used = sorted(stopped.glob("checkpoints/*.npz"))[-1].name == name.name
            assert (f"{name.name} is not used" in said.out.replace("\n", "")) == used
        back = load_run(folder)
        for metric, values in whole.metrics.items():
            np.testing.assert_array_equal(values, back.metrics[metric], err_msg=str((name, how)))
        jax.tree.map(np.testing.assert_array_equal, whole.policy_params, back.policy_params)
    print(
        f"{CASES} damaged runs to go on with: {refused} refused, the rest ends with the same bits"
    )
    assert refused


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "study"
    line = f"sweep CartPole-v1 {TINY} --grid gamma=0.9,0.99 --num-seeds 8 --chunk-size 1"
    line += " --no-report"
    assert cli.main([*line.split(), "--out", str(folder)]) == 0
    return folder


@pytest.mark.filterwarnings("ignore:.*is left out:UserWarning")
def test_a_study(study, copies):
    whole, incomplete, refused = load_study(study), 0, 0
    for number, name, how, draw in cases(study):
        folder = copies(study, number)
        assert harm(folder / name, how, draw)
        back, error = attempt(load_study, folder)
        if error:
            assert name.name == "study.json"
            refused += 1
            continue
        incomplete += not back.complete
        assert back.complete == (name.suffix != ".npz"), (name, how)
        for metric, values in whole.metrics.items():
            own = back.metrics[metric]
            np.testing.assert_array_equal(own[back.done], values[back.done], err_msg=metric)
            assert np.isnan(own[~back.done]).all()
        if back.complete:
            assert_same_bits(whole, back)
    print(f"{CASES} damaged studies: {refused} refused, {incomplete} with runs to do again")
    assert refused
    assert incomplete


def test_a_policy(tmp_path, copies):
    config = VPGConfig(num_envs=2, num_steps=8, total_steps=16, hidden_sizes=(8,))
    from purejaxvpg import make_learner

    state = make_learner(config).init(jax.random.key(0))
    source = tmp_path / "policy"
    source.mkdir()
    save_policy(source, config, state.params.policy)
    expected, found = load_policy(source).act(state.obs, jax.random.key(1)), 0
    for number, name, how, draw in cases(source):
        folder = copies(source, number)
        assert harm(folder / name, how, draw)
        policy, error = attempt(load_policy, folder)
        if error:
            found += 1
        else:  # a blank of the card
            np.testing.assert_array_equal(policy.act(state.obs, jax.random.key(1)), expected)
            assert name.suffix == ".json"
    print(f"{CASES} damaged policies: {found} refused in a line")
    assert found >= 0.8 * CASES

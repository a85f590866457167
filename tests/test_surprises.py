"""Faults that users as hostile as they come have found, each with the right value."""

import dataclasses
import os
import pickle
import shlex
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from support.networks import networks_of
from support.refusals import assert_refused
from support.studies import all_parts, make_part, make_spec, make_study
from support.sweeps import CONFIG

import purejaxvpg
from purejaxvpg import Hyperparams, VPGConfig, by_name, envs, make_learner, make_segment
from purejaxvpg.cli import arguments, parsing, repro, resuming
from purejaxvpg.cli.terminal import patient_output
from purejaxvpg.experiment import merge, save_policy, sweep
from purejaxvpg.experiment.display import words
from purejaxvpg.experiment.files import write_whole
from purejaxvpg.experiment.folder import existing, read_spec
from purejaxvpg.experiment.overall import over_conditions
from purejaxvpg.experiment.planning import Resources, plan
from purejaxvpg.experiment.prepare import make_resources, prepare
from purejaxvpg.experiment.prepared import Options
from purejaxvpg.experiment.progress import Progress
from purejaxvpg.experiment.pruning import make_pruning
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.store import Store
from purejaxvpg.experiment.well_made import check_well_made
from purejaxvpg.report.reproduce import SHARD, python_call
from purejaxvpg.statistics import trailing_return


def begin(folder, spec):
    return Store(spec, folder, StudyRecord(), existing(spec, folder, join=True))


# --------------------------------------------------------------------------------------- FOLDERS


def test_another_study_in_the_folders_place_is_not_written_over(tmp_path):
    """`mv R R-old` while a run is in it, and the same command again with another gamma."""
    folder, spec = tmp_path / "R", make_spec()
    ours, (first, *rest) = begin(folder, spec), all_parts(spec)
    ours.add(first)
    folder.rename(tmp_path / "R-old")
    other = make_spec(hp=Hyperparams(gamma=0.5))
    theirs = begin(folder, other)
    theirs.add(make_part(other, [0]))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(OSError, match=r"another study is in .*R by now; .* are kept in") as lost:
        ours.add(rest[0])
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    place = shlex.split(str(lost.value).split(" are kept in ")[1])[0].rstrip(":")
    assert read_spec(place)[0].hyperparams.gamma == 0.99
    assert len(list((tmp_path / "R").parent.glob("R-rescued-*/parts/*.npz"))) == 2


def test_what_was_done_before_the_lock_was_had_is_not_done_again(tmp_path):
    spec = make_spec()
    ours, parts = begin(tmp_path / "s", spec), all_parts(spec)
    for part in parts:
        begin(tmp_path / "s", spec).add(part)
    assert not ours.parts
    ours.catch_up()
    assert sorted(run for part in ours.parts for run in part.runs) == [0, 1, 2, 3]


def test_merge_records_the_folder_that_it_merges_into(tmp_path):
    spec = make_spec()
    for name, part, version in zip("ab", all_parts(spec), ("0.0.1", "0.0.2"), strict=True):
        record = StudyRecord(versions={"flax": version})
        Store(spec, tmp_path / name, record, None).add(part)
    with pytest.warns(UserWarning, match=r"flax is '0.0.1' or '0.0.2'"):
        merged = merge(tmp_path / "a", [tmp_path / "b"])
    assert merged.complete
    assert (merged.record.merged_from, merged.record.versions["flax"]) == (2, "0.0.1 and 0.0.2")


def test_files_have_the_permissions_that_the_user_gives_new_ones(tmp_path, monkeypatch):
    monkeypatch.setattr("purejaxvpg.experiment.files.UMASK", 0o077)
    write_whole(tmp_path / "private", b"x")
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600


def test_a_policy_takes_no_place_of_other_files(tmp_path):
    params = jax.eval_shape(make_learner(CONFIG).init, jax.random.key(0)).params.policy
    params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), params)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "card.json").write_text("my notes")
    begin(tmp_path / "study", make_spec())
    for name in ("notes", "study"):
        with pytest.raises(FileExistsError, match="holds files that are no policy's"):
            save_policy(tmp_path / name, CONFIG, params)
    assert (tmp_path / "notes" / "card.json").read_text() == "my notes"
    for _ in range(2):  # a policy is replaced by a later one
        save_policy(tmp_path / "policy", CONFIG, params)


def test_a_study_with_policies_travels_to_another_process(tmp_path):
    spec = make_spec()
    store = begin(tmp_path / "s", spec)
    for part in all_parts(spec):
        store.add(part._replace(policies={"params/x": np.ones((2, 3), np.float32)}))
    study = pickle.loads(pickle.dumps(store.study(StudyRecord())))
    assert study.policies.arrays([3])["params/x"].shape == (1, 3)


@pytest.mark.parametrize("lengths", [["x"], [0.5], [10**6], [64, 32], [0]])
def test_lengths_that_cannot_be_are_refused(lengths):
    fields = {**make_spec().to_json(), "lengths": lengths}
    with pytest.raises(ValueError, match="its lengths are"):
        check_well_made(fields)


def test_widths_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"program_widths=\[-3\]"):
        check_well_made({**make_spec().to_json(), "record": {"program_widths": [-3]}})


# -------------------------------------------------------------------------------------- RESUMING


def interrupted(folder, **how):
    """A study of one run, with a checkpoint of a chunk of width 1."""
    spec = make_spec({}, num_seeds=2)
    resources = make_resources(jax.devices()[:1], "runs", 1, None)
    prepared = prepare(spec, Options(resources, **how), folder)
    chunk = prepared.store.chunk_folder(np.array([0]), 0, 4)
    chunk.mkdir(parents=True)
    (chunk / "00000002.npz").write_bytes(b"")
    return spec


def test_a_stray_chunk_size_does_not_begin_a_chunk_again(tmp_path):
    spec = interrupted(tmp_path / "s")
    other = make_resources(jax.devices()[:1], "runs", 2, None)
    with pytest.raises(ValueError, match=r"runs 1 at a time, and chunk_size=2 would begin it ag"):
        prepare(spec, Options(other), tmp_path / "s", True)
    prepare(spec, Options(other, other_settings=True), tmp_path / "s", True)


def test_a_study_that_is_done_is_done_under_any_settings(tmp_path):
    spec = make_spec({}, num_seeds=1)
    resources = make_resources(jax.devices()[:1], "runs", 1, None)
    prepared = prepare(spec, Options(resources), tmp_path / "s")
    prepared.store.add(make_part(spec, [0], states=True))
    record = prepared.record.replace(complete=True)
    prepared.store.describe(spec, record)
    with jax.default_matmul_precision("float32"):
        prepare(spec, Options(resources), tmp_path / "s", True)
    prepared.store.describe(spec, record.replace(complete=False))
    with jax.default_matmul_precision("float32"), pytest.raises(ValueError, match="precision"):
        prepare(spec, Options(resources), tmp_path / "s", True)


def test_a_folder_named_auto_is_a_folder():
    args = parsing.parse(["train", "CartPole-v1", "--out", "auto"])
    line = shlex.split(resuming.command("auto", args))
    assert line == ["purejaxvpg", "train", "--resume", f".{os.sep}auto"]
    assert parsing.parse(line[1:]).resume == f".{os.sep}auto"
    assert parsing.parse(["train", "X", "--resume", "auto"]).resume == "auto"


NOTHING = {
    "--sampler random": "--sampler does nothing without --sample",
    "--sample-seed 3": "--sample-seed does nothing without --sample",
    "--rungs 2": "--rungs does nothing without --prune",
    "--keep 0.5": "--keep does nothing without --prune",
    "--grid gamma=0.9,0.99 --gamma 0.5": "--gamma does nothing beside the axis gamma",
    "--grid": "--grid names nothing",
    "--grid gamma=0.9,,0.99": "'0.9,,0.99' has an empty value",
}


@pytest.mark.parametrize("flags", NOTHING)
def test_flags_that_would_do_nothing_are_refused(flags, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["sweep", "CartPole-v1", "--no-preset", *flags.split()]
    assert_refused(words, NOTHING[flags], capsys)
    assert not list(tmp_path.iterdir())


def test_states_are_not_kept_where_that_is_asked():
    for word, expected in (("no", False), ("yes", True), ("", None)):
        words = ["--keep-states", word] if word else []
        args = parsing.parse(["train", "CartPole-v1", "--no-preset", *words])
        options = arguments.options_of(args, None, "")
        assert options.keep_states is expected


# ------------------------------------------------------------------------------- WHAT REPEATS IT


def test_what_repeats_a_study_has_each_of_its_lengths():
    config = dataclasses.replace(CONFIG, total_steps=480)
    study = make_study(make_spec({}, config=config), parts=[], lengths=[160, 320])
    lines = repro.command(study, "out").splitlines()
    assert "--total-steps 160" in lines[0]
    assert lines[1:] == [
        f"purejaxvpg train --resume out --total-steps {steps}" for steps in (320, 480)
    ]
    call = python_call(study)
    assert "total_steps=160," in call
    assert call.endswith("# then the same with total_steps=480, folder=... and resume=True")


def test_nothing_of_a_folder_is_a_line_of_its_own_in_a_shell():
    record = StudyRecord(versions={"jax": "9\ntouch pwned", "flax": "1; rm x"},
                         device="d\ntouch pwned", xla_flags="' \ntouch pwned")  # fmt: skip
    for line in repro._surroundings(record):
        assert line.startswith("# ")
        assert "\n" not in line
    pip = repro._surroundings(record)[1].removeprefix("# pip install ")
    assert shlex.split(pip) == ["jax==9 touch pwned", "flax==1; rm x"]


def test_a_report_leaves_the_shard_out_however_it_was_given():
    for flag in ("--shard auto", "--shard=1/3"):
        assert SHARD.sub("", f"purejaxvpg sweep X {flag} --out s") == "purejaxvpg sweep X --out s"


def test_plan_refuses_what_a_sweep_refuses():
    spec = make_spec({"env_params.gravity": [9.8, 9.9]})
    spec = spec._replace(pruning=make_pruning("successive_halving", 2, 0.5))
    resources = Resources(jax.devices()[:1], "runs", 1, None)
    with pytest.raises(ValueError, match="no two of the 2 settings have the same"):
        next(iter(plan(spec, resources)))


# ------------------------------------------------------------------------------------ CONDITIONS


def test_settings_over_conditions_are_compared_within_each():
    """Zipped, so that the conditions come in another order under each setting."""
    zipped = {"env": ["CartPole-v1", "Acrobot-v1", "Acrobot-v1", "CartPole-v1"],
              "policy_lr": [1.0, 1.0, 2.0, 2.0]}  # fmt: skip
    spec = make_spec(zipped=zipped, num_seeds=2)
    study = make_study(spec)
    scores = np.array([1.0, 101.0, 102.0, 2.0])
    study.metrics["episode_count"][:] = 20
    study.metrics["episode_return_sum"][:] = 20 * scores[:, None, None]
    first, second = over_conditions(study)
    assert [float(row.rank.value) for row in (first, second)] == [1.0, 2.0]
    assert (first.values, second.values) == ({"policy_lr": 2.0}, {"policy_lr": 1.0})
    assert (first.settings.tolist(), second.settings.tolist()) == ([3, 2], [0, 1])


def test_a_setting_twice_under_one_condition_is_not_under_all():
    zipped = {"env": ["CartPole-v1", "CartPole-v1", "Acrobot-v1", "CartPole-v1"],
              "policy_lr": [1.0, 1.0, 2.0, 2.0]}  # fmt: skip
    study = make_study(make_spec(zipped=zipped, num_seeds=2))
    study.metrics["episode_count"][:] = 20
    assert [row.values for row in over_conditions(study)] == [{"policy_lr": 2.0}]


# -------------------------------------------------------------------------- WHAT PEOPLE PASS IN


class Whole(nn.Module):
    """A torso whose features are integers: no gradient passes them."""

    @nn.compact
    def __call__(self, obs):
        return jnp.int32(10 * nn.Dense(4)(obs))


def refused(error, match, call):
    with pytest.raises(error, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_what_people_pass_in_is_refused_in_one_line():
    segment = "num_updates=0 is out of range; accepted: 1 to"
    refused(ValueError, segment, lambda: make_segment(CONFIG, 0))
    refused(TypeError, "num_updates=2.0 is no integer", lambda: make_segment(CONFIG, 2.0))
    refused(TypeError, "num_updates=True is no integer", lambda: make_segment(CONFIG, True))
    config = VPGConfig(network=Whole())
    networks = networks_of(config, (4,), 2, False)
    refused(TypeError, "Whole returned features of type int32",
            lambda: jax.eval_shape(networks.init, jax.random.key(0), jnp.ones((1, 4))))  # fmt: skip
    refused(TypeError, r"^network=Sequential.*\.\.\. is not hashable",
            lambda: VPGConfig(network=nn.Sequential([nn.Dense(4), nn.tanh])))  # fmt: skip
    for name in (5, "", "a\nb", "a:b"):
        refused(ValueError, "is no name; accepted: text on one line, without a colon",
                lambda name=name: envs.register(name, dict))  # fmt: skip
    envs.register("Broken-v0", lambda: 1 / 0)
    refused(ValueError, "'Broken-v0' cannot be made: ZeroDivisionError: division by zero",
            lambda: envs.make("Broken-v0"))  # fmt: skip
    for given in ("cpu", [], ["cpu"]):
        error = ValueError if given == [] else TypeError
        refused(error, "devices=", lambda given=given: sweep(CONFIG, {}, devices=given))
    refused(ValueError, "setting -1 is not there; accepted: 0 to 1",
            lambda: make_study(make_spec()).setting(-1))  # fmt: skip
    refused(ValueError, "episodes=0 is out of range",
            lambda: trailing_return(np.ones((1, 4)), np.ones((1, 4)), 0))  # fmt: skip
    refused(TypeError, "num_steps=2.5 is no integer", lambda: envs.check_env("CartPole-v1", 2.5))


def bare(_):
    raise ValueError


def test_an_optimizer_that_raises_without_a_word_is_named():
    config = dataclasses.replace(CONFIG, optimizer=bare)
    refused(ValueError, "optimizer=bare must make .*; ValueError", lambda: make_learner(config))


def test_an_object_that_no_import_gives_has_no_path():
    nowhere = lambda rate: rate  # noqa: E731
    nowhere.__module__, nowhere.__qualname__ = "module_from_a_file", "nowhere"
    assert by_name.path_of(nowhere) is None


def test_a_convolution_may_cut_its_edges():
    x, key = jnp.arange(2 * 6 * 5 * 3.0).reshape(2, 6, 5, 3), jax.random.key(0)
    layers = [cls(4, (3, 3), padding=((-1, -1), (0, 2))) for cls in (nn.Conv, purejaxvpg.Conv)]
    variables = layers[0].init(key, x)
    expected, given = (layer.apply(variables, x) for layer in layers)
    np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-4)


# ------------------------------------------------------------------------------ WHAT IS PRINTED


def test_the_time_that_is_left_is_no_wild_guess():
    now = Progress(0, 1, 16, 64_000_000 - 16, 124.0, float("nan"), "running")
    assert "left" not in words(now)
    assert "left" in words(now._replace(steps_done=65_000))
    first = Progress(0, 1, 100, 900, 200.0, float("nan"), "running")  # half a second of it
    assert "left" not in words(first)
    assert "4.0 s left" in words(first._replace(steps_done=200, steps_left=800))


def test_a_stream_that_is_closed_or_none_ends_no_work(monkeypatch):
    for stream in (None, open(os.devnull, "w")):  # noqa: SIM115
        if stream is not None:
            stream.close()
        monkeypatch.setattr(sys, "stdout", stream)
        with patient_output():
            print("nobody reads this")

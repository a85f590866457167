"""Environments in files, `path/mine.py:Name`, and --import: in Python and on the command line."""

import json
import os
import re
import sys
import types
from pathlib import Path

import pytest
from support.files import ENVS, in_folder, other_process, write
from support.refusals import assert_refused
from support.studies import all_parts, make_spec

from purejaxvpg import VPGConfig, cli, envs, presets, user_code
from purejaxvpg.by_name import did_you_mean
from purejaxvpg.cli import arguments, parsing
from purejaxvpg.envs import suites
from purejaxvpg.envs.names import canonical, in_folder_names, shown
from purejaxvpg.experiment import code, load_policy, load_study, merge
from purejaxvpg.experiment.design import make_design
from purejaxvpg.experiment.files import read_described
from purejaxvpg.experiment.folder import existing
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.store import Store
from purejaxvpg.report.labels import setting_labels, value_labels
from purejaxvpg.serialize import config_from_json, config_to_json

TINY = {"num_envs": 2, "num_steps": 8, "total_steps": 32, "hidden_sizes": (4,),
        "value_iterations": 1}  # fmt: skip
FLAGS = ("--num-envs 2 --num-steps 8 --total-steps 32 --hidden-sizes 4 --value-iterations 1 "
         "--chunk-size 1").split()  # fmt: skip


@pytest.fixture
def restart():
    """A function after which nothing is named, read or imported."""
    with other_process() as start:
        yield start


# ------------------------------------------------------------------------------- ONE FORM


def test_a_name_has_one_form(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with in_folder(tmp_path):
        places = ["", "./", "x/../", "~/", f"{tmp_path}/"]
        forms = {canonical(f"{place}mine.py:A") for place in places}
        assert forms == {f"{tmp_path}/mine.py:A"}
    assert canonical("gymnax/CartPole-v1") == "CartPole-v1"
    same = ["CartPole-v1", "brax/ant", "gymnax/", "gymnax/a/b", "mymodule:MyEnv", "mine.py:",
            ".py:A", r"C:\x\mine.py:A", 5]  # fmt: skip
    assert list(map(canonical, same)) == same
    assert VPGConfig(env="gymnax/CartPole-v1") == VPGConfig(env="CartPole-v1")
    assert envs.make("gymnax/CartPole-v1") is envs.make("CartPole-v1")
    assert presets.load("gymnax/CartPole-v1") == presets.load("CartPole-v1")


def test_folders_have_neither_path_nor_colon(tmp_path):
    names = ["brax/ant", "gymnax/CartPole-v1", "a/b/mine.py:My.Env", "pkg.mod:MyEnv", "../..:x",
             "playground/x y*"]  # fmt: skip
    expected = ["brax-ant", "CartPole-v1", "mine-My.Env", "pkg.mod-MyEnv", "x", "playground-x-y"]
    assert list(map(in_folder_names, names)) == expected
    args = parsing.parse(["train", f"{tmp_path}/mine.py:MyEnv"])
    assert re.fullmatch(r"runs/mine-MyEnv-\d{8}-\d{6}", arguments.default_folder(args, None))
    args = parsing.parse(["sweep", "brax/ant", "--grid", "gamma=0.9"])
    assert re.fullmatch(r"runs/brax-ant-sweep-\d{8}-\d{6}", arguments.default_folder(args, None))


def test_values_of_axes_have_the_one_form_and_a_short_label(tmp_path):
    with in_folder(tmp_path):
        names = ["gymnax/CartPole-v1", "a/mine.py:A", "brax/fast"]
        design = make_design(grid={"env": names})
        assert [s["env"] for s in design.settings()] == list(map(canonical, names))
        assert setting_labels(design.settings()) == [
            "env=CartPole-v1", "env=mine.py:A", "env=brax/fast"
        ]  # fmt: skip
        args = parsing.parse(["sweep", "--sample", "env=choice:mine.py:A:CartPole-v1",
                              "--num-samples", "8"])  # fmt: skip
        drawn = {setting["env"] for setting in arguments.design_of(args).settings()}
        assert drawn == {f"{tmp_path}/mine.py:A", "CartPole-v1"}
        assert parsing.config_of(args)[0].env == f"{tmp_path}/mine.py:A"
        assert arguments.typed_files(args) == {"mine.py": "mine.py:A"}
        with pytest.raises(ValueError, match="axis env has 'CartPole-v1' twice"):
            make_design(grid={"env": ["CartPole-v1", "gymnax/CartPole-v1"]})
        two = [canonical("a/mine.py:A"), canonical("b/mine.py:A")]
        assert value_labels(two) == two  # alike without their folders
    assert shown("/x/mine.py:A") == "mine.py:A"
    assert shown(envs.make("CartPole-v1")) == "CartPole-v1"


# ---------------------------------------------------------------------------------- MADE


def test_a_name_in_a_file_stands_for_an_environment(tmp_path, restart):
    """A class, values, functions with and without annotation, and a name that is registered."""
    path = write(tmp_path)
    sizes = {"Five": 5, "instance": 2, "made": 4, "annotated": 6, "factory": 7, "Named-v0": 3}
    for name, size in sizes.items():
        assert envs.make(f"{path}:{name}").obs_shape == (size,)
    assert envs.make(f"{path}:Five", length=3).obs_shape == (3,)
    assert envs.make("Named-v0").obs_shape == (3,)
    with in_folder(tmp_path):
        assert envs.make("mine.py:Five") is envs.make(f"{path}:Five")
    config = VPGConfig(env=f"{path}:Five", **TINY)
    assert config_from_json(json.loads(json.dumps(config_to_json(config)))) == config


def test_files_of_one_name_are_told_apart_and_see_their_neighbours(tmp_path, restart):
    text = "import my_size{0}\n" + ENVS.replace("Five(3)", "Five(my_size{0}.n)")
    for folder, n in (("a", 8), ("b", 9)):
        write(tmp_path / folder, f"n = {n}", f"my_size{n}.py")
        write(tmp_path / folder, text.format(n))
    names = [f"{tmp_path}/{folder}/mine.py:Named-v0" for folder in "abab"]
    assert [envs.make(name).obs_shape for name in names] == [(8,), (9,)] * 2


def test_a_module_that_is_imported_already_is_the_one(tmp_path, restart, monkeypatch):
    path = write(tmp_path, name="my_module_file.py")
    monkeypatch.syspath_prepend(tmp_path)
    import my_module_file

    assert user_code.load_file(path) is my_module_file


REFUSED = {
    "mien.py:Five": (ValueError, "there is no file .*mien.py; did you mean mine.py"),
    "mine.py:Fife": (ValueError, "mine.py has no Fife, .*did you mean Five"),
    "mine.py:Named-v1": (ValueError, "did you mean Named-v0"),
    "mine.py:nothing": (TypeError, "gives a int, which is no environment .* no default_params"),
    "mine.py:probes": (TypeError, "no class in gymnax's style"),
    "mine.py": (ValueError, "it is a file; name one of those that are in it: mine.py:Name"),
    "sub/mine.py": (ValueError, "it is a file; name one of those that are in it"),
    "broken.py:Five": (ValueError, r"imported: ZeroDiv.*broken.py:2 \(1 / x\): division"),
    "stops.py:Five": (ValueError, "stops.py cannot be imported: SystemExit"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_is_no_environment_is_refused_in_one_line(name, tmp_path, restart):
    write(tmp_path)
    write(tmp_path, "x = 0\n1 / x", "broken.py")
    write(tmp_path, "raise SystemExit(3)", "stops.py")
    kind, message = REFUSED[name]
    with in_folder(tmp_path), pytest.raises(kind, match=message) as error:
        envs.make(name)
    assert "\n" not in str(error.value)
    assert str(tmp_path / "stops.py") not in sys.modules


# ------------------------------------------------------------------------- READ FROM FOLDERS


def test_a_file_that_only_a_folder_names_is_called_less(tmp_path, restart, monkeypatch):
    """Functions that do not say what they make: not called, unless the user names the file."""
    path = write(tmp_path)

    def read(name):
        config_from_json(config_to_json(VPGConfig(env=f"{path}:{name}")))
        return envs.make(f"{path}:{name}").obs_shape

    for name, size in {"Five": 5, "annotated": 6, "instance": 2, "Named-v0": 3}.items():
        assert read(name) == (size,)
    with pytest.raises(TypeError, match=f"a folder names it, so it is not called.*--import {path}"):
        read("factory")
    assert envs.import_code(path) == path
    assert read("factory") == (7,)
    with pytest.raises(ValueError, match="accepted there: a path from the root"):
        config_from_json({"env": "mine.py:Five"})
    restart()
    monkeypatch.setattr(user_code, "_owner", lambda _: os.getuid() + 1)
    with pytest.raises(ValueError, match=r"is code of another user .*--import"):
        read("Five")
    user_code.give(path)
    assert read("Five") == (5,)


def test_a_file_that_is_typed_is_no_other_one(tmp_path, restart):
    """A slip in a folder's name is not taken for a file that was moved."""
    path, slip = write(tmp_path / "a"), f"{tmp_path}/b/mine.py"
    user_code.give(path)
    with pytest.raises(ValueError, match=f"there is no file {slip}$"):
        envs.make(f"{slip}:Five")
    user_code.note_read(f"{slip}:Five")
    assert envs.make(f"{slip}:Five").obs_shape == (5,)
    restart()
    user_code.note_read(f"{slip}:Five")
    with pytest.raises(ValueError, match="if it was moved, give its new place: --import NEW/mine"):
        envs.make(f"{slip}:Five")


def test_import_takes_modules_and_files(tmp_path, restart, monkeypatch):
    write(tmp_path, "from purejaxvpg import envs\nenvs.register('My-v1', print)", "my_names.py")
    monkeypatch.syspath_prepend(tmp_path)
    assert envs.import_code("my_names") == "my_names"
    assert "My-v1" in envs.registered()
    for name, kind, line in [
        ("no_such_module", ImportError, "module no_such_module cannot be imported"),
        ("a b", ValueError, "import of 'a b'; accepted: a module such as"),
        (f"{tmp_path}/no.py", ImportError, "there is no file"),
        (5, ValueError, "import of 5"),
    ]:
        with pytest.raises(kind, match=line):
            envs.import_code(name)


# ------------------------------------------------------------------------ FROM TRAIN TO EXPORT


def run(*words):
    """A command that succeeds."""
    assert cli.main([*map(str, words)]) == 0


def test_a_file_is_trained_resumed_and_exported(tmp_path, restart, capsys):
    """From other working directories; changed, and moved."""
    path = write(tmp_path / "code")
    with in_folder(tmp_path / "code"):
        run("train", "mine.py:Five", *FLAGS, "--out", tmp_path / "run")
    fields = read_described(tmp_path / "run" / "run.json", [3])
    assert fields["config"]["env"] == f"{path}:Five"
    assert list(fields["record"]["files"]) == [path]
    out = capsys.readouterr().out
    assert "mine.py:Five: return after 32 steps" in out
    assert "imported now" not in out

    restart()
    Path(path).write_text(ENVS + "\n# changed")
    run("train", "--resume", tmp_path / "run", "--total-steps", "64")
    out = capsys.readouterr().out
    assert f"code that {tmp_path}/run names, imported now: {path}" in out
    assert "training longer" in out
    assert f"{path} was changed since: the numbers may be others" in out

    restart()
    moved = write(tmp_path / "elsewhere")
    Path(path).unlink()
    words = ["export", str(tmp_path / "run"), "--num-episodes", "2", "--no-compiled"]
    line = f"there is no file {path}, where it was when the folder was written; if it was moved"
    assert_refused(words, line, capsys)
    run(*words, "--import", moved)
    out = capsys.readouterr().out
    assert f"code that {tmp_path}/run names, imported now: {moved}" in out
    assert f"{path} is not there, and {moved} is taken for it\n" in out
    assert load_policy(tmp_path / "run" / "policy").card["config"]["env"] == f"{path}:Five"


def test_the_same_file_elsewhere_is_the_same_study(tmp_path, restart):
    """On another machine, and in shards."""
    one, two = (write(tmp_path / name) for name in ("one", "two"))

    def shard_of(path, part):
        config = VPGConfig(env=f"{path}:Five", **TINY)
        spec = make_spec(grid={"env": [f"{path}:Five", "CartPole-v1"]}, config=config)
        record = StudyRecord(files=code.sums(code.files_of(spec)))
        Store(spec, tmp_path / f"run{part}", record).add(all_parts(spec)[part])
        return spec

    shard_of(one, 0)
    spec = shard_of(two, 1)
    study = merge(tmp_path / "both", [tmp_path / "run0", tmp_path / "run1"])
    assert study.complete
    assert study.config.env == f"{one}:Five"
    Path(one).unlink()
    restart()
    there = code.as_begun(spec, tmp_path / "run0")
    assert [s["env"] for s in there.design.settings()] == [f"{one}:Five", "CartPole-v1"]
    assert existing(there, tmp_path / "run0", join=True).spec.config.env == f"{one}:Five"
    assert envs.make(f"{one}:factory").obs_shape == (7,)  # the file that the user named
    Path(two).write_text(ENVS + "\n")
    assert code.as_begun(spec, tmp_path / "run0") is spec
    with pytest.raises(ValueError, match="holds another study"):
        existing(spec, tmp_path / "run0", join=True)


def test_what_is_imported_is_recorded_and_imported_again(tmp_path, restart, capsys):
    """--import of a file that registers a name; reproduced without it."""
    path = write(tmp_path)
    assert_refused(["train", "Named-v0", *FLAGS], "--import it", capsys)
    with in_folder(tmp_path):
        run("train", "--import", "mine.py", "Named-v0", *FLAGS, "--out", "run")
        restart()
        run("repro", "run", "--execute")
        out = capsys.readouterr().out
        assert f"code that run names, imported now: {path}" in out
        assert f"--import {path}" in out
        assert "run and run-again: the same, every bit" in out
    assert list(load_study(tmp_path / "run-again").record.imports) == [path]


def test_the_line_to_go_on_names_a_file_that_must_be_named(tmp_path, restart):
    from purejaxvpg.cli import resuming

    path = write(tmp_path)
    for name, words in (("Five", ""), ("Named-v0", ""), ("factory", f" --import {path}")):
        args = parsing.parse(["train", f"{path}:{name}"])
        assert resuming.command("x", args) == f"purejaxvpg train --resume x{words}"
    args = parsing.parse(["train", "--resume", "x", "--import", "my_module"])
    assert resuming.command("x", args) == "purejaxvpg train --resume x --import my_module"


def test_a_sweep_over_environments_and_files(tmp_path, restart, capsys):
    """To the report, whose labels are short."""
    path = write(tmp_path)
    grid = f"env=gymnax/CartPole-v1,{path}:Five"
    run("sweep", *FLAGS, "--grid", grid, "--out", tmp_path / "s")
    out = capsys.readouterr().out
    assert "env=mine.py:Five" in out
    study = load_study(tmp_path / "s")
    assert study.design.conditions == ("env",)
    assert study.where(env="gymnax/CartPole-v1").tolist() == [0]
    with in_folder(tmp_path):
        assert study.where(env="mine.py:Five").tolist() == [1]
    page = (tmp_path / "s" / "report" / "report.html").read_text()
    assert "mine.py:Five" in page


# ------------------------------------------------------------------------------ OF A SUITE


@pytest.fixture
def suite(monkeypatch):
    """A suite `fake` with three names, whose library is (not) there."""
    adapter = types.ModuleType("purejaxvpg.envs.fake_adapter")
    adapter.NAMES, adapter.DOWNLOADS = ("Ant", "Bee-v0", "Cat"), ("Cat",)
    adapter.make = lambda name, **kwargs: envs.make("CartPole-v1", **kwargs)
    monkeypatch.setitem(sys.modules, adapter.__name__, adapter)
    monkeypatch.setitem(suites.SUITES, "fake", suites.Suite("json", "fake"))
    monkeypatch.setitem(suites.SUITES, "away", suites.Suite("no_such_library", "away"))
    monkeypatch.setitem(sys.modules, "purejaxvpg.envs.away_adapter", adapter)
    return adapter


def test_environments_of_suites_are_listed_and_described(suite, capsys):
    run("envs")
    rows = {
        words[0]: words[1:]
        for line in capsys.readouterr().out.splitlines()
        if (words := line.strip("│ ").replace("│", " ").split())
    }
    assert rows["fake"] == ["3", "yes"]
    assert rows["away"] == ["3", "no:", "pip", "install", "'purejaxvpg[away]'"]
    assert rows["CartPole-v1"][0] == "Box(4,)"
    run("envs", "away")
    assert capsys.readouterr().out.splitlines() == [
        "away/Ant", "away/Bee-v0", "away/Cat (downloads its data when it is made)",
        "not installed; run: pip install 'purejaxvpg[away]'",
    ]  # fmt: skip
    run("envs", "fake/Bee-v0")
    out = capsys.readouterr().out
    for line in ("environment  fake/Bee-v0", "action       Discrete(2)", "time limit   500"):
        assert line in out
    assert re.search(r"gravity +│ 9.8 +│ traced", out)
    run("envs", "fake/Cat")
    assert "downloads its data when it is made, so it is not made here" in capsys.readouterr().out


CLOSE = {"fak/Ant": "did you mean fake?", "fake/Bea-v0": "did you mean Bee-v0?",
         "fak": "did you mean fake", "ant": "fake/Ant",
         "CartPol-v1": "did you mean CartPole-v1", "gymnax/CartPol-v1": "did you mean CartPole-v1",
         "away/Ant": "pip install 'purejaxvpg[away]'"}  # fmt: skip


@pytest.mark.parametrize("name", CLOSE)
def test_misspelt_names_get_the_close_ones(name, suite, capsys):
    assert_refused(["envs", name], CLOSE[name], capsys)


def test_names_of_suites_are_not_registered(suite):
    assert envs.make("fake/Ant", gravity=5.0).name == "fake/Ant"
    assert envs.make("fake/Ant", gravity=5.0).default_params.gravity == 5.0
    with pytest.raises(ValueError, match="is one of the suite fake; choose another"):
        envs.register("fake/Mine", print)


def test_parameters_that_a_branch_needs_are_not_traced(restart, tmp_path, capsys):
    text = (
        ENVS
        + '''

class Branching(Five):
    """Its code branches on a parameter."""

    def outcome(self, state, action, params):
        return (1.0 if params.reward > 0 else 0.0), state.time + 1 >= self.length
'''
    )
    run("envs", f"{write(tmp_path, text)}:Branching")
    out = capsys.readouterr().out
    assert re.search(r"reward +│ 1.0 +│ not traced", out)
    assert re.search(r"max_steps_in_episode +│ \d+ +│ traced: one program", out)


def test_presets_of_suites(suite, monkeypatch, tmp_path):
    """A preset of suite/name is a file in the suite's folder."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "Bee-v0.toml").write_text("[hyperparams]\ngamma = 0.5\n")
    (tmp_path / "CartPole-v1.toml").write_text("[config]\nnum_envs = 4\n")
    monkeypatch.setattr(presets.resources, "files", lambda _: tmp_path)
    assert presets.available() == ["CartPole-v1", "fake/Bee-v0"]
    assert presets.load("fake/Bee-v0").hyperparams.gamma == 0.5
    assert presets.load("fake/Bee-v0").config.env == "fake/Bee-v0"
    assert parsing.parse(["train", "fake/Bee-v0"]).gamma == 0.5
    assert parsing.parse(["train", "gymnax/CartPole-v1"]).num_envs == 4
    assert did_you_mean("fake/Bee", presets.available()) == "did you mean fake/Bee-v0?"

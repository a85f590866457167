"""The doctor says what is installed and what is wrong with it, and names nobody."""

import getpass
import json
import os
import socket

import pytest
from gymnax.environments.environment import Environment

from purejaxvpg import cli
from purejaxvpg.cli import doctor
from purejaxvpg.experiment import conflicts, self_test, surroundings

CPU, GPU = ({"platform": name, "kind": name} for name in ("cpu", "gpu"))
FINE = {"folder": "/c", "exists": True, "writable": True, "free MB": 1000, "used": True}


@pytest.fixture
def installed(monkeypatch):
    """Versions of packages, as a test sets them; others are not installed."""
    versions = {"jax": "0.9.2", "jaxlib": "0.9.2"}
    monkeypatch.setattr(conflicts, "version_of", lambda name: versions.get(name, ""))
    return versions


# ------------------------------------------------------------------------------------ PROBLEMS


def test_jaxlib_that_deadlocks(installed):
    installed.update(jax="0.10.1", jaxlib="0.10.1")
    (line,) = conflicts.versions_apart()
    assert line.startswith("jaxlib 0.10.1 can deadlock")
    assert line.endswith("pip install 'jax>=0.9,!=0.10.*,<0.12'")


def test_jax_and_jaxlib_and_plugins_of_other_versions(installed):
    assert conflicts.versions_apart() == []
    installed["jaxlib"] = "0.9.0"  # a patch apart is what jax allows
    assert conflicts.versions_apart() == []
    installed.update({"jaxlib": "0.11.2", "jax-cuda12-plugin": "0.9.2"})
    apart, plugin = conflicts.versions_apart()
    assert "jax 0.9.2 and jaxlib 0.11.2 do not belong together" in apart
    assert plugin == (
        "jax-cuda12-plugin 0.9.2 is not for jaxlib 0.11.2, and jax leaves the GPU unused; "
        "pip install 'jax[cuda12]==0.9.2'"
    )


def test_requirements_that_are_not_met(monkeypatch):
    lines = [
        "numpy<1", "nothing-like-this>=2", "xarray>=9999; extra == 'sweep'",
        "neither-this; extra == 'sweep'", "scipy<1; python_version < '3'",
    ]  # fmt: skip
    monkeypatch.setattr(conflicts, "requirements", lambda: lines)
    found = [line for line in conflicts.unmet() if "purejaxvpg needs" in line]
    assert [line.split(":")[0].split()[0] for line in found] == [
        "numpy", "nothing-like-this", "xarray"
    ]  # fmt: skip
    assert found[1] == (
        "nothing-like-this is missing: purejaxvpg needs >=2; pip install 'nothing-like-this>=2'"
    )


def test_packages_that_write_the_same_files(installed):
    installed["opencv-python"] = "4.9"
    assert conflicts.same_files() == []
    installed.update({"opencv-python-headless": "4.9", "pygame": "2.6", "pygame-ce": "2.5"})
    opencv, pygame = conflicts.same_files()
    assert opencv == (
        "opencv-python and opencv-python-headless write the same files; keep one: pip uninstall -y "
        "opencv-python opencv-python-headless; pip install opencv-python-headless"
    )
    assert pygame.endswith("pip uninstall -y pygame pygame-ce; pip install pygame-ce")


def test_a_gymnax_that_was_overwritten(installed, monkeypatch):
    assert conflicts.overwritten() == []
    installed.update({"gymnax": "1.0.1", "popgym-arcade": "0.1"})
    monkeypatch.delattr(Environment, "is_truncated")
    assert conflicts.overwritten() == [
        "gymnax 1.0.1 is not what its version says: its Environment lacks is_truncated, so its "
        "files were overwritten (by popgym-arcade; uninstall that first); pip install "
        "--force-reinstall --no-deps 'gymnax>=1.0'"
    ]


def test_a_gpu_that_jax_does_not_use(installed, monkeypatch, tmp_path):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr(conflicts, "NVIDIA", (str(tmp_path / "nvidia0"),))
    assert conflicts.without_gpu([CPU]) == []
    (tmp_path / "nvidia0").touch()
    assert conflicts.without_gpu([GPU]) == []
    (line,) = conflicts.without_gpu([CPU])
    assert "has no plugin for it; pip install 'purejaxvpg[cuda12]'" in line
    installed["jax-cuda12-plugin"] = "0.9.2"
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/local/cuda/lib64")
    (line,) = conflicts.without_gpu([CPU])
    assert "jax does not use it; unset LD_LIBRARY_PATH" in line
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # chosen
    assert conflicts.without_gpu([CPU]) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"folder": None}, "set JAX_COMPILATION_CACHE_DIR"),
        ({"exists": False}, "/c is not there"),
        ({"writable": False}, "/c cannot be written"),
        ({"free MB": 9}, "nearly full (9 MB)"),
    ],
)
def test_the_cache(changes, words):
    lines = conflicts.cache_problems(FINE | changes)
    assert lines == [] if words is None else words in lines[0]


def test_settings_left_from_debugging():
    (line,) = conflicts.slow_settings({"JAX_DISABLE_JIT": "1", "JAX_DEBUG_NANS": "0"})
    assert line == "JAX_DISABLE_JIT=1 makes everything many times slower; unset JAX_DISABLE_JIT"


def test_devices_are_named_once():
    h200 = {"platform": "gpu", "kind": "NVIDIA H200", "memory (GiB)": 139.8}
    assert doctor._device({"platform": "cpu", "kind": "cpu"}) == "cpu"
    assert doctor._device(h200) == "gpu NVIDIA H200 (139.8 GiB)"


# ----------------------------------------------------------------------------------- SELF-TEST


def test_the_self_test_trains_to_the_recorded_numbers():
    outcome = self_test.self_test()
    assert (outcome.differing, outcome.unusual) == ({}, {})
    assert set(outcome.numbers) == set(self_test.RECORDED)


def test_numbers_that_differ():
    right = self_test.RECORDED
    near = right | {"entropy": right["entropy"] + 5e-6}
    assert self_test.differing(near) == {}
    wrong = right | {"entropy": right["entropy"] + 2e-5, "value_loss": float("nan")}
    assert set(self_test.differing(wrong)) == {"entropy", "value_loss"}


def test_a_difference_is_a_problem_unless_a_setting_explains_it(monkeypatch):
    outcome = self_test.Outcome({"entropy": 0.5}, {"entropy": (0.5, 0.6)}, {}, 1.0)
    monkeypatch.setattr(doctor, "self_test", lambda: outcome)
    fields, (line,) = doctor._tested()
    assert "other numbers (entropy is 0.5 and not 0.6)" in line
    assert fields["differing"] == ["entropy"]
    explained = outcome._replace(unusual={"jax_enable_x64": True})
    monkeypatch.setattr(doctor, "self_test", lambda: explained)
    fields, lines = doctor._tested()
    assert lines == []
    assert fields["expected with these settings"]


# ------------------------------------------------------------------------------------ THE COMMAND


def test_it_names_nobody(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    monkeypatch.setattr(socket, "gethostname", lambda: "hal9")
    text = "/home/ann/x and /scratch/ann/y on hal9, of annotated /home/annex"
    assert surroundings.private(text) == "~/x and /scratch/USER/y on HOST, of annotated /home/annex"


def test_the_command(capsys, monkeypatch):
    assert cli.main(["doctor", "--quick"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "purejaxvpg", "python", "extras:", "machine:", "devices:", "settings:", "compiled",
        "self-test:", "no",
    ]  # fmt: skip
    assert f"jax {surroundings.version_of('jax')}, jaxlib" in lines[1]
    assert "jax_enable_x64=False" in lines[5]
    assert "rank_promotion" not in lines[5]
    assert os.path.expanduser("~") not in "\n".join(lines)
    monkeypatch.setattr(conflicts, "same_files", lambda: ["two of them; keep one"])
    assert cli.main(["doctor", "--quick"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "problem: two of them; keep one"
    assert cli.main(["doctor", "--quick", "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["problems"] == ["two of them; keep one"]
    assert facts["versions"]["jax"] == surroundings.version_of("jax")
    assert facts["devices"][0]["platform"] == "cpu"


def test_extras_are_read_from_what_is_installed(monkeypatch):
    lines = ["tyro>=1.0; extra == 'cli'", "jax[cuda12]>=0.9; extra == 'cuda12'", "numpy",
             "nothing-like-this; python_version > '3' and extra == 'brax'"]  # fmt: skip
    monkeypatch.setattr(surroundings, "requirements", lambda: lines)
    extras = surroundings.extras()
    assert extras["cli"] == {"tyro": surroundings.version_of("tyro")}
    assert (extras["brax"], list(extras["cuda12"])) == (
        {"nothing-like-this": ""}, ["jax-cuda12-plugin"]
    )  # fmt: skip
    assert doctor._extra(("brax", extras["brax"])) == "brax no"

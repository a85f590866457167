"""What surrounds a process and stops none of it: variables of the environment, warnings as errors,
guards of transfers, a cache of compiled programs that a full disk cut."""

import os
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental.compilation_cache import compilation_cache
from support.processes import MAIN
from support.sweeps import CONFIG

from purejaxvpg import Hyperparams, VPGConfig, cli, make_learner
from purejaxvpg.agent import global_norm
from purejaxvpg.cli.terminal import warnings_as_lines
from purejaxvpg.experiment import sweep
from purejaxvpg.extras import variable_at_fault

# --------------------------------------------------------------------- VARIABLES OF THE ENVIRONMENT


def run(command, **variables):
    own = {**os.environ, **variables}
    return subprocess.run(command, env=own, capture_output=True, text=True, timeout=200)


def test_a_setting_of_jax_that_is_none_is_one_line():
    done = run([*MAIN, "--version"], JAX_ENABLE_X64="maybe")
    assert done.returncode == 2
    assert done.stderr == (
        "purejaxvpg: error: JAX_ENABLE_X64=maybe is not accepted (invalid truth value 'maybe' for "
        "environment 'JAX_ENABLE_X64'); correct it, or unset it\n"
    )


def test_without_docstrings_the_config_is_documented_and_the_command_is_refused_in_one_line():
    code = """
import sys
from purejaxvpg.__main__ import main
from purejaxvpg.config import VPGConfig
print("Fields (default)" in VPGConfig.__doc__, file=sys.stderr)
sys.argv = ["purejaxvpg", "--version"]
sys.exit(main())
"""
    done = run([sys.executable, "-OO", "-c", code])
    assert done.returncode == 2
    doc, error = done.stderr.splitlines()
    assert doc == "True"
    assert error.startswith("purejaxvpg: error: a library that this needs cannot be imported")
    assert error.endswith("unset it, or use PYTHONOPTIMIZE=1")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("JAX_DEFAULT_PRNG_IMPL", "foo", 'Invalid value "foo" for JAX flag jax_default_prng_impl'),
        ("SOURCE_DATE_EPOCH", "abc", "invalid literal for int() with base 10: 'abc'"),
    ],
)
def test_an_import_names_the_variable_that_it_failed_by(monkeypatch, name, text, message):
    monkeypatch.setenv(name, text)
    line = variable_at_fault(ValueError(message))
    assert line == f"{name}={text} is not accepted ({message}); correct it, or unset it"
    assert variable_at_fault(ValueError("another fault")) == ""
    assert variable_at_fault(TypeError(message)) == ""


# ------------------------------------------------------------------------------------- WARNINGS


def test_an_update_warns_of_nothing():
    """PYTHONWARNINGS=error is how people look for what will break."""
    config = VPGConfig(num_envs=2, num_steps=3, total_steps=6, hidden_sizes=(5,))
    learner, hp = make_learner(config), Hyperparams()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jax.eval_shape(lambda key: learner.update(learner.init(key, hp), hp), jax.random.key(0))


def test_the_norm_is_that_of_all_arrays_together():
    tree = {"a": jnp.asarray([3.0]), "b": {"c": jnp.asarray([[0.0, 4.0]])}}
    assert global_norm(tree) == 5
    numbers = jax.random.normal(jax.random.key(0), (7, 13)), jnp.asarray(0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert global_norm(numbers) == optax.global_norm(numbers)  # bit for bit


# -------------------------------------------------------------------------------- TRANSFER GUARD


def test_a_guard_of_transfers_stops_no_study(tmp_path):
    how = {"chunk_size": 1, "devices": jax.devices()[:1], "progress": False}
    plain = sweep(CONFIG, {"gamma": [0.9, 0.99]}, 1, folder=tmp_path, **how)
    with jax.transfer_guard("disallow"):
        guarded = sweep(CONFIG, {"gamma": [0.9, 0.99]}, 1, **how)
        assert cli.main(["eval", str(tmp_path), "--num-episodes", "1", "--greedy"]) == 0
        with pytest.raises(Exception, match="Disallowed"):  # the guard is the user's again
            jnp.add(jnp.asarray([1.0]), np.asarray([1.0]))
    for name, values in plain.metrics.items():
        np.testing.assert_array_equal(values, guarded.metrics[name], name)


# ------------------------------------------------------------------- CACHE OF COMPILED PROGRAMS

CACHE = {
    "jax_enable_compilation_cache": True,
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": 0,
}


@pytest.fixture
def cache(tmp_path):
    """A cache of its own, which is jax's until the test ends."""
    names = [*CACHE, "jax_compilation_cache_dir"]
    before = {name: getattr(jax.config, name) for name in names}
    folder = tmp_path / "cache"
    folder.mkdir()
    for name, value in {**CACHE, "jax_compilation_cache_dir": str(folder)}.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield folder
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def compile_anew():
    """Compile one small program, or take it from the cache."""
    return jax.jit(lambda x: 3.25 * x + 7).lower(jax.ShapeDtypeStruct((3,), jnp.float32)).compile()


def cut(folder):
    """The one program in the cache, half of it."""
    (path,) = folder.glob("*-cache")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.filterwarnings("always")
def test_a_program_that_a_full_disk_cut_is_removed_and_kept_anew(cache, capsys):
    compile_anew()
    path = cut(cache)
    (cache / "another-cache").write_bytes(b"")
    (cache / "notes.txt").write_text("a user's own")
    half = path.read_bytes()
    with warnings_as_lines(cache):
        compile_anew()
        compile_anew()  # now it is whole, and nothing is said of it
    printed = capsys.readouterr()
    line = f"removed from {cache}, and compiled again: 2 compiled programs cut short, as by a full"
    assert printed.out == f"{line} disk\n"
    assert printed.err == ""
    assert len(path.read_bytes()) > len(half)
    assert (cache / "notes.txt").exists()


@pytest.mark.filterwarnings("always")
def test_a_cut_program_in_a_cache_of_the_users_choice_stays(cache, capsys):
    compile_anew()
    path = cut(cache)
    half = path.read_bytes()
    with warnings_as_lines(None):
        compile_anew()
        compile_anew()
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 1  # once, and not for each program
    assert printed.out.startswith(f"a compiled program in {cache} cannot be read (")
    assert printed.out.endswith("compiled again at each start until it is removed there\n")
    assert printed.err == ""
    assert path.read_bytes() == half

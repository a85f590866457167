"""Every benchmark still runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.slow import slow_but

FOLDER = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = sorted(path.name for path in FOLDER.glob("[!_]*.py"))


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Environment of scripts whose numbers nobody reads: they share what they compile, untuned."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
    return os.environ | {
        "XLA_FLAGS": flags.strip(),
        "JAX_ENABLE_COMPILATION_CACHE": "true",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("programs")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


@pytest.mark.parametrize("script", slow_but(["throughput.py"], SCRIPTS))
def test_smoke(script, tmp_path, quick):
    done = subprocess.run(
        [sys.executable, FOLDER / script, "--smoke", "--json", tmp_path / "out.json"],
        capture_output=True,
        text=True,
        timeout=250,
        env=quick,
    )
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["results"]
    assert written["where"]["jax"] in done.stdout


def test_a_suite_without_presets_is_one_line(quick):
    done = subprocess.run(
        [sys.executable, FOLDER / "presets.py", "--suite", "octax"],
        capture_output=True,
        text=True,
        timeout=250,
        env=quick,
    )
    assert done.returncode == 2
    assert done.stderr.endswith("error: no presets of octax, or not installed\n")

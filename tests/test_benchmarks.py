"""Every benchmark still runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = sorted(path.name for path in FOLDER.glob("[!_]*.py"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_smoke(script, tmp_path):
    done = subprocess.run(
        [sys.executable, FOLDER / script, "--smoke", "--json", tmp_path / "out.json"],
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["results"]
    assert written["where"]["jax"] in done.stdout

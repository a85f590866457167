"""The README says nothing that does not run."""

import re
import shlex
from pathlib import Path

import pytest

from purejaxvpg import envs
from purejaxvpg.cli import flags, parsing

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = re.findall(r"^(?:scripts|purejaxvpg|python) .*$|^scripts/.*$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_python_blocks_run(block, monkeypatch):
    monkeypatch.setattr(envs, "_user_factories", {})
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})


def test_commands_parse_and_scripts_exist():
    assert len(COMMANDS) >= 6
    for command in COMMANDS:
        program, *arguments = shlex.split(command, comments=True)
        if program == "purejaxvpg":
            parsed = parsing.parse(arguments)
            if isinstance(parsed, flags.Train):
                parsing.config_of(parsed)
        else:
            assert (ROOT / (arguments[0] if program == "python" else program)).is_file(), command


def test_links_and_pictures_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target

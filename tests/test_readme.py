"""The README says nothing that does not run."""

import pytest
from support import files, pages

README = pages.ROOT / "README.md"
TEXT = README.read_text()
BLOCKS = pages.blocks(TEXT, "python")
COMMANDS = [words for block in pages.blocks(TEXT, "bash") for words in pages.commands(block.code)]


@pytest.mark.parametrize("block", BLOCKS, ids=[f"line-{block.line}" for block in BLOCKS])
def test_python_blocks_run(block, tmp_path):
    with files.other_process(), files.in_folder(tmp_path):
        pages.run_python(block, "README.md", {"__name__": "readme"})


def test_commands_parse_and_scripts_exist():
    assert len(COMMANDS) >= 6
    for words in COMMANDS:
        pages.check_command(words)


def test_links_and_pictures_exist():
    assert pages.broken_links(README) == []

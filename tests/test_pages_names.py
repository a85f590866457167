"""Names that the pages promise are there: metrics, fields, flags, figures."""

import dataclasses
import re
import tomllib
from pathlib import Path

from purejaxvpg import Hyperparams, Metrics, VPGConfig
from purejaxvpg.cli import flags

DOCS = Path(__file__).parent.parent / "docs"
FIELDS = {field.name for cls in (VPGConfig, Hyperparams) for field in dataclasses.fields(cls)}
# In the tables of coming_from.md: arguments of `train` and `sweep`, and metrics.
OTHERS = {"num_seeds", "first_seed", "on_segment", "split", "make_evaluate", *Metrics._fields}


def rows(page):
    """Cells of every table row of a page."""
    lines = (DOCS / page).read_text().splitlines()
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("| ")]


def quoted(cell):
    return re.findall(r"`([^`]+)`", cell)


def test_every_metric_has_a_row_with_its_unit_and_what_is_healthy():
    described = {quoted(row[0])[0]: row for row in rows("results.md") if quoted(row[0])}
    for name in Metrics._fields:
        assert len(described[name]) == 4, name
        assert all(cell.strip() for cell in described[name]), name


def test_every_name_of_ours_beside_one_of_another_library_is_there():
    command = next(cls for cls, name, _ in flags.COMMANDS if name == "train")
    train = {field.name for field in dataclasses.fields(command)}
    names, seen = FIELDS | OTHERS, set()
    for theirs, ours, *_ in (row for row in rows("coming_from.md") if len(row) == 3):
        for text in quoted(ours) if quoted(theirs) else ():
            for flag in re.findall(r"--([a-z-]+)", text):
                if not text.startswith("purejaxvpg"):
                    assert flag.replace("-", "_") in train, text
            if re.match(r"[a-z_]+(=[^=]|$)", text):
                called = re.findall(r"(?:^|, )([a-z_]+)(?==)", text) or [text]
                seen.update(called)
                assert set(called) <= names, text
    assert len(seen) > 30


def test_every_preset_has_a_row_of_what_it_reaches():
    table = [row[0].strip() for row in rows("benchmarks.md")]
    presets = [path.stem for path in Path(flags.__file__).parents[1].glob("presets/*.toml")]
    assert presets
    assert set(presets) <= set(table)


def test_every_extra_has_a_row():
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]
    named = {name for row in rows("install.md") for name in quoted(row[0])}
    assert set(project["optional-dependencies"]) <= named

"""docs/settings.md says what the fields say, and its hand-written words are true."""

import dataclasses
import importlib.util

import pytest
from support import pages

from purejaxvpg import Hyperparams, VPGConfig
from purejaxvpg.cli import flags

SCRIPT = pages.ROOT / "scripts" / "settings.py"
spec = importlib.util.spec_from_file_location("settings_script", SCRIPT)
assert spec is not None
settings = importlib.util.module_from_spec(spec)
assert spec.loader is not None
spec.loader.exec_module(settings)
PAGE = (pages.DOCS / "settings.md").read_text()
FIELDS = [f for cls in (Hyperparams, VPGConfig) for f in dataclasses.fields(cls)]


def test_the_page_is_up_to_date():
    assert settings.text() == PAGE, "run: python scripts/settings.py"


def test_every_setting_has_its_entry_and_every_flag_its_line():
    kinds = {Hyperparams: "traced", VPGConfig: "static"}
    for cls, kind in kinds.items():
        for field in dataclasses.fields(cls):
            entry = PAGE.split(f"\n### {field.name}\n")[1].split("\n### ")[0]
            assert f" · {kind} · " in entry
    for cls, name, _ in flags.COMMANDS:
        assert f"### purejaxvpg {name}\n" in PAGE
        for field in dataclasses.fields(cls):
            if "Positional" not in str(field.type):
                assert f"`--{flags.SPELT.get(field.name, field.name).replace('_', '-')}" in PAGE


def test_advice_is_about_settings_that_there_are():
    names = {field.name for field in FIELDS}
    assert set(settings.FIRST) <= names
    assert set(settings.ACCEPTED) <= names


@pytest.mark.parametrize("cls", [Hyperparams, VPGConfig], ids=["traced", "static"])
def test_bounds_are_those_that_are_checked(cls):
    """Each number just outside of the bounds on the page is refused, and the bound is not."""
    outside = {"an integer >= 0": -1, "an integer >= 1": 0, "a finite number >= 0": -0.1,
               "a number in [0, 1]": 1.1, "a finite number > 0": 0.0,
               "a number in [0, init_std)": 0.6,
               "a number > 0 (inf: no clipping)": 0.0}  # fmt: skip
    inside = {"an integer >= 0": 0, "an integer >= 1": 1, "a number in [0, 1]": 1.0,
              "a finite number >= 0": 0.0, "a number in [0, init_std)": 0.0,
              "a number > 0 (inf: no clipping)": float("inf")}  # fmt: skip
    checked = 0
    for field in dataclasses.fields(cls):
        accepted = settings.accepted(field).removeprefix("None, or ")
        if accepted in inside and field.name not in ("num_envs", "num_steps", "total_steps"):
            cls(**{field.name: inside[accepted]})
        if accepted in outside:
            checked += 1
            with pytest.raises((ValueError, TypeError), match=field.name):
                cls(**{field.name: outside[accepted]})
    assert checked >= 9

"""Sentences of the page, which texts.toml holds."""

import functools
import tomllib
from importlib import resources
from typing import Any

FILES = resources.files("purejaxvpg.report")


def words(section: str, *names: str | None, **values: Any) -> str:
    """Sentences of a section, one after another, with values put in; None leaves one out."""
    sentences = texts(section)
    return " ".join(sentences[name].strip().format(**values) for name in names if name is not None)


@functools.cache
def texts(section: str) -> dict[str, str]:
    """Texts of a section by name."""
    return tomllib.loads((FILES / "texts.toml").read_text(encoding="utf-8"))[section]

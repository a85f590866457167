"""The wheel and the sdist; versions that are in step; the files for a code host."""

import dataclasses
import email.message
import importlib.util
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def field(name, text):
    """The value of `name: value` on a line of its own."""
    lines = re.findall(rf"^{name}: (.*)$", text, re.MULTILINE)
    assert len(lines) == 1, name
    return lines[0]


def script(path):
    """A script, imported."""
    spec = importlib.util.spec_from_file_location("script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RELEASE = script(ROOT / "scripts" / "version.py").RELEASE


@dataclasses.dataclass
class Built:
    wheel: set[str]
    sdist: set[str]
    metadata: email.message.Message
    versions: set[str]  # in the names of both files


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Both, built in a minute at most, without a network."""
    pytest.importorskip("hatchling", reason="hatchling is not installed: pip install .[test]")
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", folder],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as file:
        inside = set(file.namelist())
        (name,) = (x for x in inside if x.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(file.read(name))
    with tarfile.open(sdist) as file:
        packed = {x.partition("/")[2] for x in file.getnames()}
    versions = {wheel.name.split("-")[1], sdist.name.removesuffix(".tar.gz").split("-")[1]}
    return Built(inside, packed, metadata, versions)


def test_the_wheel_has_the_package_and_nothing_else(built):
    expected = {str(p.relative_to(ROOT)) for p in (ROOT / "purejaxvpg").rglob("*") if p.is_file()}
    expected = {path for path in expected if "__pycache__" not in path}
    of_package = {path for path in built.wheel if ".dist-info/" not in path}
    assert of_package == expected
    assert {"purejaxvpg/py.typed", "purejaxvpg/presets/CartPole-v1.toml"} <= of_package
    strangers = re.compile(r"(^|/)(tests?|conftest)([/._]|$)|(^|/)test_|\.ipynb$")
    assert not [path for path in built.wheel if strangers.search(path)]
    assert [path for path in built.wheel if path.endswith(".dist-info/licenses/LICENSE")]
    assert [path for path in built.wheel if path.endswith(".dist-info/entry_points.txt")]


def test_the_sdist_has_what_the_tests_need(built):
    assert {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "pyproject.toml",
            "scripts/version.py", "scripts/test", "tests/test_package.py", "docs/conf.py",
            "purejaxvpg/py.typed", "PKG-INFO"} <= built.sdist  # fmt: skip
    assert not [path for path in built.sdist if path.startswith((".venv", "runs", "docs/_build"))]


def test_metadata(built):
    assert len(built.versions) == 1
    assert built.metadata["Version"] == built.versions.pop()
    assert built.metadata["License-Expression"] == "Apache-2.0"
    assert built.metadata["Requires-Python"] == ">=3.11"
    assert set(built.metadata.get_all("Provides-Extra")) == set(EXTRAS)


def test_an_sdist_keeps_the_version_of_its_name(tmp_path):
    """Also where no commit is to be seen, as pip asks when it builds a wheel of it."""
    (tmp_path / "scripts").mkdir()
    source = (ROOT / "scripts" / "version.py").read_text()
    (tmp_path / "scripts" / "version.py").write_text(source)
    assert script(tmp_path / "scripts" / "version.py").version() == RELEASE
    (tmp_path / "PKG-INFO").write_text("Metadata-Version: 2.4\nName: x\nVersion: 9.9.9+gabc\n\nx\n")
    assert script(tmp_path / "scripts" / "version.py").version() == "9.9.9+gabc"


def test_citation_and_changelog_are_in_step():
    citation = (ROOT / "CITATION.cff").read_text()
    assert field("version", citation) == RELEASE
    assert field("license", citation) == PROJECT["license"]
    sections = re.findall(r"^## \[?([\w.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    numbered = [name for name in sections if name != "Unreleased"]
    assert sections[0] in ("Unreleased", RELEASE)
    assert numbered[:1] in ([], [RELEASE])


def test_the_lock_has_every_package_that_is_asked_for():
    asked = [*PROJECT["dependencies"], *EXTRAS["cli"], *EXTRAS["sweep"], *EXTRAS["optuna"],
             *EXTRAS["docs"], *EXTRAS["test"], *EXTRAS["dev"]]  # fmt: skip
    names = {re.split(r"[^\w.-]", text)[0].lower() for text in asked} - {"purejaxvpg"}
    for file, jax in (("py311.txt", "0.9."), ("py313.txt", "0.11.")):
        lines = (ROOT / "requirements" / file).read_text().splitlines()
        assert "scripts/lock" in lines[1]
        locked = dict(line.split("==") for line in lines if not line.startswith("#"))
        assert names <= set(locked)
        assert locked["jax"].startswith(jax)


def test_the_workflow_runs_our_scripts():
    """On the oldest Python and on a newer one, which has another jax."""
    text = (ROOT / ".github" / "workflows" / "test.yml").read_text()
    assert 'python: ["3.11", "3.13"]' in text
    for command in re.findall(r"- run: (.*)", text):
        assert (ROOT / command).stat().st_mode & 0o100, command
    assert set(re.findall(r"- run: (.*)", text)) == {"scripts/test", "scripts/docs"}


def test_templates_have_a_name_and_say_what_it_is_about():
    files = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"))
    assert [path.stem for path in files] == ["bug", "idea", "not_learning"]
    for path in files:
        assert re.match(r"---\nname: .+\nabout: .+\n---\n\n", path.read_text()), path.name

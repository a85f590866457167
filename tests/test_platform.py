"""The platform: only purejaxvpg/compute asks for it, so that the rest is the same everywhere."""

import ast
from pathlib import Path

import pytest

import purejaxvpg
from purejaxvpg import compute

ROOT = Path(purejaxvpg.__file__).parent
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
OUTSIDE = [module for module in MODULES if not module.startswith("compute/")]

ASKING = {"default_backend", "on_cpu", "platform_dependent", "get_backend"}
# Reads of a device's platform that decide nothing.
RECORDED = {
    "experiment/record.py": 1,  # the record of a study tells which device it ran on
    "experiment/surroundings.py": 1,  # the doctor prints the devices
}


def asks(text: str) -> list[str]:
    """Expressions of a module that ask for the platform: calls, imports, `<device>.platform`."""
    questions = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name) and node.id in ASKING:
            questions.append(node.id)
        elif isinstance(node, ast.Attribute) and node.attr in ASKING:
            questions.append(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom):
            questions += [alias.name for alias in node.names if alias.name in ASKING]
            if node.module == "purejaxvpg.compute.platform":
                questions.append(node.module)
        elif isinstance(node, ast.Attribute) and node.attr == "platform":
            questions.append(ast.unparse(node))
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "getattr":
            names = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            questions += ["getattr(...).platform"] if "platform" in names else []
    return questions


@pytest.mark.parametrize("module", OUTSIDE)
def test_nothing_outside_compute_asks_for_the_platform(module):
    """A choice by platform has a name in compute: `untuned`, `working_set`, `Compute.scan`, ..."""
    questions = asks((ROOT / module).read_text())
    recorded = RECORDED.get(module, 0)
    assert [q for q in questions if not q.endswith(".platform")] == []
    assert len(questions) <= recorded, questions


def test_within_compute_one_module_asks_jax():
    """The others call `on_cpu`, so a test may set the platform in one place."""
    for module in set(MODULES) - set(OUTSIDE) - {"compute/platform.py"}:
        text = (ROOT / module).read_text()
        assert {q for q in asks(text) if q != "purejaxvpg.compute.platform"} <= {"on_cpu"}, module
    assert "jax.default_backend" in asks((ROOT / "compute/platform.py").read_text())


def test_compute_does_not_offer_the_question():
    """`purejaxvpg.compute` exports answers, not the question."""
    assert not set(compute.__all__) & ASKING


def test_every_form_of_the_question_is_seen():
    """Else the tests above would pass whatever the modules do; names that look alike pass."""
    forms = [
        "import jax\nif jax.default_backend() == 'cpu': pass",
        "from jax import default_backend",
        "from purejaxvpg.compute.platform import on_cpu as cpu",
        "from purejaxvpg.compute import platform as p\nfast = p.on_cpu()",
        "def f():\n    return devices[0].platform == 'cpu'",
        "kind = mesh.devices.flat[0].platform\nif kind in ('gpu', 'tpu'): pass",
        "getattr(device, 'platform') != 'cpu'",
        "jax.lax.platform_dependent(x, cpu=f, default=g)",
        "jax.extend.backend.get_backend().platform",
    ]
    for form in forms:
        assert asks(form), form
    for form in ("import platform\nplatform.machine()", "platforms = ('cpu',)", "'platform'"):
        assert not asks(form), form

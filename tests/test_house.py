"""The house: imports go down, the algorithm stays pure, files stay small, importing stays cheap."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

import purejaxvpg

ROOT = Path(purejaxvpg.__file__).parent

# A name stands for a file or for a folder with all that is in it.
FLOORS = {
    "advantages": 0, "config": 0, "networks": 0, "optimize": 0, "normalize": 0, "envs": 0,
    "bootstrap": 0, "extras": 0, "statistics": 0, "cpu": 0, "rows": 0,
    "recurrence": 0, "spread": 0,
    "state": 1, "policy": 1, "agent": 1, "evaluate": 1, "presets": 1,
    "vpg": 2, "train": 2,
    "experiment": 3,
    "report": 4,
    "cli": 5, "__main__": 5,
}  # fmt: skip
THE_FACE = ""  # purejaxvpg/__init__.py, which shows floors 0 to 2
FACE_FLOOR = 2

# Within the ground floor, who may lean on whom.
GROUND = {
    "advantages": {"recurrence"},
    "config": {"advantages"},
    "networks": {"config", "cpu"},
    "normalize": {"recurrence", "spread"},
    "recurrence": {"cpu"},
    "rows": {"cpu"},
    "optimize": {"config", "cpu"},
    "envs": {"extras", "cpu", "spread"},
}

LONGEST_FILE, LONGEST_FUNCTION = 420, 75


@functools.cache
def sources() -> dict[str, ast.Module]:
    """Syntax tree of each module, by its dotted name below purejaxvpg ("" is the package)."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = ast.parse(path.read_text(), str(path))
    return found


def imported(name: str, tree: ast.Module) -> set[str]:
    """Modules of this package that a module imports anywhere in its text, functions included."""
    targets = []
    is_package = any(other.startswith(f"{name}.") for other in sources()) or name == THE_FACE
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets += [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = (node.module or "").split(".") if node.module else []
            if node.level:
                here = ["purejaxvpg", *name.split(".")] if name else ["purejaxvpg"]
                up = node.level - is_package
                base = here[: len(here) - up] + base
            targets += [[*base, alias.name] for alias in node.names]
    found = set()
    for target in targets:
        if target[0] != "purejaxvpg":
            continue
        inner = target[1:]
        while ".".join(inner) not in sources():  # the last part may be a name in a module
            inner = inner[:-1]
        found.add(".".join(inner))
    return found - {name}


def part(module: str) -> str:
    return module.split(".")[0]


def floor(module: str) -> int:
    return FACE_FLOOR if module == THE_FACE else FLOORS.get(part(module), max(FLOORS.values()))


def test_every_module_has_a_floor():
    """A new top-level module must be given its place in the house."""
    assert {part(module) for module in sources()} - {THE_FACE} <= set(FLOORS)
    assert {"advantages", "vpg", "envs"} <= {part(module) for module in sources()}


@pytest.mark.parametrize("module", sorted(sources()))
def test_imports_go_down(module):
    """No module imports one of a higher floor, nor one of its own floor without leave."""
    for other in imported(module, sources()[module]):
        assert floor(other) <= floor(module), f"{module} imports {other}, which lies above it"
        if part(other) == part(module):
            continue
        if floor(module) == 0:
            assert part(other) in GROUND.get(part(module), set()), f"{module} imports {other}"
        if other == THE_FACE:
            assert floor(module) > FACE_FLOOR, f"{module} imports the package that imports it"


def test_imports_have_no_circle():
    """Taking away modules that import nothing that is left empties the house."""
    # A package's __init__ and the files in it may lean on each other's names only downward, so
    # they count as modules of their own.
    left = {module: imported(module, tree) for module, tree in sources().items()}
    while left:
        free = [module for module, others in left.items() if not others & set(left)]
        assert free, f"a circle among {sorted(left)}"
        for module in free:
            del left[module]


def test_the_walk_sees_every_form_of_import():
    """The walk finds plain, aliased, relative and nested imports; else the tests above pass all."""
    text = """
import purejaxvpg.vpg
from purejaxvpg import agent
from . import config
from .networks import Params
def f():
    from purejaxvpg.envs import core as c
"""
    assert imported("policy", ast.parse(text)) == {
        "vpg",
        "agent",
        "config",
        "networks",
        "envs.core",
    }
    assert imported("envs", ast.parse("from .core import Step")) == {"envs.core"}
    assert imported("envs.core", ast.parse("from ..vpg import collect")) == {"vpg"}


def printed_by(code: str) -> list[str]:
    """Words that a process of its own prints."""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent, check=True
    )
    return run.stdout.split()


def test_importing_the_package_is_cheap():
    """All that it offers loads no environments, no plots, no tables and no command line."""
    # flax, optax and distrax load rich by themselves; what this package adds to them is none of it.
    heavy = ("gymnax", "gymnasium", "matplotlib", "pandas", "scipy.stats", "tyro", "rich")
    code = (
        "import sys, jax, flax.linen, optax, distrax; before = set(sys.modules);"
        "from purejaxvpg import *;"
        f"print([m for m in {heavy} if m in set(sys.modules) - before])"
        "; print([m for m in ('gymnax', 'matplotlib', 'pandas', 'tyro') if m in sys.modules])"
    )
    assert printed_by(code) == ["[]", "[]"]


def test_an_environment_loads_no_plotting():
    """gymnax's own imports of it wait until they are used, and nobody else's."""
    code = (
        "import sys; from purejaxvpg import envs; envs.make('CartPole-v1');"
        "print([m for m in ('seaborn', 'pandas', 'scipy.stats') if m in sys.modules]);"
        "from gymnax.environments.misc import pong; print(len(pong.plt.cm.viridis.colors));"
        "import matplotlib.pyplot as plt; print(plt is sys.modules['matplotlib.pyplot'],"
        "plt is pong.plt, plt.cm is pong.plt.cm)"
    )
    assert printed_by(code) == ["[]", "256", "True", "False", "True"]


def test_the_package_itself_waits_for_nothing():
    """jax is imported with the first name that is used; every name is there, and listed."""
    code = (
        "import sys, purejaxvpg; print('jax' in sys.modules, purejaxvpg.__version__);"
        "print(all(hasattr(purejaxvpg, name) for name in purejaxvpg.__all__));"
        "print(set(purejaxvpg.__all__) <= set(dir(purejaxvpg)), hasattr(purejaxvpg, 'nothing'))"
    )
    assert printed_by(code) == ["False", "0.1.0", "True", "True", "False"]


def test_importing_the_package_starts_no_device():
    """Before a device is started a user may still choose devices or join a cluster of hosts."""
    code = (
        "from purejaxvpg import *; import jax; jax.config.update('jax_num_cpu_devices', 3);"
        "print(len(jax.devices('cpu')))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent, check=False
    )
    assert run.stdout.strip() == "3", run.stderr[-500:]


@pytest.mark.parametrize(
    "module", sorted(m for m in sources() if m not in ("", "extras") and floor(m) <= 2)
)
def test_the_world_stays_out_of_the_algorithm(module):
    """Below the experiments nothing prints, reads clocks or opens files.  (What is imported is
    what `extras` is about.)"""
    tree = sources()[module]
    called = {
        n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and hasattr(n.func, "id")
    }
    attributes = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    modules = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    modules |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert not called & {"print", "open", "input"}
    assert not attributes & {"print", "io_callback", "pure_callback", "callback", "argv"}
    assert not modules & {"time", "datetime", "os", "sys", "logging", "pathlib"}


@pytest.mark.parametrize("module", sorted(sources()))
def test_nothing_that_is_read_is_executed(module):
    """No pickle in any of its forms, and no code made of text."""
    tree = sources()[module]
    modules = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    modules |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert not modules & {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "runpy"}
    for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
        if isinstance(call.func, ast.Name):
            assert call.func.id not in ("eval", "exec", "compile", "__import__")
        elif isinstance(call.func, ast.Attribute) and ast.unparse(call.func) == "np.load":
            allowed = {word.arg: ast.unparse(word.value) for word in call.keywords}
            assert allowed.get("allow_pickle") == "False"


@pytest.mark.parametrize("module", sorted(sources()))
def test_files_and_functions_are_short(module):
    """Files fit on a few screens, functions on one or two."""
    tree = sources()[module]
    assert max((node.end_lineno for node in tree.body), default=0) < LONGEST_FILE
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length < LONGEST_FUNCTION, f"{node.name} has {length} lines"

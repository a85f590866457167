"""The house: imports go down, the algorithm stays pure, files stay small, the words are one."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

import purejaxvpg

ROOT = Path(purejaxvpg.__file__).parent

# A name stands for a file or for a folder with everything in it.  A module imports lower floors.
FLOORS = {
    "state": 0, "variables": 0, "by_name": 0, "ranges": 0, "extras": 0,
    "statistics": 0,
    "fields": 1, "field_types": 1, "compute": 1, "user_code": 1,
    "advantages": 2, "envs": 2, "onnx": 2,
    "hyperparams": 3,
    "config": 4,
    "agent": 5, "presets": 5, "serialize": 5,
    "vpg": 6, "evaluate": 6,
    "train": 7, "debug": 7,
    "loggers": 8,
    "experiment": 9,
    "report": 10,
    "cli": 11, "__main__": 12,
}  # fmt: skip
THE_FACE = ""  # purejaxvpg/__init__.py, which shows the floors below the experiments
FACE_FLOOR = 7
LATE_ROOMS = ("experiment", "loggers")  # above the face, which shows them all the same

LONGEST_FILE, LONGEST_FUNCTION = 260, 60
# Longer ones of today.  An entry may shrink or go; none may be added or grow.
LONGER_FILES = {"vpg": 299}
LONGER_FUNCTIONS = {
    "experiment.sweeping.sweep": 77,
    "experiment.searching.search": 68,
}

ALGORITHM_IMPORTS = 6  # modules of this package that vpg.py may name
PLATFORM_WORDS = ("platform", "on_cpu", "cpu", "gpu", "tpu", "accelerator", "cache", "chunk")


@functools.cache
def sources() -> dict[str, ast.Module]:
    """Syntax tree of each module, by its dotted name below purejaxvpg ("" is the package)."""
    trees = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        trees[".".join(parts)] = ast.parse(path.read_text(), str(path))
    return trees


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
    modules = set()
    for target in targets:
        if target[0] != "purejaxvpg":
            continue
        inner = target[1:]
        while ".".join(inner) not in sources():  # the last part may be a name in a module
            inner = inner[:-1]
        modules.add(".".join(inner))
    return modules - {name}


def part(module: str) -> str:
    return module.split(".")[0]


def floor(module: str) -> int:
    return FACE_FLOOR if module == THE_FACE else FLOORS.get(part(module), max(FLOORS.values()))


# ------------------------------------------------------------------------------------- IMPORTS


def test_every_module_has_a_floor():
    """A new top-level module must be given its place in the house."""
    assert {part(module) for module in sources()} - {THE_FACE} == set(FLOORS)


@pytest.mark.parametrize("module", sorted(sources()))
def test_imports_go_down(module):
    """No module imports one of a higher floor, nor another one of its own floor."""
    for other in imported(module, sources()[module]):
        if part(other) == part(module):
            continue
        if other == THE_FACE:
            assert floor(module) > FACE_FLOOR, f"{module} imports the package that imports it"
        elif module == THE_FACE:
            assert floor(other) <= FACE_FLOOR or other in LATE_ROOMS, f"the face shows {other}"
        else:
            assert floor(other) < floor(module), f"{module} imports {other}, which is not below it"


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
from .state import Params
def f():
    from purejaxvpg.envs import vector as c
"""
    expected = {"vpg", "agent", "config", "state", "envs.vector"}
    assert imported("train", ast.parse(text)) == expected
    assert imported("envs", ast.parse("from .protocol import Step")) == {"envs.protocol"}
    assert imported("envs.vector", ast.parse("from ..vpg import collect")) == {"vpg"}


# --------------------------------------------------------------------------- THE ALGORITHM FIRST


def text_of(module: str) -> str:
    return (ROOT / f"{module}.py").read_text()


def test_the_algorithm_imports_little():
    assert len(imported("vpg", sources()["vpg"])) <= ALGORITHM_IMPORTS


@pytest.mark.parametrize("module", ["vpg", "advantages"])
def test_the_algorithm_names_no_platform(module):
    words = set(re.findall(r"[a-z_]+", text_of(module).lower()))
    assert not words & set(PLATFORM_WORDS)


def test_the_algorithm_is_told_in_its_order():
    """The calls of an update stand next to each other at the top; the phases follow in order."""
    text, phases = text_of("vpg"), ("collect", "judge", "improve", "fit")
    calls = [text.index(f"= {phase}(setup, ") for phase in phases]
    definitions = [text.index(f"\ndef {phase}(") for phase in phases]
    assert definitions == sorted(definitions)
    assert max(calls) < definitions[0]
    lines = [text[:place].count("\n") for place in calls]
    assert max(lines) - min(lines) <= 10


# ------------------------------------------------------------------------------- CHEAP AND PURE


def printed_by(code: str) -> list[str]:
    """Words that a process of its own prints."""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent, check=True
    )
    return run.stdout.split()


def test_importing_the_package_is_cheap():
    """All that it offers loads no environments, no plots, no tables and no command line."""
    # flax, optax and distrax load rich by themselves; this package adds none of it to them.
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
        "import sys, purejaxvpg; print('jax' in sys.modules);"
        "print(all(hasattr(purejaxvpg, name) for name in purejaxvpg.__all__));"
        "print(set(purejaxvpg.__all__) <= set(dir(purejaxvpg)), hasattr(purejaxvpg, 'nothing'))"
    )
    assert printed_by(code) == ["False", "True", "True", "False"]


@pytest.mark.parametrize("name", ["statistics", "envs", "presets", "experiment", "loggers"])
def test_rooms_are_reachable_from_the_package(name):
    """`import purejaxvpg` is enough for `purejaxvpg.statistics.bootstrap`, and the like."""
    code = f"import purejaxvpg; print(purejaxvpg.{name}.__name__)"
    assert printed_by(code) == [f"purejaxvpg.{name}"]


def test_the_experiments_show_their_names_and_import_them_late():
    code = (
        "import sys, purejaxvpg.experiment as x; print('jax' in sys.modules);"
        "print(all(callable(getattr(x, name)) for name in x.__all__)); print(*x.__all__)"
    )
    late, all_there, *names = printed_by(code)
    assert (late, all_there) == ("False", "True")
    assert {
        "train", "sweep", "search", "load_study", "merge", "save_policy", "load_policy", "Segment"
    } <= set(names)  # fmt: skip


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
    "module",
    sorted(
        module
        for module in sources()
        if module not in ("", "extras", "user_code", "debug") and floor(module) < FLOORS["loggers"]
    ),
)
def test_the_world_stays_out_of_the_algorithm(module):
    """Below the loggers nothing prints, reads clocks or opens files.  (`extras` and `user_code`
    are about imports, `debug` about lines of code.)"""
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


# ------------------------------------------------------------------------------------- THE RATCHET


def length(node: ast.AST) -> int:
    return node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("module", sorted(sources()))
def test_files_and_functions_are_short(module):
    """Files fit on a few screens, functions on one."""
    tree = sources()[module]
    lines = max((node.end_lineno for node in tree.body), default=0)
    assert lines <= LONGER_FILES.get(module, LONGEST_FILE)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            most = LONGER_FUNCTIONS.get(f"{module}.{node.name}", LONGEST_FUNCTION)
            assert length(node) <= most, f"{node.name} has {length(node)} lines"


def test_the_exceptions_are_needed():
    """An exception that is no longer needed goes, and one that is has its very length."""
    for module, most in LONGER_FILES.items():
        assert max(node.end_lineno for node in sources()[module].body) == most > LONGEST_FILE
    lengths = {
        f"{module}.{node.name}": length(node)
        for module, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }
    for name, most in LONGER_FUNCTIONS.items():
        assert lengths[name] == most > LONGEST_FUNCTION


# ---------------------------------------------------------------------------------------- WORDS

FIRST_WORDS = ("What", "Of", "Its", "Those", "That", "Whatever")
VAGUE = {"found", "said", "own", "held", "kept", "known", "of", "told", "asked"}
OLD_NAMES = ("Spread", "spread.", "policy_weight", "GrowingStudy", "part=(")


@pytest.mark.parametrize("module", sorted(sources()))
def test_docstrings_begin_with_a_subject(module):
    for node in ast.walk(sources()[module]):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = (ast.get_docstring(node) or "Nothing").split()[0]
            assert first not in FIRST_WORDS, f"{getattr(node, 'name', module)}: {first} ..."


@pytest.mark.parametrize("module", sorted(sources()))
def test_names_say_what_they_hold(module):
    for node in ast.walk(sources()[module]):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            assert node.id.strip("_") not in VAGUE, f"line {node.lineno}: {node.id}"
        elif isinstance(node, ast.arg):
            assert node.arg.strip("_") not in VAGUE, f"line {node.lineno}: {node.arg}"
        elif isinstance(node, ast.FunctionDef):
            assert node.name.strip("_") not in VAGUE, f"line {node.lineno}: {node.name}"


@pytest.mark.parametrize("module", sorted(sources()))
def test_no_argument_shadows_a_builtin(module):
    shadowing = {"zip", "map", "filter", "type", "id", "list", "dict", "set", "next", "all", "any"}
    for node in ast.walk(sources()[module]):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            arguments = {a.arg for a in [*node.args.args, *node.args.kwonlyargs]}
            assert not arguments & shadowing, f"{node.name}: {arguments & shadowing}"


@pytest.mark.parametrize("module", sorted(sources()))
def test_names_of_before_are_gone(module):
    text = ast.unparse(sources()[module])
    assert not [name for name in OLD_NAMES if name in text]


TESTS = Path(__file__).parent


def test_no_test_imports_another():
    """Helpers that tests share are in tests/support."""
    names = {path.stem for path in TESTS.glob("test_*.py")}
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module not in names, f"{path.name} imports {node.module}"
            elif isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & names, path.name

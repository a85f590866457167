"""The pages in docs/: their code runs, their commands parse, their links lead somewhere."""

import os
import re
import subprocess
import sys

import jax
import pytest
from support import files, pages
from support.probes import quick_jit
from support.slow import slow_but

from purejaxvpg import VPGConfig, envs, make_learner
from purejaxvpg.agent import make_agent

PAGES = pages.pages()
TEXTS = {page: (pages.DOCS / page).read_text() for page in PAGES}
SHELL = {page: pages.blocks(text, "bash", "sh", "console") for page, text in TEXTS.items()}
PYTHON = {page: [] if pages.is_notebook(text) else pages.blocks(text, "python")
          for page, text in TEXTS.items()}  # fmt: skip
CELLS = {page: pages.blocks(text, "{code-cell}", "{code-cell} python", "{code-cell} ipython3")
         for page, text in TEXTS.items()}  # fmt: skip


def having(found):
    """Pages that have blocks."""
    return [page for page in PAGES if found[page]]


# Blocks


LONG = {
    "networks.md",
    "not_learning.md",
    "quickstart.md",
    "results.md",
    "statistics.md",
    "sweeps.md",
    "watching.md",
}


@pytest.mark.parametrize("page", slow_but(set(having(PYTHON)) - LONG, having(PYTHON)))
def test_python_runs_from_top_to_bottom(page, tmp_path):
    with files.other_process(), files.in_folder(tmp_path):
        pages.run(page, tmp_path, shell=False)


@pytest.mark.parametrize("page", having(CELLS))
def test_cells_of_notebooks_are_python(page):
    """The build executes them."""
    assert pages.is_notebook(TEXTS[page])
    for cell in CELLS[page]:
        code = re.sub(r"\A---\n.*?^---\n|^:[\w-]+:.*\n|^%.*\n", "", cell.code, flags=re.M | re.S)
        compile(code, f"{page}:{cell.line}", "exec")


@pytest.mark.parametrize("page", having(SHELL))
def test_commands_parse(page):
    for block in SHELL[page]:
        for words in pages.commands(block.code):
            pages.check_command(words)
            where = f"{page}:{block.line} {' '.join(words)}"
            assert not (block.runs and pages.installs(words)), f"{where}: say <!-- not run: WHY -->"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", having(SHELL))
def test_pages_with_commands_run_from_top_to_bottom(page, tmp_path):
    """In a process of its own, as a reader would, in an empty folder."""
    (tmp_path / "folder").mkdir()
    path = os.pathsep.join([str(pages.ROOT), str(pages.ROOT / "tests")])
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    done = subprocess.run(
        [sys.executable, "-m", "support.pages", page],
        capture_output=True,
        text=True,
        cwd=tmp_path / "folder",
        timeout=850,
        env=inherited | {"PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache"),
                         "MPLBACKEND": "agg"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]


# Links


@pytest.mark.parametrize("page", [*PAGES, *(f"api/{p.name}" for p in pages.DOCS.glob("api/*.md"))])
def test_links_lead_somewhere(page):
    assert pages.broken_links(pages.DOCS / page) == []


@pytest.mark.parametrize("folder", ["", "api/"])
def test_every_page_is_in_a_list_and_every_name_in_it_is_a_page(folder):
    lists = pages.blocks((pages.DOCS / folder / "index.md").read_text(), "{toctree}")
    named = [x for block in lists for x in re.findall(r"^[\w/]+$", block.code, re.MULTILINE)]
    there = {p.stem for p in (pages.DOCS / folder).glob("*.md")} - {"index", "README"}
    assert sorted(named) == sorted(there | ({"api/index"} if not folder else set()))


# The page on environments says what is so


@pytest.fixture
def corridor(tmp_path, monkeypatch):
    """The environment of the page "Your environment", as a module."""
    page = next(x for x in ("environments.md", "your_environment.md") if x in PAGES)
    code = next(block.code for block in PYTHON[page] if "\nCorridor = " in block.code)
    (tmp_path / "corridor.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "corridor", raising=False)
    return "corridor:Corridor"


def test_the_corridor_is_an_environment_and_trains(corridor):
    envs.check_env(corridor, 200)
    config = VPGConfig(env=corridor, num_envs=4, num_steps=64, total_steps=512, hidden_sizes=(8,))
    assert make_agent(config).encoder.shapes == {"light": (), "place": ()}
    learner = make_learner(config)
    _, metrics = quick_jit(lambda key: learner.update(learner.init(key)))(jax.random.key(0))
    assert metrics.finite
    # Every step costs 0.1, and the limit is 40 steps.
    assert 4 <= metrics.episode_count <= 256 / 8
    assert metrics.episode_length_sum <= 40 * metrics.episode_count
    assert abs(metrics.episode_return_sum + 0.1 * metrics.episode_length_sum) < 1e-3
    assert envs.time_limit(make_agent(config).env, make_agent(config).env.default_params) == 40


def test_the_limit_truncates_and_the_end_terminates(corridor):
    env = envs.make(corridor)
    for action, count, flags in ((1, 8, (True, False)), (0, 40, (False, True))):
        _, state = env.reset(jax.random.key(0), env.default_params)
        step = jax.jit(env.step)
        for _ in range(count):
            out = step(jax.random.key(1), state, action, env.default_params)
            state = out.state
        assert (bool(out.terminated), bool(out.truncated)) == flags
        assert out.final_obs["place"] == (1.0 if action else 0.0)

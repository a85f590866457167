"""Shared by all tests: two CPU threads are what there is, so compile little."""

import os

import jax
import pytest

# Tests leave nothing in the user's cache, and take nothing from it (but see test_devices.py).
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
jax.config.update("jax_enable_compilation_cache", False)

# Before jax starts: studies are tested on 1, 2 and 8 devices.  All else runs on the first.
jax.config.update("jax_num_cpu_devices", 8)
assert len(jax.devices()) == 8  # started here, so that no test chooses another number


@pytest.fixture
def x64():
    """float64 on for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module", autouse=True)
def _programs_are_given_back():
    """Of each module, when it is done.  A compiled program takes some hundred memory maps, a
    process may have 65,530, and beyond them LLVM crashes."""
    yield
    jax.clear_caches()


# Modules whose subject is what is kept and said, and not the machine code: their programs compile
# in half the time without tuning.  (Tests of bits against recorded or other programs are not here.)
UNTUNED = {
    "test_checkpoint", "test_cli", "test_cli_policies", "test_damage", "test_docs",
    "test_example_files", "test_full_disk", "test_kept_policies", "test_loggers", "test_logs",
    "test_merge", "test_pruning", "test_readme", "test_repro", "test_resume", "test_search",
    "test_search_folders", "test_surprises_process",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _programs_compile_fast(request):
    """Of the modules above, chunks' programs are compiled without tuning."""
    from purejaxvpg.compute import untuned
    from purejaxvpg.experiment import program

    if request.module.__name__ not in UNTUNED:
        yield
        return
    options = program._options
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            program,
            "_options",
            lambda shape, tuned: options(shape, tuned) | untuned(shape.devices[0]),
        )
        program._compile.cache_clear()
        yield
        program._compile.cache_clear()

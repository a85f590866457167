"""The pages in docs/: their code runs, and says what is so."""

import re
import sys
from pathlib import Path

import jax
import pytest
from support.probes import quick_jit

from purejaxvpg import VPGConfig, envs, make_learner
from purejaxvpg.agent import make_agent

DOCS = Path(__file__).parent.parent / "docs"


def blocks(page, language="python"):
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


@pytest.fixture
def corridor(tmp_path, monkeypatch):
    """The environment of the page "Environments", as a module."""
    (code,) = [block for block in blocks("environments.md") if block.startswith("# corridor.py:")]
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

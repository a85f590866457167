"""The card of a policy says what a deployer needs, first, and the page beside it too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejaxvpg import VPGConfig
from purejaxvpg.agent import init_stats, make_agent
from purejaxvpg.agent.networks import param_shapes
from purejaxvpg.experiment import load_policy, save_policy
from purejaxvpg.experiment.programs import compiled

SMALL = {"num_envs": 2, "num_steps": 4, "total_steps": 16, "hidden_sizes": (4,)}
HOUSE = VPGConfig(env="support.saved:HOUSE", normalize_obs=True, obs_clip=5.0, **SMALL)
PENDULUM = VPGConfig(env="Pendulum-v1", bounding="tanh", memory="lstm", memory_size=3, **SMALL)


def saved(folder, config):
    agent = make_agent(config)
    shapes = param_shapes(agent.networks, agent.encoder).policy
    params = jax.tree.map(lambda x: np.full(x.shape, 0.3, x.dtype), shapes)
    stats = init_stats(agent.encoder.shapes)._replace(count=jnp.ones(()))
    save_policy(folder, config, params, stats, scores={"return": 7.0})
    return load_policy(folder)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("house")
    return folder, saved(folder, HOUSE)


def test_observations(house):
    rows = {row["name"]: row for row in house[1].card["use"]["observations"]}
    columns = ("shape", "dtype", "low", "high", "seen as")
    assert {name: [row[column] for column in columns] for name, row in rows.items()} == {
        "obs.inner.kind": [[], "int32", 0, 2, "one-hot of 3: float32[3]"],
        "obs.inner.where": [[2], "int32", -9.0, 9.0, "float32, as it is"],
        "obs.late.0": [[], "bool", 0.0, 1.0, "float32, as it is"],
        "obs.picture": [[4, 4, 1], "uint8", 0, 255, "divided by 255: float32 from 0 to 1"],
    }


def test_actions(house):
    rows = house[1].card["use"]["actions"]
    columns = ("name", "shape", "dtype", "low", "high")
    assert [[row[column] for column in columns] for row in rows] == [
        ["action.move", [], "int64", 0, 2],
        ["action.pair", [2], "int64", 0, [1, 3]],
        ["action.force", [2], "float32", -2.0, 2.0],
    ]
    actions = house[1].act(make_observation())
    for row in rows:
        action = actions[row["name"].removeprefix("action.")]
        assert [list(action.shape), str(action.dtype)] == [row["shape"], row["dtype"]]


def make_observation():
    picture = np.zeros((4, 4, 1), np.uint8)
    return {"picture": picture, "inner": {"kind": 1, "where": np.zeros(2, int)}, "late": (True,)}


def test_normalization_is_inside(house):
    assert (
        house[1]
        .card["use"]["normalization"]
        .startswith("inside the programs: (x - mean) / sqrt(var + 1e-8), clipped to [-5.0, 5.0]")
    )


def test_programs_list_inputs_and_outputs_by_name(house):
    program = house[1].card["use"]["policy.onnx"]
    assert program["inputs"]["obs.inner.where"] == "int32[B, 2]"
    assert program["inputs"]["obs.late.0"] == "bool[B]"
    assert {name: program["outputs"][name] for name in ("action.move", "logits.pair.1")} == {
        "action.move": "int64[B]",
        "logits.pair.1": "float32[B, 4]",
    }


def test_the_example_of_the_page_runs(tmp_path, monkeypatch):
    """policy.jax, as the page calls it, acts as the policy does."""
    policy = saved(tmp_path, PENDULUM)
    (tmp_path / "policy.jax").write_bytes(compiled(policy, ("cpu",)))
    page = (tmp_path / "card.md").read_text()
    example = page.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(example, names)
    expected, memory = policy.act(np.zeros(3, np.float32))
    np.testing.assert_allclose(names["action"][0], expected, rtol=1e-6)
    np.testing.assert_allclose(names["memory"][1][0], memory[1], rtol=1e-6)
    assert "| obs | [3] | float32 | [-1, -1, -8] | [1, 1, 8] | float32, as it is |" in page
    assert "(low + high) / 2 + (high - low) / 2 * tanh(raw)" in page
    assert "- return: 7" in page
    assert "`purejaxvpg export --onnx` writes it. It needs onnxruntime, and gives" in page


def test_a_page_of_somebody_else_is_not_written_over(tmp_path):
    (tmp_path / "card.md").write_text("mine")
    with pytest.raises(FileExistsError, match="choose another folder"):
        saved(tmp_path, HOUSE)
    assert (tmp_path / "card.md").read_text() == "mine"

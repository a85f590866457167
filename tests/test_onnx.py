"""A policy as an ONNX program acts as the policy does, without jax."""

import dataclasses
import json
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from purejaxvpg import VPGConfig, cli  # noqa: E402
from purejaxvpg.agent import init_stats, make_agent  # noqa: E402
from purejaxvpg.agent.networks import param_shapes  # noqa: E402
from purejaxvpg.agent.torsos import ACTIVATIONS  # noqa: E402
from purejaxvpg.experiment import load_policy, save_policy  # noqa: E402
from purejaxvpg.experiment.cards import accepted_of  # noqa: E402
from purejaxvpg.experiment.program_arguments import arguments, by_name  # noqa: E402
from purejaxvpg.experiment.programs import compiled, onnx_program  # noqa: E402
from purejaxvpg.onnx import Untranslatable, to_onnx  # noqa: E402

CLOSE = {"rtol": 1e-6, "atol": 1e-6}
SMALL = VPGConfig(num_envs=2, num_steps=4, total_steps=16, hidden_sizes=(8,), memory_size=3)


def small(env, **changes):
    return dataclasses.replace(SMALL, env=env, **changes)


CONFIGS = {
    "clipped": small("Pendulum-v1", std="free", memory="gru"),
    "squashed": small("Pendulum-v1", bounding="tanh", normalize_obs=True),
    "picture": small("Breakout-MinAtar", activation="relu", shared_torso=True),
    "category": small("FrozenLake-misc"),
    "trees": small("support.saved:HOUSE", normalize_obs=True),
    "some parts": small("support.saved:HOUSE", policy_obs=("inner", "picture")),
    "mask": small("support.saved:ROOMS"),
    "mask of a part": small("support.saved:HALLS", memory="lstm"),
}


def saved(folder, config):
    """The policy of parameters whose outputs differ clearly between observations."""
    agent, rng = make_agent(config), np.random.default_rng(1)

    def parameter(x):
        scale = 1.2 / np.sqrt(np.prod(x.shape[:-1])) if x.ndim > 1 else 0.5
        return (scale * rng.normal(size=x.shape)).astype(x.dtype)

    params = jax.tree.map(parameter, param_shapes(agent.networks, agent.encoder).policy)
    stats = init_stats(agent.encoder.shapes)
    moved = [jax.tree.map(lambda x: x + 0.5, x) for x in (stats.mean, stats.var)]
    stats = stats._replace(mean=moved[0], var=moved[1], count=jnp.ones(()))
    save_policy(folder, config, params, stats, scores={"return": 7.0}, onnx=True)
    return load_policy(folder)


def drawn(policy, rows):
    """Arguments of `policy.distribution`, each row another one."""
    rng = np.random.default_rng(2)

    def draw(x):
        if x.dtype == bool:
            return rng.random(x.shape) < 0.6
        if x.dtype.kind in "iu":
            return rng.integers(0, 256 if x.dtype == np.uint8 else 3, x.shape).astype(x.dtype)
        return rng.normal(size=x.shape).astype(np.float32)

    given = arguments(accepted_of(policy.card, policy.initial_memory), rows, raw=True)
    return {name: jax.tree.map(draw, tree) for name, tree in given.items()}


def results_of(session, inputs):
    names = [x.name for x in session.get_outputs()]
    return dict(zip(names, session.run(names, by_name(inputs)), strict=True))


@pytest.mark.parametrize("name", CONFIGS)
def test_it_equals_the_policy(name, tmp_path):
    """Actions, the distribution and memory, of 5 observations and of 1."""
    policy = saved(tmp_path / "policy", CONFIGS[name])
    session = onnxruntime.InferenceSession(tmp_path / "policy" / "policy.onnx")
    use = policy.card["use"]["policy.onnx"]
    for rows in (5, 1):
        inputs = drawn(policy, rows)
        assert list(by_name(inputs)) == list(use["inputs"])
        results = results_of(session, inputs)
        if "memory" in inputs:
            (actions, parameters), memory = policy.distribution(**inputs)
            expected = by_name({"action": actions}) | parameters | by_name({"next_memory": memory})
            acted = policy.act(**inputs)[0]
        else:
            actions, parameters = policy.distribution(**inputs)
            expected, acted = by_name({"action": actions}) | parameters, policy.act(**inputs)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **CLOSE), actions, acted)
        assert set(results) == set(expected) == set(use["outputs"])
        for key, x in results.items():
            assert x.dtype == expected[key].dtype
            assert use["outputs"][key].startswith(f"{x.dtype}[B")
            np.testing.assert_allclose(x, expected[key], err_msg=key, **CLOSE)
        if rows == 5:
            assert any(len(np.unique(x, axis=0)) > 1 for x in results.values())


def test_logits_of_impossible_actions_are_minus_infinity(tmp_path):
    saved(tmp_path / "policy", CONFIGS["mask"])
    session = onnxruntime.InferenceSession(tmp_path / "policy" / "policy.onnx")
    mask = np.array([[False, True, False, False], [False] * 4])
    results = results_of(session, {"obs": np.zeros((2, 1), np.float32), "mask": mask})
    assert results["action"][0] == 1
    assert np.isneginf(results["logits"][0]).tolist() == [True, False, True, True]
    assert np.isfinite(results["logits"][1]).all()  # none is possible: all count as possible


def test_a_draw_by_the_card_is_a_draw_of_the_policy():
    """The bounds and formulas of the card, on a squashed Gaussian."""
    policy = make_agent(CONFIGS["squashed"]).policy(None)
    outputs = jnp.array([[0.3, -0.2]])
    parameters, noise = policy.parameters(outputs), jnp.array([[0.7]])
    raw = parameters["mean"] + np.exp(parameters["log_std"]) * noise
    expected = policy.to_env(policy.sample(outputs, noise))
    np.testing.assert_allclose((-2 + 2) / 2 + (2 + 2) / 2 * np.tanh(raw), expected, rtol=1e-6)


def test_onnxruntime_alone_acts_by_the_card(tmp_path):
    """The example of the card, in a process without jax: the recurrent loop of an episode."""
    policy = saved(tmp_path / "policy", CONFIGS["clipped"])
    code = """
import json, sys
card = json.load(open("card.json"))
exec(card["use"]["policy.onnx"]["example"])
actions = []
for step in range(3):
    inputs["obs"] = np.full((1, 3), step, np.float32)
    results = dict(zip(names, session.run(names, inputs)))
    inputs["memory"] = results["next_memory"]
    actions.append(results["action"][0].tolist())
print(json.dumps([actions, "jax" in sys.modules, "purejaxvpg" in sys.modules]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "policy", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    actions, *imported = json.loads(done.stdout)
    assert imported == [False, False]
    memory, expected = None, []
    for step in range(3):
        action, memory = policy.act(np.full(3, step, np.float32), memory)
        expected.append(action)
    np.testing.assert_allclose(actions, expected, **CLOSE)


# ---------------------------------------------------------------------------------- OPERATIONS


def checked(function, x, **how):
    """The results of the program of a function, which are the function's."""
    data = to_onnx(lambda arrays: {"y": function(arrays["x"])}, {"x": (x.shape[1:], x.dtype)})
    (result,) = onnxruntime.InferenceSession(data).run(None, {"x": x})
    np.testing.assert_allclose(result, function(x), **(how or CLOSE))
    return result


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name):
    x = np.concatenate([np.linspace(-30, 30, 121), [1e-6, -1e-6, 1e-3, -1e-3]])
    checked(getattr(nn, name), x.astype(np.float32)[:, None])


class Pictures(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.max_pool(nn.relu(nn.Conv(4, (3, 3), strides=(2, 2))(x)), (2, 2), strides=(2, 2))
        x = nn.Conv(4, (2, 2), kernel_dilation=2, feature_group_count=2)(nn.GroupNorm(2)(x))
        return nn.avg_pool(x, (2, 2), padding="SAME").mean((1, 2))


class Attention(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(4)(x[..., None])
        x = nn.LayerNorm()(x + nn.MultiHeadDotProductAttention(num_heads=2)(x, x))
        return x.reshape(x.shape[0], -1)


class Recurrent(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.RNN(nn.GRUCell(3), reverse=True, keep_order=True)(x[..., None])[:, 0]


class Words(nn.Module):
    @nn.compact
    def __call__(self, x):
        kinds = jnp.abs(x * 3).astype(jnp.int32) % 5
        return nn.Embed(5, 2)(kinds).reshape(x.shape[0], -1) + jax.nn.one_hot(kinds[:, 0], 8)


@pytest.mark.parametrize("module", [Pictures(), Attention(), Recurrent(), Words()])
def test_torsos_of_users(module):
    shape = (9, 9, 2) if isinstance(module, Pictures) else (4,)
    x = np.random.default_rng(0).normal(size=(6, *shape)).astype(np.float32)
    variables = module.init(jax.random.key(0), x)
    result = checked(lambda x: module.apply(variables, x), x, rtol=1e-5, atol=2e-6)
    assert len(np.unique(result.round(5), axis=0)) > 1


def test_operations_that_move_and_compare():
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32) * 3

    def function(x):
        pairs = jnp.stack([x, x[:, ::-1]], 1)
        return jnp.concatenate([
            pairs[:, :, 1:4:2].reshape(x.shape[0], -1), x[:, jnp.array([3, 0])], jnp.roll(x, 1, -1),
            jnp.cumsum(x, -1), jnp.round(x), jnp.expm1(x), jnp.log1p(jnp.abs(x)), x % 2,
            jnp.pad(x, ((0, 0), (1, 0)))[:, :3], jnp.tile(x, (1, 2)), jnp.clip(x, -1, 1) ** 3,
            (x > 1).any(-1, keepdims=True), jnp.argmin(x, -1)[:, None], jnp.sign(x),
            jax.nn.softmax(x), jax.nn.gelu(x, approximate=False), jnp.var(x, -1, keepdims=True),
            jnp.einsum("bi,bj->bij", x, x).reshape(x.shape[0], -1),
        ], -1)  # fmt: skip

    checked(function, x, rtol=1e-5, atol=2e-6)


def test_indices_beyond_the_end_as_in_jax():
    x = np.array([[0], [2], [5], [-1]], np.int32)
    table = jnp.array([[1.0, 2], [3, 4], [5, 6]])
    filled = checked(lambda x: jnp.take(table, x, axis=0), x)
    assert np.isnan(filled[2]).all()
    np.testing.assert_array_equal(filled[3, 0], [5, 6])
    clipped = checked(lambda x: jnp.take(table, x, axis=0, mode="clip"), x)
    np.testing.assert_array_equal(clipped[2, 0], [5, 6])


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (jnp.sort, "`sort`, which has no"),
        (lambda x: x - x.sum(0), "`reduce_sum`: sums over the batch"),
        (lambda x: x / x.shape[0], "`dim_as_value`: the number of rows"),
        (lambda x: jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x + 1, x), "`while`"),
    ],
)
def test_what_has_no_translation_is_named(function, words):
    with pytest.raises(Untranslatable, match=words):
        to_onnx(lambda arrays: {"y": function(arrays["x"])}, {"x": ((3,), np.float32)})


@pytest.mark.parametrize("write", [compiled, onnx_program])
def test_a_network_that_counts_its_rows_is_told_how(write, tmp_path):
    """`support.named:wide` calls len(obs), and a program is for any number of them."""
    config, folder = small("CartPole-v1", network="support.named:wide"), tmp_path / "policy"
    params = jax.tree.map(
        lambda x: np.zeros(x.shape, x.dtype),
        param_shapes(make_agent(config).networks, make_agent(config).encoder).policy,
    )
    save_policy(folder, config, params)
    with pytest.raises(ValueError, match=r"any number of observations.*obs\.shape\[0\]"):
        write(load_policy(folder))


def test_a_refused_policy_writes_nothing(tmp_path):
    with pytest.raises(Untranslatable, match=r"its network uses `sort`.*or policy\.jax"):
        saved(tmp_path / "policy", small("CartPole-v1", network="support.named:sorting"))
    assert not (tmp_path / "policy").exists()


def test_without_the_library_one_line_names_the_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'purejaxvpg\[onnx\]'"):
        saved(tmp_path / "policy", SMALL)
    assert cli.main(["export", str(tmp_path / "policy"), "--onnx"]) == 2
    assert "pip install 'purejaxvpg[onnx]'" in capsys.readouterr().err  # before it looks for a run


def test_the_command_writes_it_and_a_later_export_replaces_it(tmp_path, capsys):
    run, out = tmp_path / "run", tmp_path / "policy"
    command = ["train", "CartPole-v1", "--num-envs", "2", "--num-steps", "8"]
    command += ["--total-steps", "32", "--hidden-sizes", "8", "--out", str(run)]
    assert cli.main(command) == 0
    export = ["export", str(run), "--out", str(out), "--num-episodes", "1", "--no-compiled"]
    assert cli.main([*export, "--onnx"]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "card.json", "card.md", "policy.onnx", "policy.safetensors"
    ]  # fmt: skip
    assert cli.main(export) == 0
    assert not (out / "policy.onnx").exists()  # it was the program of other parameters
    assert "Traceback" not in capsys.readouterr().err

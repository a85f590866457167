"""A policy that is saved acts as the one that was trained, with and without this package."""

import dataclasses
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.slow import slow_but

from purejaxvpg import Hyperparams, VPGConfig, cli, make_learner
from purejaxvpg.agent import make_agent
from purejaxvpg.experiment import load_policy, load_study, save_policy
from purejaxvpg.experiment.cards import FORMATS
from purejaxvpg.experiment.evaluation import policies_of
from purejaxvpg.experiment.files import read_described, write_described
from purejaxvpg.experiment.policy_files import compiled

SMALL = VPGConfig(num_envs=2, num_steps=4, total_steps=16, hidden_sizes=(8,), normalize_obs=True)
CONFIGS = {
    "discrete": SMALL,
    "clipped": dataclasses.replace(SMALL, env="Pendulum-v1", std="free"),
    "tanh": dataclasses.replace(SMALL, env="Pendulum-v1", bounding="tanh"),
    "shared torso": dataclasses.replace(SMALL, shared_torso=True, normalize_obs=False),
    "image": dataclasses.replace(SMALL, env="Breakout-MinAtar", normalize_obs=False),
}


@pytest.fixture(scope="module", params=slow_but(["discrete", "image", "shared torso"], CONFIGS))
def trained(request, tmp_path_factory):
    """Config, parameters, statistics, and the folder that they were saved to."""
    config = CONFIGS[request.param]
    learner = make_learner(config)
    state = learner.init(jax.random.key(3))
    if config.normalize_obs:
        state, _ = jax.jit(learner.update)(state)
    folder = tmp_path_factory.mktemp("policy") / "kept"
    save_policy(folder, config, state.params.policy, state.obs_stats, scores={"return": 7.0})
    return config, state, folder


def training_policy(config, state):
    agent = make_agent(config)
    policy = agent.policy(agent.env_params(Hyperparams()))

    def act(obs, key=None):
        outputs = agent.networks.policy(state.params.policy, agent.see(state.obs_stats, obs))
        if key is None:
            return policy.to_env(policy.mode(outputs))
        return policy.to_env(policy.sample(outputs, policy.noise(key, (len(obs),))))

    return jax.jit(act)


def observations(config, number=5):
    shape = make_agent(config).encoder.shapes
    return jax.random.normal(jax.random.key(1), (number, *shape), jnp.float32)


def test_it_acts_as_in_training(trained):
    config, state, folder = trained
    expected, found = training_policy(config, state), load_policy(folder)
    obs, key = observations(config), jax.random.key(9)
    np.testing.assert_allclose(found.act(obs), expected(obs), rtol=1e-6)
    np.testing.assert_allclose(found.act(obs, key), expected(obs, key), rtol=1e-6)
    np.testing.assert_allclose(found.act(np.asarray(obs)[2]), expected(obs[2:3])[0], rtol=1e-6)
    assert found.card["scores"] == {"return": 7.0}
    assert found.card["config"]["env"] == config.env


def test_the_compiled_program_needs_jax_alone(trained, tmp_path):
    """For any number of observations, in a process that never imports this package."""
    config, _, folder = trained
    policy = load_policy(folder)
    (tmp_path / "policy.jax").write_bytes(compiled(policy, ("cpu",)))
    obs = observations(config, 3)
    np.save(tmp_path / "obs.npy", obs)
    code = f"""
import sys, jax, numpy as np
act = jax.export.deserialize(bytearray(open({str(tmp_path / "policy.jax")!r}, "rb").read())).call
obs = np.load({str(tmp_path / "obs.npy")!r})
np.save({str(tmp_path / "actions.npy")!r}, act(obs)); act(obs[:1])
print("purejaxvpg" in sys.modules, "flax" in sys.modules)
"""
    code = code.replace("import sys, jax,", "import sys, jax, jax.export,")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == ["False", "False"], done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "actions.npy"), policy.act(obs), rtol=1e-6)


def test_it_loads_no_environment(trained):
    code = f"""
import sys
from purejaxvpg.experiment.policy_files import load_policy
load_policy({str(trained[2])!r})
print("gymnax" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == ["False"], done.stderr


def test_observations_of_another_shape_are_refused(trained):
    config, _, folder = trained
    obs = observations(config)
    for wrong in (obs[..., :-1], obs[None], np.zeros(())):
        with pytest.raises(ValueError, match=r"obs has shape .*; accepted: \("):
            load_policy(folder).act(wrong)


@pytest.mark.parametrize("name", ["card.json", "policy.safetensors"])
def test_damage_is_found(trained, tmp_path, name):
    _, _, folder = trained
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    data = bytearray((tmp_path / name).read_bytes())
    data[data.index(b"7.0") if name == "card.json" else len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=r"cannot be read: .*its sum is wrong"):
        load_policy(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"it has no {name}"):
        load_policy(tmp_path)


def test_parameters_of_another_shape_are_refused(trained, tmp_path):
    config, state, folder = trained
    other = dataclasses.replace(config, hidden_sizes=(9,))
    with pytest.raises(ValueError, match=r"this config: \S+ has shape \(.*; accepted: shape \("):
        save_policy(tmp_path / "new", other, state.params.policy, state.obs_stats)
    assert not (tmp_path / "new").exists()
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    card = read_described(tmp_path / "card.json", FORMATS)
    card["config"]["hidden_sizes"] = [9]
    write_described(tmp_path / "card.json", card)
    with pytest.raises(ValueError, match="cannot be read: params/"):
        load_policy(tmp_path)


def test_the_command_exports_the_best_seed_or_the_one_asked_for(tmp_path, capsys):
    run = tmp_path / "run"
    command = ["train", "CartPole-v1", "--num-envs", "2", "--num-steps", "64", "--num-seeds", "3"]
    command += ["--total-steps", "256", "--hidden-sizes", "8", "--seed", "5", "--out", str(run)]
    assert cli.main(command) == 0
    assert cli.main(["export", str(run)]) == 0
    card = json.loads((run / "policy" / "card.json").read_text())
    assert f"policy of seed {card['scores']['seed']}" in capsys.readouterr().out
    assert (run / "policy" / "policy.jax").stat().st_size > 0
    out = tmp_path / "seven"
    assert cli.main(["export", str(run), "--seed", "7", "--out", str(out), "--no-compiled"]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["card.json", "card.md", "policy.safetensors"]
    study, obs = load_study(run), observations(SMALL)
    state = jax.tree.map(lambda x: x[0], policies_of(study, 0, np.asarray([7])))
    save_policy(tmp_path / "expected", study.config, *state)
    np.testing.assert_array_equal(
        load_policy(out).act(obs), load_policy(tmp_path / "expected").act(obs)
    )
    assert cli.main(["export", str(run), "--seed", "8"]) == 2
    assert "seed=8 is not in the study; accepted: 5 to 7" in capsys.readouterr().err

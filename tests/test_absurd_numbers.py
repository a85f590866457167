"""Numbers out of all reason: one line, at once and in bounded memory; from Python a ValueError."""

import math
import time

import jax
import numpy as np
import pytest
from support.refusals import assert_refused

from purejaxvpg import Hyperparams, VPGConfig, cli
from purejaxvpg.evaluate import make_evaluate
from purejaxvpg.experiment import LogUniform, Uniform, load_study, search, sweep, train
from purejaxvpg.experiment.evaluation import evaluation_keys
from purejaxvpg.experiment.memory import least_bytes, total_bytes

HUGE = 10**20
TINY = {"num_envs": 2, "num_steps": 8, "total_steps": 160, "hidden_sizes": (8,)}
CONFIGS = {
    "num_envs=10000000000 is out of range": {"num_envs": 10**10, "total_steps": 8 * 10**11},
    "num_steps=10000000000000 is": {"num_steps": 10**13, "total_steps": 2 * 10**13},
    "num_envs=65_536 and num_steps=32_768 makes 2_147_483_648 rows of a batch": {
        "num_envs": 2**16, "num_steps": 2**15, "total_steps": 2**31},
    "max_episode_steps=99999999999999999999 is": {"max_episode_steps": HUGE - 1},
    "n_step=100000000000000000000 is": {"n_step": HUGE},
    "value_iterations=100000000000000000000 is": {"value_iterations": HUGE},
    "eval_steps=100000000000000000000 is": {"eval_steps": HUGE},
    "gradient_rows=100000000000000000000 is": {"gradient_rows": HUGE},
    "eval_episodes=1000001 is .* up to 1_000_000": {"eval_episodes": 10**6 + 1},
    r"hidden_sizes=\(100000, 100000\) is": {"hidden_sizes": (10**5, 10**5)},
    r"hidden_sizes=\(10000000000,\) is": {"hidden_sizes": (10**10,)},
    "init_std=1e[+]39 is": {"init_std": 1e39},
    "obs_clip=1e[+]39 is": {"obs_clip": 1e39},
}  # fmt: skip


@pytest.mark.parametrize("message", CONFIGS)
def test_a_config_refuses_them(message):
    with pytest.raises(ValueError, match=message):
        VPGConfig(**{**TINY, **CONFIGS[message]})


def test_the_largest_counts_are_taken():
    most = 2**31 - 1
    VPGConfig(**TINY | {"max_episode_steps": most, "n_step": most, "eval_episodes": 10**6})
    VPGConfig(num_envs=1, num_steps=most, total_steps=most, hidden_sizes=(46_340, 46_340))


@pytest.mark.parametrize(
    ("name", "value"),
    [("policy_lr", 1e39), ("entropy_coef", -1e39), ("adam_eps", 1e-60), ("max_grad_norm", 1e-60)],
)
def test_hyperparameters_are_finite_and_positive_in_float32(name, value):
    with pytest.raises(ValueError, match=f"{name}={value:g} is out of range".replace("+", "[+]")):
        Hyperparams(**{name: value})
    assert Hyperparams(max_grad_norm=math.inf).max_grad_norm == math.inf
    assert Hyperparams(policy_lr=3e38).policy_lr == 3e38


RANGE = {"gamma": Uniform(0.5, 0.9)}
MANY = {name: np.linspace(0.1, 0.9, 100) for name in ("gamma", "gae_lambda", "policy_lr")}
SWEEPS = {
    "num_seeds=4000000000 is out of range; accepted: at most 1,000,000": {"num_seeds": 4 * 10**9},
    "first_seed=100000000000000000000 is": {"first_seed": HUGE},
    "2 settings with num_seeds=600000 are 1,200,000 runs": {
        "grid": {"gamma": [0.5, 0.9]}, "num_seeds": 600_000},
    "num_samples=99999999999999 is": {"sample": RANGE, "num_samples": 99_999_999_999_999},
    "100000000 settings are out of range": {"grid": {**MANY, "value_lr": MANY["gamma"]}},
    "rungs=99999999999999 is": {"prune": "successive_halving", "rungs": 99_999_999_999_999},
    "chunk_size=100000000000000000000 is": {"chunk_size": HUGE},
    "memory_limit=1e[+]300 is": {"memory_limit": 1e300},
    "memory_limit=nan is": {"memory_limit": math.nan},
    "checkpoint_minutes=often is": {"checkpoint_minutes": "often"},
    "max_steps_in_episode=99999999999 is out of range; accepted: up to 2,147,483,647": {
        "hp": Hyperparams(env_params={"max_steps_in_episode": 99_999_999_999})},
    "one run takes at least 32.0 GB of a device, which has 8.0 GB": {
        "grid": {"num_envs": [10**9], "num_steps": [2], "total_steps": [2 * 10**9]}},
}  # fmt: skip


@pytest.mark.parametrize("message", SWEEPS)
def test_a_sweep_refuses_them_at_once(message, monkeypatch):
    monkeypatch.setattr("purejaxvpg.experiment.checks.total_bytes", lambda _: 8 * 10**9)
    begun = time.perf_counter()
    with pytest.raises(ValueError, match=message) as error:
        sweep(VPGConfig(**TINY), progress=False, **SWEEPS[message])
    assert "\n" not in str(error.value)
    assert time.perf_counter() - begun < 5


def test_a_search_refuses_them():
    space = {"policy_lr": LogUniform(1e-4, 1e-2)}
    for name in ("rounds", "batch"):
        numbers = {"rounds": 1, "batch": 1, name: HUGE}
        with pytest.raises(ValueError, match=f"{name}={HUGE} is .* at most 1,000,000"):
            search(VPGConfig(**TINY), space, **numbers)


def test_an_evaluation_refuses_them():
    config = VPGConfig(**TINY)
    with pytest.raises(ValueError, match=r"num_episodes=1000001 is .* 1 to 1_000_000"):
        make_evaluate(config, num_episodes=10**6 + 1)
    with pytest.raises(ValueError, match=rf"max_steps={HUGE} is .* 1 to 2_147_483_647"):
        make_evaluate(config, max_steps=HUGE)
    for seed in (-1, 2**32):
        with pytest.raises(ValueError, match=f"seed={seed} of the evaluation is out of range"):
            evaluation_keys(np.arange(2), seed)


def test_the_least_memory_is_less_than_a_run_takes():
    """The bound refuses nothing that fits: it counts less than arrays take."""
    config = VPGConfig(**TINY)
    assert least_bytes(config) == 16 * 16 + 12 * 2 * (8 + 8)
    stats = jax.devices()[0].memory_stats() or {}
    assert total_bytes(jax.devices()[0]) >= stats.get("bytes_in_use", 1)


LINES = {
    "train {tiny} --num-seeds 4000000000": "num_seeds=4000000000",
    "train {tiny} --num-envs 10000000000 --total-steps 800000000000": "num_envs=10000000000",
    "train {tiny} --num-steps 1e13 --total-steps 2e13": "num_steps=10000000000000",
    "train {tiny} --total-steps 1e999999999": "1e999999999 is out of range; accepted: at most 100",
    "train {tiny} --seed {long}": "is out of range; accepted: at most 100 digits",
    "train {tiny} --chunk-size {long}": "is neither auto nor an integer >= 1",
    "train {tiny} --chunk-size 1e20": "chunk_size=100000000000000000000 is out of range",
    "sweep {tiny} --sample gamma=uniform:0:1 --num-samples 99999999999999": "num_samples=9999999",
    "sweep {tiny} --grid gamma=0.9,0.99 --prune successive_halving --rungs 1e14": "rungs=1000000",
    "sweep {tiny} --memory-limit {nines}": "is no size; write for example",
    "sweep {tiny} --memory-limit 1e9GB": "is no size; write for example",
    "sweep {tiny} --shard 0/{long}": "is not i/n",
}


@pytest.mark.parametrize("line", LINES)
def test_a_command_refuses_them_in_one_line(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = line.format(tiny="CartPole-v1 --no-preset", nines="9" * 400, long="9" * 5000).split()
    tiny = {"--num-envs": "2", "--num-steps": "8", "--total-steps": "160", "--hidden-sizes": "8"}
    words += [word for pair in tiny.items() if pair[0] not in words for word in pair]
    assert_refused(words, LINES[line], capsys)
    assert not list(tmp_path.iterdir())


def test_episodes_of_eval_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("purejaxvpg.experiment.engine.run", lambda _: None)
    train(VPGConfig(**TINY), folder=tmp_path / "run")
    study = load_study(tmp_path / "run")
    done = study._replace(updates=np.full_like(study.updates, study.config.num_updates))
    monkeypatch.setattr("purejaxvpg.cli.policies.load_study", lambda _: done)
    assert cli.main(["eval", "run", "--num-episodes", "1e20"]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "num_episodes=100000000000000000000 is out of range; accepted: 1 to 1_000_000" in printed

"""The host loop and the run folder: the numbers of one call, and all of them back from disk."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments.classic_control.cartpole import CartPole

from purejaxvpg import Hyperparams, VPGConfig, envs, make_evaluate, make_train
from purejaxvpg.experiment.files import read_described, write_described
from purejaxvpg.experiment.results import begin_run, begun_run, discard_run, load_run, save_run
from purejaxvpg.experiment.runner import (
    _progress,
    evaluation_keys,
    run,
    seed_keys,
)
from purejaxvpg.experiment.segments import segment_length

CONFIG = VPGConfig(
    env="CartPole-v1",
    total_steps=12 * 32,
    num_envs=4,
    num_steps=8,
    hidden_sizes=(8,),
    value_iterations=2,
    normalize_obs=True,
    eval_every=2,
    eval_episodes=3,
)
HP = Hyperparams(policy_lr=1e-2, env_params={"max_steps_in_episode": 20})


@pytest.fixture(scope="module")
def result_and_progress():
    seen = []
    result = run(CONFIG, HP, num_seeds=2, first_seed=5, on_progress=seen.append, reports=3)
    return result, seen


def test_segments_give_the_numbers_of_one_call(result_and_progress):
    """Up to rounding: a loop of another length is another program (jax 0.11 shows it)."""
    result, _ = result_and_progress
    keys = seed_keys(np.array([5, 6]))
    whole = jax.jit(jax.vmap(make_train(CONFIG), in_axes=(0, None)))(keys, HP)
    np.testing.assert_array_equal(
        jax.random.key_data(result.state.key), jax.random.key_data(whole.state.key)
    )
    np.testing.assert_array_equal(result.metrics.episode_count, whole.metrics.episode_count)
    for found, expected in zip(
        jax.tree.leaves((result.state.params, result.metrics, result.evaluations)),
        jax.tree.leaves((whole.state.params, whole.metrics, whole.evaluations)),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_progress_is_told_after_every_segment(result_and_progress):
    result, seen = result_and_progress
    assert [p.updates for p in seen] == [4, 8, 12]
    assert [p.steps for p in seen] == [4 * 32 * 2, 8 * 32 * 2, 12 * 32 * 2]
    last = slice(8, 12)
    sums = result.metrics.episode_return_sum[:, last].sum(1)
    means = sums / result.metrics.episode_count[:, last].sum(1)
    assert seen[-1].mean_return == pytest.approx(means.mean())
    assert seen[-1].steps_per_second == pytest.approx(seen[-1].steps / result.seconds)


def test_a_seed_has_one_key_whatever_its_place():
    data = jax.random.key_data(seed_keys(np.array([3, 7, 4])))
    np.testing.assert_array_equal(data[1], jax.random.key_data(jax.random.key(7)))


def test_segments_divide_the_run_and_keep_whole_evaluations():
    assert segment_length(CONFIG, 3) == 4
    assert segment_length(CONFIG, 1) == 12
    assert segment_length(CONFIG, 100) == 2
    prime = VPGConfig(total_steps=7000)
    assert segment_length(prime, 3) == 1
    assert segment_length(prime, 1) == 7


def test_num_seeds_below_one_is_refused():
    with pytest.raises(ValueError, match="num_seeds=0"):
        run(CONFIG, HP, num_seeds=0)


def test_a_saved_run_comes_back_whole(result_and_progress, tmp_path):
    result, _ = result_and_progress
    save_run(tmp_path / "run", result, "purejaxvpg train ...")
    saved = load_run(tmp_path / "run")
    assert saved.config == CONFIG
    assert saved.hyperparams == HP
    assert saved.record["command"] == "purejaxvpg train ..."
    assert saved.record["versions"]["jax"] == jax.__version__
    np.testing.assert_array_equal(saved.seeds, [5, 6])
    jax.tree.map(np.testing.assert_array_equal, saved.policy_params, result.state.params.policy)
    jax.tree.map(np.testing.assert_array_equal, saved.obs_stats, result.state.obs_stats)
    for name, values in result.metrics._asdict().items():
        np.testing.assert_array_equal(saved.metrics[name], values)
    np.testing.assert_array_equal(saved.metrics["evaluation_returns"], result.evaluations.returns)


def test_a_loaded_policy_acts_as_the_trained_one(result_and_progress, tmp_path):
    result, _ = result_and_progress
    save_run(tmp_path / "run", result)
    saved = load_run(tmp_path / "run")
    evaluate = jax.jit(jax.vmap(make_evaluate(CONFIG, 2), in_axes=(0, 0, 0, None)))
    keys = seed_keys(np.array([0, 1]))
    state = result.state
    before = evaluate(keys, state.params.policy, state.obs_stats, HP)
    after = evaluate(keys, saved.policy_params, saved.obs_stats, saved.hyperparams)
    jax.tree.map(np.testing.assert_array_equal, before, after)
    assert int(jnp.max(after.lengths)) <= 20  # the environment parameters came along


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").write_text("x")
    with pytest.raises(FileExistsError, match="exists already"):
        begin_run(tmp_path / "run", CONFIG, HP, np.arange(2))
    assert (tmp_path / "run" / "precious").read_text() == "x"


def test_an_unwritable_place_is_named_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write .*run"):
        begin_run(tmp_path / "file" / "run", CONFIG, HP, np.arange(2))


def test_a_run_that_has_begun_is_not_done(result_and_progress, tmp_path):
    """It can be gone on with, not evaluated; and it goes away if nothing is kept of it."""
    folder = begin_run(tmp_path / "run", CONFIG, HP, np.arange(5, 7), "purejaxvpg train ...")
    config, hp, seeds, record = begun_run(folder)
    assert (config, hp, seeds.tolist(), record["complete"]) == (CONFIG, HP, [5, 6], False)
    with pytest.raises(ValueError, match=r"is not done; go on with it: purejaxvpg train --resume"):
        load_run(folder)
    assert discard_run(folder)
    assert not folder.exists()
    save_run(folder, result_and_progress[0])
    assert not discard_run(folder)
    assert load_run(folder).record["complete"]


def test_a_run_of_the_first_format_is_read(result_and_progress, tmp_path):
    """Format 1 had no sums, and a folder only when the run was done."""
    save_run(tmp_path / "run", result_and_progress[0])
    path = tmp_path / "run" / "run.json"
    said = json.loads(path.read_text())
    old = {k: v for k, v in said.items() if k not in ("files", "complete", "sha256")}
    path.write_text(json.dumps(old | {"format": 1}))
    assert load_run(tmp_path / "run").config == CONFIG


@pytest.mark.parametrize("name", ["run.json", "metrics.npz", "policy.safetensors"])
def test_one_flipped_bit_is_found(result_and_progress, tmp_path, name):
    save_run(tmp_path / "run", result_and_progress[0])
    file = tmp_path / "run" / name
    data = bytearray(file.read_bytes())
    middle = data.index(b"0.01") + 3 if name == "run.json" else len(data) // 2
    data[middle] ^= 4  # 0.01 becomes 0.05: as good a number
    file.write_bytes(data)
    with pytest.raises(ValueError, match="its sum is wrong"):
        load_run(tmp_path / "run")


@pytest.mark.parametrize("name", ["run.json", "metrics.npz", "policy.safetensors"])
def test_a_damaged_or_missing_file_is_one_line(result_and_progress, tmp_path, name):
    save_run(tmp_path / "run", result_and_progress[0])
    file = tmp_path / "run" / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match="cannot be read") as error:
        load_run(tmp_path / "run")
    assert "\n" not in str(error.value)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load_run(tmp_path / "run")


def test_another_format_is_refused(result_and_progress, tmp_path):
    save_run(tmp_path / "run", result_and_progress[0])
    path = tmp_path / "run" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        load_run(tmp_path / "run")


def test_objects_in_a_config_cannot_be_saved_and_it_says_so(result_and_progress, tmp_path):
    result = result_and_progress[0]._replace(config=VPGConfig(kernel_init=jax.nn.initializers.ones))
    with pytest.raises(TypeError, match=r"kernel_init=.* by name"):
        save_run(tmp_path, result)


def test_a_linear_policy_and_nested_arguments_come_back(tmp_path, monkeypatch):
    """A torso without parameters leaves an empty node; JSON turns tuples into lists."""
    monkeypatch.setattr(envs, "_user_factories", {})  # or other tests would list it
    envs.register("Sized", lambda shape: CartPole())
    config = VPGConfig(
        env="Sized", env_kwargs={"shape": (3, (4,))}, hidden_sizes=(), num_envs=2, num_steps=4,
        total_steps=8, value_iterations=1,
    )  # fmt: skip
    result = run(config, num_seeds=1)
    save_run(tmp_path / "run", result)
    saved = load_run(tmp_path / "run")
    assert saved.config == config
    assert jax.tree.structure(saved.policy_params) == jax.tree.structure(result.state.params.policy)


def test_parameters_of_another_shape_are_refused(result_and_progress, tmp_path):
    save_run(tmp_path / "run", result_and_progress[0])
    path = tmp_path / "run" / "run.json"
    said = read_described(path, [2])
    said["config"]["hidden_sizes"] = [9]
    write_described(path, said)
    with pytest.raises(ValueError, match=r"policy.safetensors has params/policy/\S+ \(2, 8.*9"):
        load_run(tmp_path / "run")


def test_evaluation_draws_nothing_that_training_drew():
    """fold_in(key, i) is split(key, n)[i]: the careless choice would reuse a training key."""
    seeds = np.arange(4)
    training = [jax.random.split(key, 64) for key in seed_keys(seeds)]
    used = {tuple(row) for keys in training for row in jax.random.key_data(keys).tolist()}
    assert tuple(jax.random.key_data(jax.random.fold_in(jax.random.key(0), 1)).tolist()) in used
    for seed in range(3):
        mine = {tuple(row) for row in jax.random.key_data(evaluation_keys(seeds, seed)).tolist()}
        assert len(mine) == 4
        assert not mine & used


def test_episodes_longer_than_the_rollout_are_refused_under_swept_limits_too():
    config = VPGConfig(env="Pendulum-v1", rollout="episodes", num_steps=200, total_steps=1600)
    with pytest.raises(ValueError, match="pass num_steps=400"):
        run(config, Hyperparams(env_params={"max_steps_in_episode": 400}))


def test_mean_return_of_progress_weighs_seeds_alike():
    metrics = SimpleNamespace(
        episode_return_sum=np.array([[500.0, 0.0], [20.0, 80.0]]),
        episode_count=np.array([[1.0, 0.0], [4.0, 16.0]]),
    )
    assert _progress(CONFIG, 2, 2, 1.0, metrics).mean_return == pytest.approx((500 + 5) / 2)

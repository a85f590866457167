"""A run: one setting trained with S seeds, its folder, and all of it back from disk."""

import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from gymnax.environments.classic_control.cartpole import CartPole
from support.assertions import assert_same_bits
from support.probes import quick_jit
from support.segments import Seen
from support.studies import assert_same_study

from purejaxvpg import Hyperparams, VPGConfig, envs, make_train
from purejaxvpg.experiment import Study, load_study, sweep, train
from purejaxvpg.experiment.evaluation import evaluate_setting, policies_of
from purejaxvpg.experiment.progress import Clock

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
ONE = {"chunk_size": 2, "devices": jax.devices()[:1]}


def run(**how):
    return train(CONFIG, HP, 2, first_seed=5, **ONE, **how)


@pytest.fixture(scope="module")
def told():
    """What a run tells: on_progress, on_segment."""
    return [], Seen()


@pytest.fixture(scope="module")
def whole(told):
    progress, segments = told
    return run(on_progress=progress.append, on_segment=segments)


def files(folder):
    """Every file of a folder and its bytes."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# ------------------------------------------------------------------------------- THE NUMBERS


def test_a_run_has_the_numbers_of_one_call(whole, told):
    """Of `make_train` with the key of each seed, up to rounding: it is another program."""
    keys = jax.vmap(jax.random.key)(np.arange(5, 7))
    expected = quick_jit(jax.vmap(make_train(CONFIG), in_axes=(0, None)))(keys, HP)
    state = told[1][-1].state
    np.testing.assert_array_equal(state.key, jax.random.key_data(expected.state.key))
    counts = whole.metrics["episode_count"][0]
    np.testing.assert_array_equal(counts, expected.metrics.episode_count)
    params, obs_stats = policies_of(whole, 0, whole.seeds)
    metrics = {name: x[0] for name, x in whole.metrics.items()}
    evaluations = {name: x[0] for name, x in whole.evaluations.items()}
    for found, wanted in (
        (state.params, expected.state.params),
        (params, expected.state.params.policy),
        (obs_stats, expected.state.obs_stats),
        (metrics, expected.metrics._asdict()),
        (evaluations, expected.evaluations._asdict()),
    ):
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5), found, wanted
        )


def test_a_seed_has_one_key_whatever_its_place(whole):
    later = train(CONFIG, HP, 2, first_seed=6, **ONE)
    for name, x in whole.metrics.items():
        np.testing.assert_array_equal(later.metrics[name][0, 0], x[0, 1], name)
    assert not np.array_equal(whole.metrics["kl"][0, 0], whole.metrics["kl"][0, 1])


def test_a_run_is_a_study_of_one_setting(whole):
    assert isinstance(whole, Study)
    assert whole.complete
    assert whole.design.axes == ()
    assert whole.metrics["kl"].shape == (1, 2, 12)
    assert whole.evaluations["returns"].shape == (1, 2, 6, 3)
    np.testing.assert_array_equal(whole.steps, [32 * np.arange(1, 13)])
    assert whole.setting(0) == (CONFIG, HP)


def test_a_sweep_of_one_setting_is_the_same_run(whole, tmp_path):
    """The same bits; and without axes the same folder."""
    run(folder=tmp_path / "run")
    sweep(CONFIG, None, 2, hp=HP, first_seed=5, folder=tmp_path / "sweep", **ONE)
    assert files(tmp_path / "run").keys() == files(tmp_path / "sweep").keys()
    one, other = load_study(tmp_path / "run"), load_study(tmp_path / "sweep")
    assert_same_study(one, other)
    assert_same_study(one, whole)
    faces = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("run", "sweep")]
    for name in ("format", "config", "hyperparams", "axes", "seeds", "prune"):
        assert faces[0][name] == faces[1][name]
    hp = Hyperparams(policy_lr=0.5, env_params=HP.env_params)
    swept = sweep(CONFIG, {"policy_lr": [1e-2]}, 2, hp=hp, first_seed=5, **ONE)
    assert_same_bits(swept.metrics, whole.metrics)
    assert_same_bits(swept.evaluations, whole.evaluations)
    assert_same_bits(swept.policies.arrays([0, 1]), whole.policies.arrays([0, 1]))


# ------------------------------------------------------------------------------- PROGRESS


def test_progress_is_told_before_compiling_and_after_every_segment(whole, told):
    progress, segments = told
    assert [p.status for p in progress[:2]] == ["measuring memory", "compiling for 2 runs"]
    running = [p for p in progress if p.status == "running"][:-1]  # the last: the chunk is done
    assert [p.steps_done for p in running] == [32 * 2 * segment.updates for segment in segments]
    assert all(p.steps_done + p.steps_left == 2 * 12 * 32 for p in running)
    assert (running[-1].runs_done, progress[-1].runs_done, progress[-1].num_runs) == (0, 2, 2)
    last = segments[-1].metrics
    means = last.episode_return_sum.sum(1) / last.episode_count.sum(1)
    expected = means[np.isfinite(means)].mean() if np.isfinite(means).any() else np.nan
    assert progress[-1].mean_return == pytest.approx(expected, nan_ok=True)
    rate = progress[-1].steps_done / whole.record.seconds
    assert progress[-1].steps_per_second == pytest.approx(rate)


def test_mean_return_of_progress_weighs_runs_alike():
    """500 in one episode, and 100 in twenty."""
    progress = []
    clock = Clock(progress.append)
    metrics = SimpleNamespace(
        episode_return_sum=np.array([[500.0, 0.0], [20.0, 80.0]]),
        episode_count=np.array([[1.0, 0.0], [4.0, 16.0]]),
    )
    segment = SimpleNamespace(runs=np.arange(2), updates=2, metrics=metrics, seconds=1.0)
    clock.segment(segment, steps_per_update=8)
    assert progress[-1].mean_return == pytest.approx((500 + 5) / 2)


def test_progress_counts_the_runs_of_all_processes_and_not_what_a_checkpoint_had():
    """4 runs of 10 updates of 16 steps, 3 of which are done; this process has 2 of the runs."""
    progress = []
    clock = Clock(progress.append)
    work = SimpleNamespace(num_runs=4, runs=range(4), start=0, end=10)
    clock.begin([work], [16])
    clock.chunk(4, 3, done=4 * 3 * 16, seconds=100.0)
    counts = np.zeros((2, 1))
    metrics = SimpleNamespace(episode_return_sum=counts, episode_count=counts)
    for updates, done, left in ((4, 64, 6 * 64), (10, 7 * 64, 0)):  # done: by this call
        segment = SimpleNamespace(runs=range(2), updates=updates, metrics=metrics, seconds=102.0)
        clock.segment(segment, steps_per_update=16)
        assert (progress[-1].steps_done, progress[-1].steps_left) == (4 * 3 * 16 + done, left)
        assert progress[-1].steps_per_second == done / 2


# ------------------------------------------------------------------------------- REFUSALS


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"num_seeds": 0}, "num_seeds=0"),
        ({"first_seed": -1}, "first_seed=-1"),
        ({"grid": {"gamma": [0.9]}}, r"train has one setting and takes no grid=; use sweep"),
        ({"shard": "0/2"}, r"train has one setting and takes no shard="),
        ({"prune": "successive_halving"}, r"takes no prune="),
        ({"reports": 3}, r"reports= is no argument"),
        ({"resume": True}, r"resume=True needs the folder"),
    ],
)
def test_what_no_run_takes_is_one_line(how, said):
    with pytest.raises((ValueError, TypeError), match=said) as error:
        train(CONFIG, HP, **how)
    assert "\n" not in str(error.value)


def test_episodes_longer_than_the_rollout_are_refused_under_swept_limits_too():
    config = VPGConfig(env="Pendulum-v1", rollout="episodes", num_steps=200, total_steps=1600)
    with pytest.raises(ValueError, match="pass num_steps=400"):
        train(config, Hyperparams(env_params={"max_steps_in_episode": 400}))


def test_objects_in_a_config_cannot_be_kept_and_it_says_so(tmp_path):
    config = VPGConfig(kernel_init=lambda *_: None, num_envs=2, num_steps=4, total_steps=8)
    with pytest.raises(TypeError, match=r"kernel_init=.* by name"):
        train(config, folder=tmp_path / "run", chunk_size=1)
    assert not (tmp_path / "run").exists()


# --------------------------------------------------------------------------------- FOLDERS


@pytest.fixture(scope="module")
def finished(whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    run(folder=folder, command="purejaxvpg train ...")
    return folder


def test_a_run_comes_back_whole(finished, whole):
    back = load_study(finished)
    assert_same_study(back, whole)
    assert (back.config, back.hyperparams) == (CONFIG, HP)
    assert back.record.command == "purejaxvpg train ..."
    assert back.record.versions["jax"] == jax.__version__
    assert back.record.complete
    assert back.record.steps == 2 * 12 * 32
    np.testing.assert_array_equal(back.seeds, [5, 6])
    assert_same_bits(back.policies.arrays([0, 1]), whole.policies.arrays([0, 1]))
    names = sorted({path.parts[0] for path in files(finished)})
    assert names == [
        ".lock", "metrics.jsonl", "metrics.npz", "parts", "policies", "run.json",
    ]  # fmt: skip
    with np.load(finished / "metrics.npz") as arrays:
        np.testing.assert_array_equal(arrays["kl"], whole.metrics["kl"][0])


def test_a_loaded_policy_acts_as_the_trained_one(finished, whole):
    outcomes = [evaluate_setting(x, num_episodes=2) for x in (whole, load_study(finished))]
    assert_same_bits(*outcomes)
    assert int(outcomes[1].lengths.max()) <= 20  # the environment parameters came along


def test_an_existing_folder_is_left_alone(tmp_path, finished):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").write_text("x")
    with pytest.raises(FileExistsError, match="choose another folder"):
        run(folder=tmp_path / "run")
    assert (tmp_path / "run" / "precious").read_text() == "x"
    before = files(finished)
    with pytest.raises(FileExistsError, match="holds a study already; resume it"):
        run(folder=finished)
    assert files(finished) == before


def test_an_unwritable_place_is_named_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    progress = []
    with pytest.raises(OSError, match=r"cannot write .*run"):
        run(folder=tmp_path / "file" / "run", on_progress=progress.append)
    assert not [p for p in progress if p.status != "measuring memory"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_run_that_is_interrupted_before_its_first_update_keeps_its_folder(tmp_path, whole, error):
    """It says what it is, and can be gone on with; nothing of the user's is removed."""

    def interrupt(progress):
        if progress.status.startswith("compiling"):
            raise error

    folder = tmp_path / "run"
    with pytest.raises(error):
        run(folder=folder, on_progress=interrupt, command="purejaxvpg train ...")
    assert {path.name for path in folder.iterdir()} == {".lock", "run.json", "parts"}
    begun = load_study(folder)
    assert not begun.complete
    assert not begun.record.complete
    assert begun.updates.tolist() == [[0, 0]]
    assert begun.record.command == "purejaxvpg train ..."
    assert begun.setting(0) == (CONFIG, HP)
    assert_same_study(run(folder=folder, resume=True), whole)
    assert load_study(folder).record.complete


def test_a_run_that_is_done_is_resumed_to_itself(tmp_path, finished, whole):
    segments, before = Seen(), files(finished)
    again = run(folder=finished, resume=True, on_segment=segments)
    assert segments == []
    assert_same_study(again, whole)
    for path, data in files(finished).items():
        if path.parts[0] in ("parts", "policies"):
            assert before[path] == data


def test_a_linear_policy_and_nested_arguments_come_back(tmp_path, monkeypatch):
    """A torso without parameters leaves an empty node; JSON turns tuples into lists."""
    monkeypatch.setattr(envs, "_user_factories", {})  # or other tests would list it
    envs.register("Sized", lambda shape: CartPole())
    config = VPGConfig(
        env="Sized", env_kwargs={"shape": (3, (4,))}, hidden_sizes=(), num_envs=2, num_steps=4,
        total_steps=8, value_iterations=1,
    )  # fmt: skip
    study = train(config, folder=tmp_path / "run")
    back = load_study(tmp_path / "run")
    assert back.config == config
    one, other = (policies_of(x, 0, x.seeds) for x in (study, back))
    assert_same_bits(one, other)

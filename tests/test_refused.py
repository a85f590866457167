"""Arguments that cannot be, and those of earlier versions: one line before anything runs."""

import pytest
from support.sweeps import CONFIG

from purejaxvpg.experiment import LogUniform, program, search, sweep, train

HALVING = {"prune": "successive_halving"}
BAD = {
    "did you mean policy_lr": {"grid": {"polcy_lr": [1]}},
    "axis gamma has no values": {"grid": {"gamma": []}},
    "gamma='x' is not a number": {"grid": {"gamma": ["x"]}},
    "gamma=2 is out of range": {"grid": {"gamma": [0.9, 2]}},
    "did you mean gravity": {"grid": {"env_params.gravty": [1.0]}},
    "total_steps=100": {"grid": {"total_steps": [100]}},
    "num_seeds=0": {"num_seeds": 0},
    "first_seed=-1": {"first_seed": -1},
    "chunk_size=0": {"chunk_size": 0},
    "memory_limit=-5": {"memory_limit": -5},
    "first_seed=0.5": {"first_seed": 0.5},
    "memory_limit='8GB'": {"memory_limit": "8GB"},
    "leave out one of them": {"memory_limit": 10**9, "chunk_size": 2},
    "split='rows' is unknown": {"split": "rows"},
    "keep_policies='some' is unknown": {"keep_policies": "some"},
    "checkpoint_minutes=-1": {"checkpoint_minutes": -1},
    "checkpoint_updates=-1": {"checkpoint_updates": -1},
    r"shard=\(3, 3\) is not i/n": {"shard": (3, 3), "folder": "x"},
    "shard='3/3' is not i/n": {"shard": "3/3", "folder": "x"},
    "pass folder=": {"shard": (0, 3)},
    "resume=True needs the folder": {"resume": True},
    "prune='hyperband' is unknown": {"prune": "hyperband"},
    "rungs=1 is out of range": {**HALVING, "rungs": 1},
    "prune compares scores": {**HALVING, "grid": {"eval_every": [0, 5]}},
    "prune compares all settings": {**HALVING, "shard": (0, 2), "folder": "x"},
}
# Names of earlier versions, and what is called so in no version.
RENAMED = {
    "part= is called shard= now": {"part": (0, 2), "folder": "x"},
    "zip= is called zipped= now": {"zip": {"gamma": [0.9]}},
    "shard='envs' is called split='envs' now": {"shard": "envs"},
    "shard='runs' is called split='runs' now": {"shard": "runs"},
    "sede= is no argument; see help": {"sede": 3},
}
OF_TRAIN = {
    "part= is called shard= now": {"part": (0, 2)},
    "shard='envs' is called split='envs' now": {"shard": "envs"},
    "takes no grid=; use sweep": {"grid": {"gamma": [0.9]}},
    "takes no zipped=; use sweep": {"zipped": {}},
    "takes no sample=; use sweep": {"sample": {}},
    "takes no num_samples=; use sweep": {"num_samples": 2},
    "takes no sampler=; use sweep": {"sampler": "sobol"},
    "takes no sample_seed=; use sweep": {"sample_seed": 1},
    "takes no prune=; use sweep": HALVING,
    "takes no rungs=; use sweep": {"rungs": 2},
    "takes no keep=; use sweep": {"keep": 0.5},
    "takes no shard=; use sweep": {"shard": (0, 2)},
}
OF_SEARCH = {
    "shard='envs' is called split='envs' now": {"shard": "envs"},
    "a search takes no shard; accepted: chunk_size, .*split": {"shard": "0/2"},
    "a search takes no part; accepted: chunk_size": {"part": (0, 2)},
}


@pytest.fixture(autouse=True)
def _nothing_runs_and_nothing_is_written(tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("a program is made")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "_Traced", never)
    yield
    assert not list(tmp_path.iterdir())


def refused(function, *args, match, **kwargs):
    with pytest.raises((ValueError, TypeError), match=match) as error:
        function(*args, **kwargs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("message", [*BAD, *RENAMED])
def test_a_sweep_says_what_is_wrong_in_one_line(message):
    refused(sweep, CONFIG, match=message, **{**BAD, **RENAMED}[message])


@pytest.mark.parametrize("message", OF_TRAIN)
def test_train_says_what_it_does_not_take(message):
    refused(train, CONFIG, match=message, **OF_TRAIN[message])


@pytest.mark.parametrize("message", OF_SEARCH)
def test_a_search_says_what_it_does_not_take(message):
    pytest.importorskip("optuna", reason="the extra optuna is not installed")
    sizes = {"rounds": 1, "batch": 2}
    space = {"policy_lr": LogUniform(1e-4, 1e-2)}
    refused(search, CONFIG, space, match=message, **sizes, **OF_SEARCH[message])


def test_what_is_right_does_run():
    """Else the fixture would prove nothing."""
    with pytest.raises(AssertionError, match="a program is made"):
        sweep(CONFIG, {"gamma": [0.9]}, chunk_size=3)

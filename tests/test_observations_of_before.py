"""States that were saved while every observation was float32, and one-hot of a Discrete."""

import collections
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from support.assertions import assert_same_bits
from support.segments import Seen, stop_after

from purejaxvpg import VPGConfig, make_learner
from purejaxvpg.compute.layout import completed
from purejaxvpg.experiment import train
from purejaxvpg.experiment.checkpoints import OtherState
from purejaxvpg.experiment.chunks import first_rows
from purejaxvpg.experiment.files import read_summed, write_summed
from purejaxvpg.experiment.packing import STATES

SMALL = {"num_envs": 2, "num_steps": 4, "total_steps": 32, "hidden_sizes": (4,),
         "value_iterations": 1}  # fmt: skip
ONE = {"devices": jax.devices()[:1], "chunk_size": 1}


def state_of(env):
    """Paths and shapes `[S, ...]` of a state's leaves; keys as data."""
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 3))
    like = jax.eval_shape(jax.vmap(make_learner(VPGConfig(env=env, **SMALL)).init), keys)
    like = like._replace(key=jax.eval_shape(jax.vmap(jax.random.key_data), like.key))
    return [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(like)], like


def as_before(x, number):
    """An observation as states had it; number: of a Discrete, or None."""
    return x.astype(np.float32) if number is None else np.eye(number, dtype=np.float32)[x]


OBSERVED = (".obs", ".env_state.spares.obs")


@pytest.mark.parametrize(("env", "number"), [("FrozenLake-misc", 16), ("FourRooms-misc", None)])
def test_observations_of_before_are_the_environments_again(env, number):
    """One-hot is a place, whole floats are integers; and the states of today stay as they are."""
    paths, like = state_of(env)
    rng = np.random.default_rng(0)
    now = [rng.integers(0, 4, x.shape).astype(x.dtype) for x in jax.tree.leaves(like)]
    places = [n for n, path in enumerate(paths) if path in OBSERVED]
    assert len(places) == 2
    before = [as_before(x, number) if n in places else x for n, x in enumerate(now)]
    for x, y in zip(completed(before, like), now, strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
    assert completed(now, like) is now


def test_pictures_of_bytes_of_before_are_not_gone_on_with():
    """Their networks learned numbers up to 255, and would see them divided by 255: the leaves stay
    floats, which no state has, and are refused."""
    like = {"obs": jax.ShapeDtypeStruct((3, 2, 4, 4, 1), np.uint8)}
    like = collections.namedtuple("State", like)(**like)
    before = [np.zeros((3, 2, 4, 4, 1), np.float32)]
    assert completed(before, like) is before
    program: Any = SimpleNamespace(rows=3, place=lambda x: x, state_like=like)
    chunk: Any = SimpleNamespace(runs=np.arange(3), hp=(), state=before, start=7)
    with pytest.raises(OtherState, match=r"^the part that ends at update 7 holds a state of other"):
        first_rows(program, chunk)


def test_a_folder_of_before_goes_on_to_the_same_numbers(tmp_path):
    """FrozenLake, stopped after two of four updates, its checkpoints written as they were."""
    config = VPGConfig(env="FrozenLake-misc", **SMALL)
    whole = Seen()
    train(config, on_segment=whole, **ONE)
    how = {"folder": tmp_path / "run", "checkpoint_updates": 1, **ONE}
    train(config, on_segment=stop_after(2), **how)
    places = [n for n, path in enumerate(state_of("FrozenLake-misc")[0]) if path in OBSERVED]
    files = list((tmp_path / "run").rglob("0000*.npz"))
    assert files
    for file in files:
        arrays = read_summed(file)
        assert arrays["states"] == STATES
        arrays |= {f"state.{n}": as_before(arrays[f"state.{n}"], 16) for n in places}
        write_summed(file, arrays | {"states": np.asarray(3)})
    rest = Seen()
    train(config, on_segment=rest, resume=True, **how)
    assert rest.updates[0][1] > 2
    assert rest[-1].updates == 4
    assert_same_bits(rest[-1].state, whole[-1].state)

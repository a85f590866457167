"""Spinning Up's VPG (PyTorch) from a checkout: one environment, batches of N T steps.

It was written for gym and MPI.  gymnasium stands in for gym, with reset and step as gym had
them; its MPI tools and its logger are stood in for by ones that do nothing (as one process).
"""

import json
import sys
import time
import types
from pathlib import Path

import gymnasium
import numpy as np

job = json.loads(sys.argv[1])
batch = job["envs"] * job["steps"]
epochs = 3


def module(name: str, **names: object) -> None:
    """Put a module in place of another."""
    made = types.ModuleType(name)
    made.__dict__.update(names)
    sys.modules[name] = made


class Silent:
    """Spinning Up's logger, but for what it writes."""

    def __init__(self, **_: object):
        pass

    def __getattr__(self, name: str):
        return lambda *_, **__: None


class OldStep(gymnasium.Wrapper):
    """reset -> observation; step -> observation, reward, done, info."""

    def reset(self):
        return self.env.reset()[0]

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated or truncated, info


module("spinup", __path__=[str(Path(job["checkout"]) / "spinup")])
module("spinup.utils.logx", EpochLogger=Silent)
module(
    "spinup.utils.mpi_tools",
    mpi_fork=lambda *_: None,
    mpi_avg=lambda x: x,
    proc_id=lambda: 0,
    num_procs=lambda: 1,
    mpi_statistics_scalar=lambda x: (np.mean(x), np.std(x)),
)
module(
    "spinup.utils.mpi_pytorch",
    setup_pytorch_for_mpi=lambda: None,
    sync_params=lambda _: None,
    mpi_avg_grads=lambda _: None,
)
sys.modules["gym"], sys.modules["gym.spaces"] = gymnasium, gymnasium.spaces
from spinup.algos.pytorch.vpg import core, vpg  # noqa: E402

vpg.print = lambda *_, **__: None  # "trajectory cut off"
begun = time.perf_counter()
vpg.vpg(
    lambda: OldStep(gymnasium.make("CartPole-v1")),
    actor_critic=core.MLPActorCritic,
    ac_kwargs={"hidden_sizes": (64, 64)},
    steps_per_epoch=batch,
    epochs=epochs,
    train_v_iters=job["value_iterations"],
)
print(json.dumps({"steps": batch * epochs, "seconds": time.perf_counter() - begun}))

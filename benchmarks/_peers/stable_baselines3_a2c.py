"""Stable-Baselines3's A2C: its networks made the same, environments in this process."""

import json
import sys
import time

from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env

job = json.loads(sys.argv[1])
batch = job["envs"] * job["steps"]
total = batch * min(job["updates"], max(1, 30_000 // batch))  # it takes ten thousands a second
layers = {"pi": [64, 64], "vf": [64, 64]}
model = A2C(
    "MlpPolicy",
    make_vec_env("CartPole-v1", n_envs=job["envs"]),
    n_steps=job["steps"],
    policy_kwargs={"net_arch": layers},
    device="cpu",
)
model.learn(batch)
begun = time.perf_counter()
model.learn(total)
print(json.dumps({"steps": total, "seconds": time.perf_counter() - begun}))

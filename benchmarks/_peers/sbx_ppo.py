"""SBX's PPO: one epoch of one minibatch; its networks made the same."""

import json
import sys
import time

from sbx import PPO
from stable_baselines3.common.env_util import make_vec_env

job = json.loads(sys.argv[1])
batch = job["envs"] * job["steps"]
total = batch * min(job["updates"], max(1, 30_000 // batch))
model = PPO(
    "MlpPolicy",
    make_vec_env("CartPole-v1", n_envs=job["envs"]),
    n_steps=job["steps"],
    batch_size=batch,
    n_epochs=1,
    policy_kwargs={"net_arch": {"pi": [64, 64], "vf": [64, 64]}},
)
model.learn(batch)  # compiles
begun = time.perf_counter()
model.learn(total)
print(json.dumps({"steps": total, "seconds": time.perf_counter() - begun}))

"""purejaxvpg: seconds of one jitted run, compiled before."""

import json
import sys
import time

import jax

from purejaxvpg import VPGConfig, make_train

job = json.loads(sys.argv[1])
config = VPGConfig(
    num_envs=job["envs"],
    num_steps=job["steps"],
    total_steps=job["envs"] * job["steps"] * job["updates"],
    value_iterations=job["value_iterations"],
    value_target="lambda_return",
    diagnostics=False,
)
train = jax.jit(make_train(config))
begun = time.perf_counter()
jax.block_until_ready(train(jax.random.key(0)))
first = time.perf_counter() - begun
begun = time.perf_counter()
jax.block_until_ready(train(jax.random.key(1)))
seconds = time.perf_counter() - begun
print(json.dumps({"steps": config.total_steps, "seconds": seconds, "first_call": first}))

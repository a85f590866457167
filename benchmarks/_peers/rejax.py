"""Rejax's PPO: one epoch of one minibatch, no evaluation, the same networks."""

import json
import sys
import time

sys.path.pop(0)  # this file has the library's name

import jax
from rejax import PPO

job = json.loads(sys.argv[1])
total = job["envs"] * job["steps"] * job["updates"]
algorithm = PPO.create(
    env="CartPole-v1",
    num_envs=job["envs"],
    num_steps=job["steps"],
    total_timesteps=total,
    eval_freq=total,
    skip_initial_evaluation=True,
    num_epochs=1,
    num_minibatches=1,
    learning_rate=3e-4,
    max_grad_norm=0.5,
    ent_coef=0.0,
    agent_kwargs={"activation": "tanh"},  # its default: two layers of 64
)
algorithm = algorithm.replace(eval_callback=lambda algorithm, state, key: ())
train = jax.jit(lambda key: algorithm.train(key))
begun = time.perf_counter()
jax.block_until_ready(train(jax.random.PRNGKey(0)))
first = time.perf_counter() - begun
begun = time.perf_counter()
jax.block_until_ready(train(jax.random.PRNGKey(1)))
seconds = time.perf_counter() - begun
print(json.dumps({"steps": total, "seconds": seconds, "first_call": first}))

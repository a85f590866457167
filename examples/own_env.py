"""An environment of your own: a drone that hovers in gusts of wind, trained under three of them.

    python examples/own_env.py            # a minute or two
    python examples/own_env.py --smoke    # tiny sizes

Shows:
- the whole contract, `reset` and `step`, with a time limit and a picture;
- `check_env`, which runs it and says in one line what breaks the contract;
- environment parameters as conditions: one compiled program trains all of them.

    return of the last 20 episodes; 100 is perfect
    gust  0.0    96.0 [95.5, 96.3]
    gust  5.0    67.9 [61.7, 74.1]
    gust 20.0    18.0 [16.6, 19.7]

The command line takes the same object: `purejaxvpg train examples/own_env.py:Drone`.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces

from purejaxvpg import VPGConfig, envs
from purejaxvpg.experiment import play, sweep, write_animation
from purejaxvpg.statistics import aggregate

DT, POWER, EDGE, LIMIT = 0.05, 2.0, 2.0, 100
GUSTS = {"env_params.gust": [0.0, 5.0, 20.0]}


class State(NamedTuple):
    height: jax.Array  # [] float32, 0 is where it should be
    speed: jax.Array  # [] float32


def observe(state):
    return jnp.stack([state.height, state.speed])  # [2]


def reset(key, params):
    state = State(height=jax.random.uniform(key, minval=-1, maxval=1), speed=jnp.zeros(()))
    return observe(state), state


def step(key, state, action, params):
    push = POWER * action[0] - params["gravity"] + params["gust"] * jax.random.normal(key)
    speed = state.speed + DT * push
    state = State(height=state.height + DT * speed, speed=speed)
    lost = jnp.abs(state.height) > EDGE  # nothing follows: terminated, not truncated
    reward = 1 - jnp.minimum(jnp.abs(state.height), EDGE) / EDGE  # 1 where it should be
    obs = observe(state)
    return envs.Step(state, obs, obs, reward, terminated=lost, truncated=False)


def render(state, params):
    picture = np.full((128, 64, 3), 255, np.uint8)
    row = int(np.clip(64 - 32 * float(state.height), 3, 124))
    picture[64, ::4] = 160  # where it should be
    picture[row - 2 : row + 3, 20:44] = (40, 90, 200)
    return picture


Drone = envs.clocked(
    envs.Environment(
        name="Drone",
        reset=reset,
        step=step,
        default_params={"gravity": 1.0, "gust": 0.0},
        action_space=lambda params: spaces.Box(-1, 1, (1,)),
        observation_space=lambda params: spaces.Box(-jnp.inf, jnp.inf, (2,)),
        render=render,
    ),
    limit=LIMIT,  # truncates
)


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("runs/own_env"))
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)

    envs.check_env(Drone, 100 if args.smoke else 1000)  # raises, in one line, if anything is wrong
    config, seeds = VPGConfig(env=Drone, total_steps=200_000, num_envs=8, num_steps=125), 8
    if args.smoke:
        tiny = {"hidden_sizes": (8,), "value_iterations": 1}
        config, seeds = VPGConfig(env=Drone, total_steps=512, num_envs=2, num_steps=64, **tiny), 2
    study = sweep(config, GUSTS, seeds)

    print(f"return of the last 20 episodes; {LIMIT} is perfect")
    for setting, scores in zip(study.design.settings(), study.scores(), strict=True):
        iqm, low, high = aggregate(scores)
        print(f"gust {setting['env_params.gust']:4.1f}   {iqm:5.1f} [{low:.1f}, {high:.1f}]")
    episodes = play(study, setting=2, max_steps=20 if args.smoke else None)
    write_animation(args.out / "drone.gif", episodes)
    print(f"the drone in the strongest gusts: {args.out / 'drone.gif'}")


if __name__ == "__main__":
    main()

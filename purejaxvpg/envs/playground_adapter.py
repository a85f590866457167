# pyright: reportMissingImports=false
"""MuJoCo Playground's environments, without its wrappers: see brax_style.py for their traps.

More of them:

    its physics is Warp's, made for GPUs      JAX's, unless `impl="warp"`
    observations may be a dict                it stays one: `policy_obs`, `value_obs` choose
    `episode_length` is a wrapper's           it is our clock's, as is `action_repeat` our loop's;
                                              some also observe their step over `episode_length`
    robots are cloned when one is made        DOWNLOADS; without a network, one line says so
"""

import contextlib
import io
import subprocess
from collections.abc import Mapping
from typing import Any

from purejaxvpg.by_name import suggest
from purejaxvpg.envs import brax_style, mujoco_pictures
from purejaxvpg.envs.clock import LIMIT
from purejaxvpg.envs.protocol import Environment
from purejaxvpg.extras import require
from purejaxvpg.fields import first_line

CONTROL_SUITE = (
    "AcrobotSwingup",
    "AcrobotSwingupSparse",
    "BallInCup",
    "CartpoleBalance",
    "CartpoleBalanceSparse",
    "CartpoleSwingup",
    "CartpoleSwingupSparse",
    "CheetahRun",
    "FingerSpin",
    "FingerTurnEasy",
    "FingerTurnHard",
    "FishSwim",
    "HopperHop",
    "HopperStand",
    "HumanoidStand",
    "HumanoidWalk",
    "HumanoidRun",
    "PendulumSwingup",
    "PointMass",
    "ReacherEasy",
    "ReacherHard",
    "SwimmerSwimmer6",
    "WalkerRun",
    "WalkerStand",
    "WalkerWalk",
)
DOWNLOADS = (
    "ApolloJoystickFlatTerrain",
    "BarkourJoystick",
    "BerkeleyHumanoidJoystickFlatTerrain",
    "BerkeleyHumanoidJoystickRoughTerrain",
    "G1JoystickFlatTerrain",
    "G1JoystickRoughTerrain",
    "Go1JoystickFlatTerrain",
    "Go1JoystickRoughTerrain",
    "Go1Getup",
    "Go1Handstand",
    "Go1Footstand",
    "H1InplaceGaitTracking",
    "H1JoystickGaitTracking",
    "Op3Joystick",
    "SpotFlatTerrainJoystick",
    "SpotGetup",
    "SpotJoystickGaitTracking",
    "T1JoystickFlatTerrain",
    "T1JoystickRoughTerrain",
    "AlohaHandOver",
    "AlohaSinglePegInsertion",
    "PandaPickCube",
    "PandaPickCubeOrientation",
    "PandaPickCubeCartesian",
    "PandaOpenCabinet",
    "PandaRobotiqPushCube",
    "LeapCubeReorient",
    "LeapCubeRotateZAxis",
    "AeroCubeRotateZAxis",
)
NAMES = CONTROL_SUITE + DOWNLOADS
DEAR = ("CheetahRun", "Go1Getup", "SpotGetup")  # a reset lets the body come to rest
ROBOTS = "the robots of github.com/google-deepmind/mujoco_menagerie"


def make(name: str, /, **kwargs: Any) -> Environment:
    """One of Playground's environments.

    Args:
      kwargs: entries of its config, dotted for those inside another (`reward_config.scales.pose`);
        or `max_steps_in_episode`.

    Raises: ValueError for a keyword that its config does not have, or a value that it does not
    take; RuntimeError if its robot cannot be downloaded.
    """
    with brax_style.without_notices():
        registry = require("mujoco_playground", "playground").registry

    title = f"playground/{name}"
    limit = kwargs.pop(LIMIT, None)
    config = registry.get_default_config(name)
    names = [*_flat(config.to_dict()), LIMIT]
    for key in kwargs:
        if key not in names:
            raise ValueError(f"{title} has no entry of its config {key!r}; {suggest(key, names)}")
    overrides = {"impl": "jax"} if "impl" in names else {}

    def load() -> Any:
        config.update_from_flattened_dict(overrides | kwargs)
        try:
            return registry.load(name, config=config)
        except (OSError, subprocess.SubprocessError) as error:
            if name not in DOWNLOADS:
                raise
            raise RuntimeError(
                f"{title} could not load its robot ({first_line(error)}): {ROBOTS} are cloned when "
                f"one is made; make it once where there is a network, or choose another environment"
            ) from error

    with contextlib.redirect_stdout(io.StringIO()):  # a download says when it begins and ends
        instance = brax_style.construct(title, kwargs, load)
    repeats = int(config.get("action_repeat", 1))
    draw = mujoco_pictures.painter(title, instance.mj_model)

    def render(state: Any, params: Any) -> Any:
        fields = ("qpos", "qvel", "mocap_pos", "mocap_quat", "xfrc_applied")
        return draw({field: getattr(state.data, field) for field in fields})

    return brax_style.adapt(
        title,
        instance,
        limit=-(-int(config.episode_length) // repeats) if limit is None else limit,
        action_repeat=repeats,
        render=render,
        reset_cost="dear" if name in DEAR else "cheap",
    )


def _flat(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Names of a config's entries, dotted for those inside another."""
    names: list[str] = []
    for key, value in config.items():
        inside = isinstance(value, Mapping)
        names += _flat(value, f"{prefix}{key}.") if inside else [f"{prefix}{key}"]
    return names

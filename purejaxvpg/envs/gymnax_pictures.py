"""Pictures of gymnax's environments, drawn here.

gymnax's own are matplotlib figures, and those of classic control need pygame.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from purejaxvpg.envs.canvas import BLUE, GREEN, GREY, INK, RED, Canvas
from purejaxvpg.envs.pictures import channels, enlarged

Render = Callable[[Any, Any], np.ndarray]  # (state, params) -> uint8 [H, W, 3]

CELL = 16  # pixels of a cell of a maze
FLOOR, WALL, AGENT, GOAL, HOLE = (235, 235, 235), (90, 90, 90), RED, GREEN, (120, 160, 210)


def scene_of(instance: Any) -> Render | None:
    """`render` of one of gymnax's environments or of a subclass; None if it has no picture.

    Args: instance: the object.
    """
    scene = SCENES.get(_gymnax_class(instance).__name__)
    return scene and (lambda state, params: scene(instance, state, params))


def _gymnax_class(instance: Any) -> type:
    """The class of gymnax's that an object is an instance of, or `object`."""
    classes = type(instance).__mro__
    return next((x for x in classes if x.__module__.startswith("gymnax.environments.")), object)


# ----------------------------------------------------------------------------- CLASSIC CONTROL


def _cart_pole(instance: Any, state: Any, params: Any) -> np.ndarray:
    x, theta, length = float(state.x), float(state.theta), 2 * float(params.length)
    edge = 1.2 * float(params.x_threshold)
    canvas = Canvas(-edge, -0.8, edge, 1.4 + length)
    canvas.line([(-edge, 0), (edge, 0)], GREY, 1)
    canvas.box(x - 0.3, -0.15, x + 0.3, 0.15, INK)
    tip = (x + length * np.sin(theta), 0.15 + length * np.cos(theta))
    canvas.line([(x, 0.15), tip], RED, 6)
    canvas.disc((x, 0.15), 0.06, GREY)
    return canvas.picture()


def _pendulum(instance: Any, state: Any, params: Any) -> np.ndarray:
    length = float(getattr(params, "l", 1.0))
    edge = 1.2 * length
    canvas = Canvas(-edge, -edge, edge, edge, 200)
    theta = float(state.theta)  # 0: upright
    tip = (-length * np.sin(theta), length * np.cos(theta))
    canvas.line([(0, 0), tip], RED, 10)
    canvas.disc(tip, 0.05 * length, RED)
    canvas.disc((0, 0), 0.06 * length, INK)
    torque = float(np.ravel(state.last_u)[0]) / float(params.max_torque)  # -1 to 1
    canvas.line([(0, -1.1 * length), (-torque * length, -1.1 * length)], BLUE, 6)
    return canvas.picture()


def _acrobot(instance: Any, state: Any, params: Any) -> np.ndarray:
    first, second = float(params.link_length_1), float(params.link_length_2)
    edge = 1.1 * (first + second)
    canvas = Canvas(-edge, -edge, edge, edge, 200)
    canvas.line([(-edge, first), (edge, first)], GREY, 1)  # the height to reach
    angle = float(state.joint_angle1)  # 0: hanging down
    elbow = (first * np.sin(angle), -first * np.cos(angle))
    angle += float(state.joint_angle2)
    tip = (elbow[0] + second * np.sin(angle), elbow[1] - second * np.cos(angle))
    canvas.line([(0, 0), elbow], BLUE, 8)
    canvas.line([elbow, tip], RED, 8)
    for joint in ((0, 0), elbow):
        canvas.disc(joint, 0.04 * edge, INK)
    return canvas.picture()


def _mountain_car(instance: Any, state: Any, params: Any) -> np.ndarray:
    low, high = float(params.min_position), float(params.max_position)
    canvas = Canvas(low - 0.1, -0.1, high + 0.1, 1.2)
    xs = np.linspace(low, high, 100)
    canvas.line(list(zip(xs, _height(xs), strict=True)), INK, 2)
    goal, x = float(params.goal_position), float(state.position)
    canvas.line([(goal, _height(goal)), (goal, _height(goal) + 0.15)], INK, 1)
    canvas.polygon([(goal, _height(goal) + y) for y in (0.15, 0.1)]
                   + [(goal + 0.08, _height(goal) + 0.125)], GREEN)  # fmt: skip
    canvas.disc((x, _height(x) + 0.04), 0.04, RED)
    return canvas.picture()


def _height(x: Any) -> Any:
    return np.sin(3 * x) * 0.45 + 0.55


# -------------------------------------------------------------------------------------- GRIDS


def _observed(instance: Any, state: Any, params: Any) -> np.ndarray:
    """The observation, a picture of channels, a colour for each."""
    get_obs = _gymnax_class(instance).get_obs  # a subclass may observe something else
    with jax.enable_x64(False):
        obs = np.asarray(get_obs(instance, state, params), np.float32)
    return enlarged(channels(obs), max(4, 160 // max(obs.shape[:2])))


def _maze(instance: Any, state: Any, params: Any) -> np.ndarray:
    free = np.asarray(instance.env_map, bool)  # [H, W]
    grid = np.where(free[..., None], FLOOR, WALL)
    for place, color in ((state.goal, GOAL), (state.pos, AGENT)):
        row, column = (int(x) for x in np.asarray(place))
        grid[row, column] = color
    return enlarged(grid.astype(np.uint8), CELL)


def _frozen_lake(instance: Any, state: Any, params: Any) -> np.ndarray:
    tiles = np.asarray([FLOOR, FLOOR, HOLE, GOAL])[np.asarray(instance.desc)]  # [H, W, 3]
    cells = enlarged(tiles.astype(np.uint8), 2 * CELL)
    row, column = (2 * CELL * x + CELL // 2 for x in divmod(int(state.position), instance.ncol))
    cells[row : row + CELL, column : column + CELL] = AGENT
    return cells


# --------------------------------------------------------------------------- POINTS IN THE PLANE


def _point_robot(instance: Any, state: Any, params: Any) -> np.ndarray:
    edge = 1.3 * float(params.circle_radius)
    canvas = Canvas(-edge, -edge, edge, edge, 200)
    canvas.circle((0, 0), float(params.circle_radius), GREY)
    canvas.disc(np.asarray(state.goal), float(params.goal_radius), GREEN)
    canvas.disc(np.asarray(state.pos), 0.05, RED)
    return canvas.picture()


def _reacher(instance: Any, state: Any, params: Any) -> np.ndarray:
    angles = np.ravel(np.asarray(state.angles))  # of links of length 1, each from the x axis
    steps = np.stack([np.cos(angles), np.sin(angles)], 1)
    joints = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)])
    edge = 1.2 * len(angles)
    canvas = Canvas(-edge, -edge, edge, edge, 200)
    canvas.disc(np.ravel(state.goal_xy), 0.04 * edge, GREEN)
    canvas.line(list(joints), BLUE, 6)
    for joint in joints:
        canvas.disc(joint, 0.03 * edge, INK)
    return canvas.picture()


def _swimmer(instance: Any, state: Any, params: Any) -> np.ndarray:
    swimmer, goal = np.ravel(state.xy), np.ravel(state.goal_xy)
    urchins = np.reshape(np.asarray(state.urchin_xys), (-1, 2))
    canvas = Canvas(-2.0, -2.0, 2.0, 2.0, 200)
    for urchin in urchins:
        canvas.disc(urchin, 0.12, INK)
    canvas.disc(goal, 0.12, GREEN)
    canvas.disc(swimmer, 0.08, RED)
    return canvas.picture()


SCENES: dict[str, Callable[[Any, Any, Any], np.ndarray]] = {
    "CartPole": _cart_pole,
    "Pendulum": _pendulum,
    "Acrobot": _acrobot,
    "MountainCar": _mountain_car,
    "ContinuousMountainCar": _mountain_car,
    "Catch": _observed,
    "MinAsterix": _observed,
    "MinBreakout": _observed,
    "MinFreeway": _observed,
    "MinSeaquest": _observed,
    "MinSpaceInvaders": _observed,
    "Pong": _observed,
    "FourRooms": _maze,
    "MetaMaze": _maze,
    "FrozenLake": _frozen_lake,
    "PointRobot": _point_robot,
    "Reacher": _reacher,
    "Swimmer": _swimmer,
}
"""(object, state, params) -> picture, by the name of gymnax's class."""

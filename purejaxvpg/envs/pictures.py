"""Pictures, uint8 `[H, W, 3]`: checked, or made of observations that are small pictures.

Red, green and blue from 0 to 255, row 0 at the top, as `Environment.render` gives them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from purejaxvpg.envs.faults import user_code
from purejaxvpg.envs.protocol import BrokenContract, Environment, Masked
from purejaxvpg.envs.spaces import ENDLESS, kind_of

LEAST = 4  # rows and columns of a picture; smaller arrays are tables of numbers
MOST_CHANNELS = 64
COLORS = np.asarray(  # of channels, on black; the first ones are the easiest to tell apart
    [
        (240, 240, 240), (78, 154, 241), (242, 142, 43), (89, 191, 89), (225, 87, 89),
        (176, 122, 208), (237, 201, 72), (118, 205, 205), (255, 157, 190), (156, 117, 95),
    ],
    np.float32,
)  # fmt: skip

Paint = Callable[[Any, Any], np.ndarray]  # (state, observation) -> picture


def painter(env: Environment, params: Any) -> Paint:
    """A function from a moment of an environment, its state and observation, to its picture.

    The environment's own `render` draws it, or else its observation is drawn, if it is a picture.
    The function raises BrokenContract, in one line, for values that are no pictures.

    Raises: ValueError, in one line, if neither is there.
    """
    if (render := env.render) is not None:

        def draw(state: Any, obs: Any) -> np.ndarray:
            with user_code(env.name):
                try:
                    return check(env.name, render(state, params))
                except (RuntimeError, ImportError, OSError) as error:
                    machine = error  # of the machine, not of the code: a line of its own
            raise machine

        return draw
    from_obs = of_observations(env, params)
    if from_obs is None:
        raise ValueError(
            f"{env.name} cannot be drawn: it gives no render(state, params) -> uint8 [H, W, 3], "
            f"and its observation is no picture; give your environment a render"
        )
    return lambda state, obs: from_obs(obs)


def check(name: str, picture: Any) -> np.ndarray:
    """The picture.  Raises: BrokenContract, in one line, for something else."""
    array = None if picture is None else np.asarray(picture)
    if array is None or array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        given = type(picture).__name__
        if array is not None and array.dtype != object:
            given = f"{array.dtype}{list(array.shape)}"
        raise BrokenContract(f"{name}.render returned {given}; expected uint8 [H, W, 3]")
    return array


def of_observations(env: Environment, params: Any) -> Callable[[Any], np.ndarray] | None:
    """A function from an observation to its picture; None if observations are no pictures.

    Pictures are arrays `[H, W]` or `[H, W, C]` between bounds that are the same for all of their
    numbers: bytes from 0 to 255 (grey, red-green-blue, or stacked greys, of which the last one is
    shown), or C channels, each in a colour of its own.  A MultiDiscrete `[H, W]` has a colour for
    each number, and black for 0.
    """
    shape = env.obs_shape
    if shape is None or len(shape) not in (2, 3) or min(shape[:2]) < LEAST:
        return None
    space = env.observation_space(params)
    if kind_of(space) == "multi" and len(shape) == 2:
        return lambda obs: _colored(np.asarray(_unmasked(obs)))
    if kind_of(space) != "box" or (len(shape) == 3 and shape[2] > MOST_CHANNELS):
        return None
    low, high = float(np.min(space.low)), float(np.max(space.high))
    alike = np.all(np.asarray(space.low) == low) and np.all(np.asarray(space.high) == high)
    if not alike or not low < high or max(-low, high) > ENDLESS:
        return None
    in_bytes = (low, high) == (0, 255)

    def draw(obs: Any) -> np.ndarray:
        values = np.asarray(_unmasked(obs), np.float32)
        if in_bytes and values.ndim == 3:
            last = values if values.shape[2] == 3 else values[..., -1:]
            return np.rint(np.broadcast_to(last, (*last.shape[:2], 3))).astype(np.uint8)
        return channels((values - low) / (high - low))

    return draw


def _unmasked(obs: Any) -> Any:
    return obs.obs if isinstance(obs, Masked) else obs


def _colored(numbers: np.ndarray) -> np.ndarray:
    """Picture of integers `[H, W]`."""
    colors = COLORS[(numbers.astype(int) - 1) % len(COLORS)]
    return np.where(numbers[..., None] == 0, 0, colors).astype(np.uint8)


def channels(values: np.ndarray) -> np.ndarray:
    """Picture of `[H, W]`, greys from 0 to 1, or of `[H, W, C]`, a colour for each channel.

    Where several channels are at work the lightest of each of red, green and blue is seen.
    """
    values = np.clip(np.asarray(values, np.float32), 0, 1)
    if values.ndim == 2:
        return np.repeat(np.rint(255 * values).astype(np.uint8)[..., None], 3, 2)
    colors = COLORS[np.arange(values.shape[2]) % len(COLORS)]  # [C, 3]
    return np.rint((values[..., None] * colors).max(2)).astype(np.uint8)


def enlarged(picture: np.ndarray, times: int) -> np.ndarray:
    """The picture with every pixel as a square of `times` x `times`."""
    return picture.repeat(times, 0).repeat(times, 1)

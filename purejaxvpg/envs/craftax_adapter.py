"""Craftax and Craftax-Classic, in symbols or pixels.

Traps of craftax 1.6:

- Its time limit (10 000 steps in Classic, 100 000 in Craftax) is reported as a termination.  It is
  lifted, and `max_steps_in_episode` takes its place: an episode is truncated when the state's own
  counter reaches it, and terminated by death, lava or the boss alone.
- A reset makes a whole world and costs as much as eight steps (`reset_cost="dear"`).
- The environments without auto-reset are used; those with it make a world in every step.
- Textures are built when pixels are first drawn, which takes one to three minutes, and are stored
  beside the library.  Nothing is downloaded.
"""

# The library is optional.
# pyright: reportMissingImports=false

import contextlib
import dataclasses
import io
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array

from purejaxvpg.envs.arguments import construct, sort_arguments
from purejaxvpg.envs.clock import LIMIT
from purejaxvpg.envs.protocol import Environment, Step
from purejaxvpg.fields import MOST, check_count

NAMES = (
    "Craftax-Symbolic-v1",
    "Craftax-Pixels-v1",
    "Craftax-Classic-Symbolic-v1",
    "Craftax-Classic-Pixels-v1",
)

DOWNLOADS = ()

NEVER = np.iinfo(np.int32).max  # a limit that is not reached
ENLARGED = 2  # pixels of our pictures for one of the library's


def make(name: str, /, **kwargs: Any) -> Environment:
    """One of Craftax's environments.

    Args:
      kwargs: `max_steps_in_episode` and the other numbers of craftax's `EnvParams` (such as
        `day_length`), which are parameters; or fields of its `StaticEnvParams`, such as
        `map_size=(32, 32)` or `max_zombies=5`.

    Raises: ValueError for another keyword; RuntimeError if textures cannot be stored.
    """
    from craftax.craftax_env import make_craftax_env_from_name

    with _textures(name):
        instance: Any = make_craftax_env_from_name(name, auto_reset=False)
    numbers = {
        field.name: getattr(instance.default_params, field.name)
        for field in dataclasses.fields(instance.default_params)
        if field.name not in ("max_timesteps", "fractal_noise_angles")  # the latter are arrays
    }
    defaults = {LIMIT: instance.default_params.max_timesteps, **numbers}
    static = instance.default_static_params()
    sizes = tuple(field.name for field in dataclasses.fields(static))
    arguments, values = sort_arguments(name, kwargs, sizes, tuple(defaults))
    check_count(f"{name}'s parameter {LIMIT}", values.get(LIMIT, 1), MOST)
    if arguments:
        plain = {key: tuple(x) if isinstance(x, list) else x for key, x in arguments.items()}
        with _textures(name):
            instance = construct(
                name, lambda **x: type(instance)(dataclasses.replace(static, **x)), plain
            )
    return _adapt(name, instance, defaults | values)


def _adapt(name: str, instance: Any, defaults: dict[str, Any]) -> Environment:
    whole_params = type(instance.default_params)

    def without_limit(params: Any) -> Any:
        others = {key: value for key, value in params.items() if key != LIMIT}
        return whole_params(max_timesteps=NEVER, **others)

    def reset(key: Array, params: Any) -> tuple[Any, Any]:
        return instance.reset_env(key, without_limit(params))

    def step(key: Array, state: Any, action: Array, params: Any) -> Step:
        obs, state, reward, terminated, _ = instance.step_env(
            key, state, action, without_limit(params)
        )
        truncated = (state.timestep >= params[LIMIT]) & ~terminated
        return Step(state, obs, obs, reward, terminated, truncated)

    return Environment(
        name=name,
        reset=reset,
        step=step,
        default_params=defaults,
        action_space=lambda params: instance.action_space(),
        observation_space=lambda params: instance.observation_space(without_limit(params)),
        time_limit=lambda params: params[LIMIT],
        reset_cost="dear",
        render=_painter(name),
    )


# ------------------------------------------------------------------------------------ PICTURES


def _painter(name: str) -> Callable[[Any, Any], np.ndarray]:
    drawing: list[Callable[[Any], Array]] = []  # made when first used, for textures take a while

    def render(state: Any, params: Any) -> np.ndarray:
        """The player's view as craftax draws it, enlarged."""
        if not drawing:
            drawing.append(_make_drawing(name))
        picture = np.asarray(drawing[0](state))
        pixels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
        return pixels.repeat(ENLARGED, 0).repeat(ENLARGED, 1)

    return render


def _make_drawing(name: str) -> Callable[[Any], Array]:
    if "Classic" in name:
        from craftax.craftax_classic import constants, renderer
    else:
        from craftax.craftax import constants, renderer
    with _textures(name):
        return jax.jit(renderer.make_craftax_pixel_renderer(constants.BLOCK_PIXEL_SIZE_IMG))


@contextlib.contextmanager
def _textures(name: str) -> Any:
    """Context in which textures may be built.

    What craftax prints about them is dropped: standard output is for results.

    Raises: RuntimeError, in one line, if they cannot be stored.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except OSError as error:
        raise RuntimeError(
            f"{name} could not load or store its textures ({error}); make it once as a user who "
            f"may write to craftax's own folder"
        ) from error

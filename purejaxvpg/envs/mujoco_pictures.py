"""Pictures of MuJoCo models, without a display.

mujoco's own Renderer draws with GLFW, which needs a display, unless `MUJOCO_GL` named another when
mujoco was first imported.  In GLFW's place EGL is taken here, which needs none.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from purejaxvpg.extras import require
from purejaxvpg.fields import first_line

HEIGHT, WIDTH = 240, 320


def painter(name: str, model: Any) -> Callable[[Mapping[str, Any]], np.ndarray]:
    """A function from a model's state, `MjData` fields by name, to its picture.

    The picture, uint8 `[240, 320, 3]`, is taken by the model's first camera if it has one.

    Args: name: of the environment, for messages.
    """
    canvas = functools.cache(lambda: _Canvas(name, model))  # made when first drawn on
    return lambda fields: canvas().draw(fields)


class _Canvas:
    """An OpenGL context of one model, kept from picture to picture: making one takes a second."""

    def __init__(self, name: str, model: Any):
        mujoco = require("mujoco", "brax")

        try:
            self._context = _gl_context()(WIDTH, HEIGHT)
            self._context.make_current()
            scale = mujoco.mjtFontScale.mjFONTSCALE_150.value
            self._gl = mujoco.MjrContext(model, scale)
        except Exception as error:  # of PyOpenGL, the driver or mujoco, each of its own kind
            raise RuntimeError(
                f"{name} cannot be drawn here, for MuJoCo got no OpenGL context "
                f"({first_line(error)}); install libegl1, or libosmesa6 and set MUJOCO_GL=osmesa"
            ) from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._gl)
        self._model, self._data = model, mujoco.MjData(model)
        self._scene = mujoco.MjvScene(model, maxgeom=10000)
        self._camera = mujoco.MjvCamera()
        if model.ncam:
            self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED.value
            self._camera.fixedcamid = 0
        else:
            mujoco.mjv_defaultFreeCamera(model, self._camera)

    def draw(self, fields: Mapping[str, Any]) -> np.ndarray:
        mujoco = require("mujoco", "brax")

        for field, value in fields.items():
            array = getattr(self._data, field)
            array[:] = np.asarray(value).reshape(array.shape)
        with without_log():
            mujoco.mj_forward(self._model, self._data)
        mujoco.mjv_updateScene(
            self._model,
            self._data,
            mujoco.MjvOption(),
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )
        self._context.make_current()
        rows = mujoco.MjrRect(0, 0, WIDTH, HEIGHT)
        picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        mujoco.mjr_render(rows, self._scene, self._gl)
        mujoco.mjr_readPixels(picture, None, rows, self._gl)
        return np.flipud(picture)


def _gl_context() -> Any:
    """A class of mujoco's OpenGL contexts."""
    context = require("mujoco.gl_context", "brax").GLContext
    if not context.__module__.endswith("glfw"):
        return context
    try:
        return require("mujoco.egl", "brax").GLContext
    except Exception:  # of many kinds, where the machine has no EGL
        return context


@contextlib.contextmanager
def without_log() -> Iterator[None]:
    """Context in which MuJoCo writes its warnings nowhere, and not to ./MUJOCO_LOG.TXT."""
    mujoco = require("mujoco", "brax")
    handler = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(handler or (lambda text: None))
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(handler)

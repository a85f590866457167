"""A small canvas for scenes in an environment's own coordinates: lines, discs and polygons."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from purejaxvpg.extras import require

Color = tuple[int, int, int]
Point = tuple[float, float]

PAPER, INK = (250, 250, 250), (40, 40, 40)
BLUE, RED, GREEN, GREY = (60, 110, 190), (205, 80, 70), (90, 165, 95), (170, 170, 170)
SMOOTH = 2  # drawn so many times as large, and made smaller, which smooths edges


class Canvas:
    """A picture of the rectangle between two corners; x to the right, y upwards.

    Args:
      left, bottom, right, top: of the rectangle.
      width: of the picture, pixels; its height follows.
    """

    def __init__(self, left: float, bottom: float, right: float, top: float, width: int = 300):
        self._scale, self._left, self._top = width * SMOOTH / (right - left), left, top
        height = max(1, round(width * (top - bottom) / (right - left)))
        size = (width * SMOOTH, height * SMOOTH)
        self._image = require("PIL.Image", "cli").new("RGB", size, PAPER)
        self._draw = require("PIL.ImageDraw", "cli").Draw(self._image)

    def _at(self, point: Any) -> Point:
        x, y = (float(value) for value in point)
        return (x - self._left) * self._scale, (self._top - y) * self._scale

    def line(self, points: Sequence[Any], color: Color = INK, width: float = 2) -> None:
        """A line through points, `width` pixels wide."""
        ends = [self._at(point) for point in points]
        self._draw.line(ends, fill=color, width=round(width * SMOOTH), joint="curve")

    def polygon(self, points: Sequence[Any], color: Color) -> None:
        """A filled polygon."""
        self._draw.polygon([self._at(point) for point in points], fill=color)

    def box(self, left: float, bottom: float, right: float, top: float, color: Color) -> None:
        """A filled rectangle."""
        self.polygon([(left, bottom), (right, bottom), (right, top), (left, top)], color)

    def disc(self, center: Any, radius: float, color: Color) -> None:
        """A filled circle, its radius in the scene's units."""
        x, y = self._at(center)
        r = radius * self._scale
        self._draw.ellipse([x - r, y - r, x + r, y + r], fill=color)

    def circle(self, center: Any, radius: float, color: Color = INK) -> None:
        """A circle's line."""
        x, y = self._at(center)
        r = radius * self._scale
        self._draw.ellipse([x - r, y - r, x + r, y + r], outline=color, width=SMOOTH)

    def picture(self) -> np.ndarray:
        """The picture, uint8 `[H, W, 3]`."""
        return np.asarray(self._image.reduce(SMOOTH), np.uint8)

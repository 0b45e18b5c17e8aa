"""A colour for each class."""

from __future__ import annotations

import colorsys
from functools import lru_cache

_GOLDEN_RATIO = 0.6180339887


@lru_cache(maxsize=1024)
def class_color(class_id: int) -> tuple[int, int, int]:
    """Colour (r, g, b) of a class in 0..255, the same in every run."""
    hue = (0.36 + class_id * _GOLDEN_RATIO) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)

"""Labelled images and their objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2ec_core.geometry import Polygon
from e2ec_core.image_files import read_image
from e2ec_core.value_range import FULL, ValueRange


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a label file says of an object beyond its outlines, for evaluation.

    Attributes:
        segmentation: polygons or run lengths, where they differ from the object's parts.
        area: px^2, as the file gives it.
        bbox: x, y, width, height in px, as the file gives it.
    """

    segmentation: Any = None
    area: float | None = None
    bbox: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One labelled object.

    Attributes:
        class_id: index into the dataset's class names.
        parts: polygons float64 [P, 2] (x, y) in COCO's coordinates: image px whose edges, not
            centres, are at the integers.
        crowd: the region holds many objects and is no target.
        whole: likewise, the outline that goes on behind what hides the object; None: not known.
        truth: what evaluation needs beside the parts.
    """

    class_id: int
    parts: tuple[Polygon, ...]
    crowd: bool = False
    whole: tuple[Polygon, ...] | None = None
    truth: Truth = Truth()

    @property
    def box_xyxy(self) -> NDArray[np.float64]:
        """Box around all parts, [4], px."""
        points = np.concatenate(self.parts)
        return np.concatenate([points.min(axis=0), points.max(axis=0)])


@dataclass(frozen=True, kw_only=True)
class LabelledImage:
    """One image file and its objects.

    Attributes:
        image_id: its number.
        path: of the file.
        height: rows of the image as it is read, px.
        width: columns of the image as it is read, px.
        instances: its objects.
        name: file name in the labels.
        upright: the labels count the pixels of the image turned as its EXIF orientation says.
        position: place in the label file, by which images are held out.
        values: which values of an image with 16 bits become black and white.
    """

    image_id: int
    path: Path
    height: int
    width: int
    instances: tuple[Instance, ...]
    name: str = ""
    upright: bool = False
    position: int = 0
    values: ValueRange = FULL

    def read(self) -> NDArray[np.uint8]:
        """Reads the pixels that the labels mean, uint8 RGB [height, width, 3].

        Raises:
            ValueError: the file cannot be read.
        """
        return read_image(self.path, upright=self.upright, values=self.values)

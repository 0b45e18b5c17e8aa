"""Contours and a model's description for tests of messages."""

from __future__ import annotations

import numpy as np

from e2ec_core.contours import Contours
from e2ec_ros.messages import FrameTiming, ModelDescription

MODEL = ModelDescription(
    name="tiny",
    weights_sha256="ab" * 32,
    device="cpu",
    precision="fp32",
    class_names=("car", "person"),
    colors=((255, 0, 0), (0, 255, 51)),
    vertices=4,
    amodal=False,
)
TIMING = FrameTiming(
    queue=0.001,
    preprocess=0.002,
    inference=0.03,
    postprocess=0.004,
    total=0.04,
    pipeline=0.05,
    dropped=2,
)
# Counter-clockwise on the screen from the bottom: a 10 x 20 px rectangle and a small triangle.
SQUARE = [[10, 40], [20, 40], [20, 20], [10, 20]]
BORDER = [[-3, 9], [5, 9], [5, 3], [-3, 3]]


def contours(*polygons: list[list[float]]) -> Contours:
    count = len(polygons)
    return Contours(
        vertices=np.array(polygons, np.float32).reshape(count, 4, 2),
        scores=np.linspace(0.9, 0.5, count, dtype=np.float32),
        class_ids=np.arange(count, dtype=np.int64) % 2,
        stage="final",
        image_size=(50, 60),
    )

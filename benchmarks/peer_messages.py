"""The forms of message that benchmarks/ros_overhead.py compares: how each is written and read.

The nested and the mask message are of the shapes that other nodes use (yolo_ros: a list of point
messages for each object; ultralytics_ros: a full-size image for each object), defined anew in
`peer_msgs/` without what the comparison does not need. `build()` compiles them.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import Image

from e2ec_core.contours import Contours
from e2ec_ros.contour_messages import vertices_of
from e2ec_ros.images import fill_image, to_bytes
from e2ec_ros.messages import FrameTiming, ModelDescription, contour_array
from e2ec_ros.msg import InstanceContourArray
from e2ec_ros.outputs import CONTOURS_QOS

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / ".venv" / "peer_msgs"
FLAT, NESTED, MASKS, CAMERA = "our contours", "nested points", "mask images", "camera image"
TIMING = FrameTiming(
    queue=0.0, preprocess=0.0, inference=0.0, postprocess=0.0, total=0.0, pipeline=0.0, dropped=0
)


@dataclass(frozen=True, kw_only=True)
class Form:
    """A message for the instances of one image.

    Attributes:
        kind: type of the message; it has a header.
        write: makes the message.
        read: gives its numbers as arrays.
        qos: of publisher and subscription.
    """

    kind: Any
    write: Callable[[], Any]
    read: Callable[[Any], Any]
    qos: QoSProfile = field(default_factory=lambda: CONTOURS_QOS)


def form(name: str, contours: Contours, names: tuple[str, ...]) -> Form:
    """One of the four forms, filled with contours; `names` are those of the classes.

    The masks are there already: their drawing is not part of writing them.
    """
    if name == FLAT:
        model = ModelDescription(
            name="e2ec_lite",
            weights_sha256="",
            device="cpu",
            precision="fp32",
            class_names=names,
            colors=(),
            vertices=contours.vertices.shape[1],
            amodal=False,
        )
        header = InstanceContourArray().header
        return Form(
            kind=InstanceContourArray,
            write=lambda: contour_array(contours, model, TIMING, header),
            read=lambda message: [vertices_of(one) for one in message.instances],
        )
    height, width = contours.image_size
    if name == CAMERA:
        image = np.full((height, width, 3), 90, np.uint8)
        best_effort = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        return Form(
            kind=Image,
            write=lambda: fill_image(Image(), image),
            read=lambda message: np.frombuffer(message.data, np.uint8),
            qos=best_effort,  # of ROS's sensor data
        )
    types = importlib.import_module("peer_msgs.msg")
    if name == NESTED:
        return Form(
            kind=types.NestedInstanceArray,
            write=lambda: _nested(types, contours, names),
            read=lambda message: [
                np.array([(point.x, point.y) for point in one.outline], np.float32)
                for one in message.instances
            ],
        )
    masks = [255 * mask.astype(np.uint8) for mask in contours.masks()]
    return Form(
        kind=types.MaskArray,
        write=lambda: types.MaskArray(
            class_ids=contours.class_ids.astype(np.int32),
            scores=contours.scores.astype(np.float32),
            masks=[
                Image(
                    height=height, width=width, step=width, encoding="mono8", data=to_bytes(mask)
                )
                for mask in masks
            ],
        ),
        read=lambda message: [
            np.frombuffer(mask.data, np.uint8).reshape(mask.height, mask.width)
            for mask in message.masks
        ],
    )


def _nested(types: Any, contours: Contours, names: tuple[str, ...]) -> Any:
    height, width = contours.image_size
    low, high = contours.boxes_xyxy[:, :2], contours.boxes_xyxy[:, 2:]
    rows = zip(
        contours.vertices.tolist(),
        contours.class_ids.tolist(),
        contours.scores.tolist(),
        ((low + high) / 2).tolist(),
        (high - low).tolist(),
        strict=True,
    )
    return types.NestedInstanceArray(
        instances=[
            types.NestedInstance(
                class_id=class_id,
                class_name=names[class_id],
                score=score,
                center=types.Point2D(x=center[0], y=center[1]),
                size=types.Point2D(x=size[0], y=size[1]),
                height=height,
                width=width,
                outline=[types.Point2D(x=x, y=y) for x, y in vertices],
            )
            for vertices, class_id, score, center, size in rows
        ]
    )


def build() -> dict[str, str]:
    """Compiles `peer_msgs` unless it is there; returns the environment for those who import it."""
    if not (FOLDER / "python/peer_msgs").is_dir():
        print("compiling peer_msgs ...", flush=True)
        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        options = ["-DBUILD_TESTING=OFF", f"-DCMAKE_INSTALL_PREFIX={FOLDER}"]
        python = ["-DPYTHON_INSTALL_DIR=python", f"-DPython3_EXECUTABLE={sys.executable}"]
        where = ["-S", str(HERE / "peer_msgs"), "-B", str(FOLDER / "build")]
        for words in (
            [*where, *generator, *options, *python],
            ["--build", str(FOLDER / "build")],
            ["--install", str(FOLDER / "build")],
        ):
            subprocess.run(["cmake", *words], check=True, stdout=subprocess.DEVNULL)
    added = {"PYTHONPATH": FOLDER / "python", "LD_LIBRARY_PATH": FOLDER / "lib"}
    return {
        name: os.pathsep.join([str(path), os.environ.get(name, "")])
        for name, path in added.items()
    }

"""Every ROS parameter of the nodes: declared here and nowhere else.

Those of the distance node are in `distance_parameters`; `make reference` writes the tables.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import get_args

from e2ec_core.predictor_settings import PredictorSettings
from e2ec_core.settings import settings_of
from e2ec_core.shipped_weights import Backend
from e2ec_core.value_range import HELP, parse_range
from e2ec_ros.parameter_specs import Value, parameter, shared

RANGE_HELP = f"{HELP} 16UC1 is read unless `full`."

_LOADED = "the model is loaded with it in configure"
_SUBSCRIBED = "the subscription is made with it in activate"


def check_cameras(value: Value) -> None:
    """Raises ValueError unless the names are different and can stand in the name of a topic."""
    assert isinstance(value, tuple)
    for index, name in enumerate(value):
        if not re.fullmatch(r"[A-Za-z]\w*(/[A-Za-z]\w*)*", str(name), re.ASCII):
            raise ValueError(f"{name!r}; give names of letters, digits and _, e.g. [front, left]")
        if name in value[:index]:
            raise ValueError(f"{list(value)} with {name!r} twice; give each camera its own name")


@dataclass(frozen=True, kw_only=True)
class NodeParameters:
    """Parameters of the segmentation node, one immutable snapshot."""

    autostart: bool = parameter(
        "autostart",
        False,
        "Configure and activate at the start; else a lifecycle manager does.",
        change="start",
        reason="it matters only at the start",
    )
    bond: bool = parameter(
        "bond",
        False,
        "Keep a bond with Nav2's lifecycle manager while active. Needs the package bond.",
        change="inactive",
        reason="the bond is made in activate",
    )
    weights: str = parameter(
        "weights",
        "",
        "Weights file (.safetensors, or .onnx of `e2ec export`); empty for the model that ships "
        "with the package.",
        change="unconfigured",
        reason=_LOADED,
    )
    backend: str = parameter(
        "backend",
        "auto",
        "What runs the network: torch, compiled (by PyTorch; minutes for each new size), "
        "onnxruntime (.onnx, no PyTorch), tensorrt (.onnx, by ONNX Runtime), or auto: what the "
        "weights file is for, and of the model that ships the fastest that is installed.",
        change="unconfigured",
        reason=_LOADED,
        choices=get_args(Backend),
    )
    device: str = parameter(
        "device",
        "auto",
        "Where the model runs: auto (CUDA when present), cpu, cuda or cuda:N.",
        change="unconfigured",
        reason=_LOADED,
    )
    precision: str = parameter(
        "precision",
        "fp32",
        "Arithmetic of the network; fp16 and bf16 are for GPUs.",
        change="unconfigured",
        reason=_LOADED,
        choices=("fp32", "fp16", "bf16"),
    )
    threads: int = parameter(
        "threads",
        0,
        "CPU threads of one inference; 0 leaves the choice to the backend.",
        change="unconfigured",
        reason="the thread pool is made in configure",
        minimum=0,
        maximum=256,
    )
    score_threshold: float = shared(PredictorSettings, "score_threshold")
    max_instances: int = shared(PredictorSettings, "max_instances")
    nms_iou: float = shared(PredictorSettings, "nms_iou")
    classes: tuple[str, ...] = shared(PredictorSettings, "classes")
    stage: str = shared(PredictorSettings, "stage")
    amodal: bool = shared(PredictorSettings, "amodal")
    short_side: int = shared(PredictorSettings, "short_side")
    long_side: int = shared(PredictorSettings, "long_side")
    tracks: bool = parameter(
        "tracks",
        False,
        "Give objects ids that stay with them from image to image (`track_id`), and publish "
        "`~/tracks`. Needs SciPy.",
        change="unconfigured",
        reason="the tracker is made in configure",
    )
    track_memory: float = parameter(
        "track_memory",
        1.0,
        "Longest time that a track lasts while its object is not seen, and longest pause between "
        "two images, s; afterwards objects get new ids.",
        minimum=0.1,
        maximum=60.0,
    )
    cameras: tuple[str, ...] = parameter(
        "cameras",
        (),
        "Names of several cameras that share the model, e.g. [front, left]: images come on "
        "`front/image`, results go to `front/e2ec/...`. Empty: one camera, on `image`.",
        change="unconfigured",
        reason="the publishers are made in configure",
        check=check_cameras,
    )
    batch_wait: float = parameter(
        "batch_wait",
        0.0,
        "Longest time that an image waits for those of other cameras, s, to go through the model "
        "in one batch with those of its size. For GPUs; 0: no batches.",
        minimum=0.0,
        maximum=1.0,
    )
    image_transport: str = parameter(
        "image_transport",
        "raw",
        "raw: subscribe to `image`; compressed: to `image/compressed`.",
        change="inactive",
        reason=_SUBSCRIBED,
        choices=("raw", "compressed"),
    )
    input_qos: str = parameter(
        "input.qos",
        "auto",
        "Reliability of the image subscription; auto follows the publishers.",
        change="inactive",
        reason=_SUBSCRIBED,
        choices=("auto", "sensor_data", "reliable", "best_effort"),
    )
    input_camera_info: str = parameter(
        "input.camera_info",
        "",
        "CameraInfo topic, of several cameras in the namespace of each; empty for `camera_info` "
        "beside the image topic.",
        change="inactive",
        reason=_SUBSCRIBED,
    )
    input_range: str = parameter("input.range", "full", RANGE_HELP, check=parse_range)
    lazy: bool = parameter(
        "lazy",
        False,
        "Subscribe to images only while somebody listens to a result, noticed within 0.25 s.",
    )
    overlay_line_width: int = parameter(
        "overlay.line_width", 2, "Width of the drawn contours, px.", minimum=1, maximum=20
    )
    overlay_fill: float = parameter(
        "overlay.fill",
        0.25,
        "Opacity of the filled contours, 0 for none.",
        minimum=0.0,
        maximum=1.0,
    )
    overlay_labels: bool = parameter(
        "overlay.labels", True, "Write class name and score beside each contour."
    )
    overlay_jpeg_quality: int = parameter(
        "overlay.jpeg_quality", 80, "Quality of the compressed overlay.", minimum=1, maximum=100
    )
    markers_depth: float = parameter(
        "markers.depth",
        1.0,
        "Distance from the camera at which markers stand, m.",
        minimum=0.01,
        maximum=1000.0,
    )
    markers_line_width: float = parameter(
        "markers.line_width", 2.0, "Width of the markers' lines, px.", minimum=0.1, maximum=50.0
    )
    markers_max_vertices: int = parameter(
        "markers.max_vertices",
        64,
        "Contours with more vertices are thinned to about this many.",
        minimum=3,
        maximum=1024,
    )
    markers_lifetime: float = parameter(
        "markers.lifetime",
        0.0,
        "Seconds after which RViz removes markers; 0: when the next image's replace them.",
        minimum=0.0,
        maximum=3600.0,
    )
    markers_image: str = parameter(
        "markers.image",
        "auto",
        "Markers of raw images are undistorted; auto: rectified if the topic is `image_rect...`.",
        choices=("auto", "raw", "rectified"),
    )

    def __post_init__(self) -> None:
        self.predictor_settings()

    @property
    def camera_names(self) -> tuple[str, ...]:
        """The names of the cameras; one empty name for the only one."""
        return self.cameras or ("",)

    def predictor_settings(self) -> PredictorSettings:
        """The live settings of the predictor.

        Raises:
            ValueError: values that are possible alone but not together.
        """
        names = settings_of(PredictorSettings)
        return PredictorSettings(**{name: getattr(self, name) for name in names})


def check_intrinsics(value: Value) -> None:
    """Raises ValueError unless fx, fy, cx, cy are four zeros or have focal lengths above 0."""
    assert isinstance(value, tuple)
    fx, fy = value[:2]
    if not all(map(math.isfinite, value)) or min(fx, fy) < 0 or (fx == 0) != (fy == 0):
        raise ValueError(
            f"{list(value)}; give fx, fy, cx, cy in px, or four zeros for an uncalibrated camera"
        )


@dataclass(frozen=True, kw_only=True)
class CameraParameters:
    """Parameters of the camera node, which plays images, videos, bags or the built-in scenes."""

    source: str = parameter(
        "source",
        "synthetic",
        "What to play: an image, a folder, a video, a rosbag2, a camera (`/dev/video0`, `0`), "
        "a stream (`rtsp://`, `http://`), or `synthetic` or `photographs`.",
        change="start",
        reason="the source is opened once",
    )
    bag_topic: str = parameter(
        "bag_topic",
        "",
        "Image topic of a rosbag2; empty for the first that can be shown, colour before grey.",
        change="start",
        reason="the source is opened once",
    )
    rate: float = parameter(
        "rate",
        0.0,
        "Images per second; 0 for the source's own rate.",
        change="start",
        reason="the timer is made once",
        minimum=0.0,
        maximum=1000.0,
    )
    loop: bool = parameter("loop", False, "Start again at the end instead of ending the node.")
    max_frames: int = parameter(
        "max_frames",
        0,
        "End after this many images; 0 for all.",
        change="start",
        reason="the source is opened once",
        minimum=0,
        maximum=1_000_000_000,
    )
    seed: int = parameter(
        "seed",
        22,
        "Which synthetic drive to play.",
        change="start",
        reason="the source is opened once",
        minimum=0,
        maximum=1_000_000,
    )
    frame_id: str = parameter(
        "frame_id",
        "",
        "frame_id of the images; empty for the bag's own, else camera_optical_frame, or "
        "front_optical_frame in the namespace front.",
    )
    intrinsics: tuple[float, ...] = parameter(
        "intrinsics",
        (0.0, 0.0, 0.0, 0.0),
        "fx, fy, cx, cy in px for sources that do not know theirs; zeros for uncalibrated.",
        check=check_intrinsics,
    )
    stamps: str = parameter(
        "stamps",
        "now",
        "Stamps of images: `now`, or `original` for those of a bag's messages; "
        "a node then measures no delay, unless it has the bag's time from /clock.",
        choices=("now", "original"),
    )
    range: str = parameter(
        "range",
        "full",
        RANGE_HELP,
        change="start",
        reason="the source is opened once",
        check=parse_range,
    )
    reliability: str = parameter(
        "reliability",
        "reliable",
        "Reliability of the image publisher.",
        change="start",
        reason="the publisher is made once",
        choices=("reliable", "best_effort"),
    )
    wait_for_subscriber: bool = parameter(
        "wait_for_subscriber",
        False,
        "Hold the first image back until somebody subscribes.",
        change="start",
        reason="it matters only at the start",
    )
    wait_for_contours: str = parameter(
        "wait_for_contours",
        "",
        "Topic of contours; when set, each image waits for the contours of the one before.",
        change="start",
        reason="the subscription is made once",
    )

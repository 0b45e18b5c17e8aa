"""From an image to contours: what the command line, the node and the evaluator all use."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from e2ec_core.checkpoint import CheckpointInfo, load_state, read_checkpoint
from e2ec_core.config import LabelOrigin, PlacementRule
from e2ec_core.contours import Contours
from e2ec_core.device import choose_device
from e2ec_core.inference.postprocess import distinct
from e2ec_core.inference.preprocess import (
    Placement,
    fit_sides,
    place_image,
    published_placement,
)
from e2ec_core.model.build import build_model
from e2ec_core.model.e2ec import E2EC
from e2ec_core.model.structures import Detections
from e2ec_core.predictor_settings import PredictorSettings

Precision = Literal["fp32", "fp16", "bf16"]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds spent on one image; the device is synchronised before each reading."""

    preprocess: float
    inference: float
    postprocess: float


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Contours of one image and how long they took."""

    contours: Contours
    timing: Timing


class Predictor:
    """Finds the instances of an image.

    `settings` may be replaced at any time and is read once per call.

    Args:
        model: the model; it is moved to the device and set to evaluation mode.
        info: what its checkpoint says.
        device: where it runs.
        precision: arithmetic of the network; contours stay float32.
        settings: thresholds and sizes.
    """

    def __init__(
        self,
        model: E2EC,
        info: CheckpointInfo,
        *,
        device: torch.device,
        precision: Precision = "fp32",
        settings: PredictorSettings | None = None,
    ) -> None:
        if precision not in get_args(Precision):
            raise ValueError(f"precision is {precision!r}; choose fp32, fp16 or bf16")
        if precision == "fp16" and device.type == "cpu":
            raise ValueError("precision is 'fp16' on the CPU; choose fp32 or bf16")
        self.model = model.to(device).eval()
        self.info = info
        self.device = device
        self.precision: Precision = precision
        self.settings = settings or PredictorSettings()

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        *,
        device: str = "auto",
        precision: Precision = "fp32",
        settings: PredictorSettings | None = None,
    ) -> Predictor:
        """Loads a checkpoint.

        Args:
            path: `.safetensors` file with its config inside.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            precision: arithmetic of the network.
            settings: thresholds and sizes.

        Raises:
            CheckpointError: the file is missing, broken or does not fit.
            ValueError: no such device or precision.
        """
        place = choose_device(device)
        info, state = read_checkpoint(path)
        model = build_model(info.config)
        load_state(model, state, str(path))
        return cls(model, info, device=place, precision=precision, settings=settings)

    def __call__(self, image_rgb: NDArray[np.uint8]) -> Prediction:
        """Finds the instances of one image.

        Args:
            image_rgb: uint8 [H, W, 3], RGB.

        Raises:
            ValueError: the array is not such an image.
        """
        settings = self.settings
        start = time.perf_counter()
        images, placement = self.prepare(image_rgb, settings)
        prepared = self._clock()
        detections = self._infer(images, settings)
        inferred = self._clock()
        contours = _collect(detections, placement, self.info.config.label_origin, settings)
        return Prediction(
            contours=contours,
            timing=Timing(
                preprocess=prepared - start,
                inference=inferred - prepared,
                postprocess=time.perf_counter() - inferred,
            ),
        )

    def warm_up(self, image_size: tuple[int, int] = (384, 512), *, runs: int = 2) -> None:
        """Runs on grey images of (height, width) px, so that the first real one is not slow."""
        for _ in range(runs):
            self(np.full((*image_size, 3), 127, np.uint8))

    def prepare(
        self, image_rgb: NDArray[np.uint8], settings: PredictorSettings
    ) -> tuple[torch.Tensor, Placement]:
        """Network input float32 [1, 3, H', W'] on the device, and where the image lies in it."""
        check_image(image_rgb)
        height, width = image_rgb.shape[:2]
        placement = place((height, width), self.info.config.placement, settings)
        tensor = torch.from_numpy(place_image(image_rgb, placement))
        tensor = tensor.to(self.device, non_blocking=True)
        return tensor.permute(2, 0, 1)[None].float(), placement

    @torch.inference_mode()
    def _infer(self, images: torch.Tensor, settings: PredictorSettings) -> Detections:
        with self._arithmetic():
            found: Detections = self.model(
                images, max_instances=settings.max_instances, stage=settings.stage
            )
        return found

    def _arithmetic(self) -> AbstractContextManager[object]:
        if self.precision == "fp32":
            return nullcontext()
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype)

    def _clock(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def check_image(image_rgb: NDArray[np.uint8]) -> None:
    """Raises ValueError unless the array is uint8 [H, W, 3] with at least one pixel."""
    if image_rgb.dtype != np.uint8 or image_rgb.ndim != 3 or image_rgb.shape[2] != 3:
        raise ValueError(
            f"image is {image_rgb.dtype} {image_rgb.shape}; give uint8 [height, width, 3] RGB"
        )
    if 0 in image_rgb.shape:
        raise ValueError(f"image has shape {image_rgb.shape}; it must have at least one pixel")


def place(
    image_size: tuple[int, int], rule: PlacementRule, settings: PredictorSettings
) -> Placement:
    """Where an image of (height, width) lies in the network's input."""
    if rule == "fit":
        return fit_sides(image_size, settings.short_side, settings.long_side)
    return published_placement(rule, image_size)


def to_image_px(
    contours: NDArray[np.float32], placement: Placement, origin: LabelOrigin
) -> NDArray[np.float32]:
    """Contours [..., 2] from what the network was taught to image px with centres at integers.

    Labels count from the corner of the top-left pixel. Where their origin is known to be the
    corner, the input's px count from its corner as well, and half an input px comes off. Where it
    was taken for the centre (published), half an image px comes off after undoing the placement.
    """
    if origin == "corner":
        return placement.points_to_image(contours - 0.5).astype(np.float32)
    return (placement.points_to_image(contours) - 0.5).astype(np.float32)


def labels_to_input_px(
    labels: NDArray[np.float64], placement: Placement, origin: LabelOrigin
) -> NDArray[np.float64]:
    """Label coordinates [..., 2] (image px, edges at integers) as the network was taught them."""
    if origin == "corner":
        return placement.points_to_input(labels - 0.5) + 0.5
    return placement.points_to_input(labels)


def _collect(
    detections: Detections,
    placement: Placement,
    origin: LabelOrigin,
    settings: PredictorSettings,
) -> Contours:
    scores = detections.scores[0].float().cpu().numpy()
    kept = int((scores >= max(settings.score_threshold, 1e-6)).sum())
    ids = detections.instance_ids
    contours = detections.contours[0, :kept].float().cpu().numpy()
    found = Contours(
        vertices=to_image_px(contours, placement, origin),
        scores=scores[:kept],
        class_ids=detections.class_ids[0, :kept].cpu().numpy(),
        stage=settings.stage,
        image_size=placement.image_size,
        instance_ids=None if ids is None else ids[0, :kept].cpu().numpy(),
    )
    return found[distinct(found, settings.nms_iou)]

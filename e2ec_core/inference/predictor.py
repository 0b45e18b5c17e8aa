"""From an image to contours: what the command line, the node and the evaluator all use."""

from __future__ import annotations

import logging
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from e2ec_core.checkpoint import CheckpointInfo, check_fit, load_state, read_checkpoint
from e2ec_core.config import LabelOrigin, PlacementRule
from e2ec_core.contours import STAGES, Contours, Stage
from e2ec_core.cpu_threads import warn_of_spinning
from e2ec_core.device import choose_device
from e2ec_core.inference.class_filter import only_classes
from e2ec_core.inference.postprocess import distinct
from e2ec_core.inference.preprocess import (
    Placement,
    fit_sides,
    limited,
    place_image,
    published_placement,
)
from e2ec_core.model.build import build_model
from e2ec_core.model.e2ec import E2EC
from e2ec_core.model.structures import Features, Proposals, Seeds, cells_at
from e2ec_core.predictor_settings import MOST_INPUT_PX, PredictorSettings
from e2ec_core.shipped_weights import shipped_weights

_LOG = logging.getLogger(__name__)

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


class StageResult(NamedTuple):
    """What one stage makes of an image.

    Attributes:
        contours: of the model's own detections.
        boxes_xyxy: float64 [K, 4] the detector's boxes, image px; None without a box head.
        given: float32 [G, N, 2] image px, grown in the given boxes (at their centres, for a model
            without boxes).
    """

    contours: Contours
    boxes_xyxy: NDArray[np.float64] | None
    given: NDArray[np.float32]


class NonFiniteError(ValueError):
    """The network's output holds NaN or inf, so that no contour can be trusted."""


class Predictor:
    """Finds the instances of an image.

    `settings` may be replaced at any time and is read once per call.

    Args:
        model: the model; it is moved to the device and set to evaluation mode.
        info: what its checkpoint says.
        device: where it runs.
        precision: arithmetic of the network; contours stay float32.
        settings: thresholds, sizes and classes.

    Raises:
        ValueError: the precision does not fit, or the model does not know a class.
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
        # Images come with the channels last, and convolutions are faster if weights do too.
        self.model = model.to(device).eval()
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.info = info
        self.device = device
        self.precision: Precision = precision
        self.settings = settings or PredictorSettings()

    @property
    def settings(self) -> PredictorSettings:
        """Thresholds, sizes and classes; setting it raises ValueError for an unknown class."""
        return self._settings

    @settings.setter
    def settings(self, settings: PredictorSettings) -> None:
        settings.class_ids(self.info.config.class_names)
        self._settings = settings

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
            ValueError: no such device, precision or class.
        """
        place = choose_device(device)
        if place.type == "cpu" and torch.get_num_threads() > 1:
            warn_of_spinning()
        info, state = read_checkpoint(path)
        with torch.device("meta"):  # sizes cost nothing there: a broken config cannot fill memory
            check_fit(build_model(info.config), state, str(path))
        model = build_model(info.config)
        load_state(model, state, str(path))
        return cls(model, info, device=place, precision=precision, settings=settings)

    @classmethod
    def from_pretrained(
        cls,
        *,
        device: str = "auto",
        precision: Precision = "fp32",
        settings: PredictorSettings | None = None,
    ) -> Predictor:
        """Loads the weights that ship with the library; arguments as in `from_checkpoint`."""
        path = shipped_weights()
        return cls.from_checkpoint(path, device=device, precision=precision, settings=settings)

    def __call__(self, image_rgb: NDArray[np.uint8]) -> Prediction:
        """Finds the instances of one image.

        Args:
            image_rgb: uint8 [H, W, 3], RGB.

        Raises:
            ValueError: the array is not such an image.
            NonFiniteError: the network's output holds NaN or inf.
        """
        settings = self.settings
        start = time.perf_counter()
        images, placement = self.prepare(image_rgb, settings)
        prepared = self._clock()
        with torch.inference_mode(), self._arithmetic():
            features = self.model.detect(images)
            found = self._propose(features, settings)
            grown = self.model.grow(features, found.seeds, settings.stage, clip=self.model.clip)
        inferred = self._clock()
        contours, _ = self._collect(
            features, found, grown[-1], placement, settings, settings.stage
        )
        return Prediction(
            contours=contours,
            timing=Timing(
                preprocess=prepared - start,
                inference=inferred - prepared,
                postprocess=time.perf_counter() - inferred,
            ),
        )

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of all stages: initial, coarse, evolution 1, ..."""
        count = len(self.model.evolutions)
        return ("initial", "coarse", *(f"evolution {i + 1}" for i in range(count)))

    def every_stage(
        self, image_rgb: NDArray[np.uint8], boxes_xyxy: NDArray[np.float64]
    ) -> dict[str, StageResult]:
        """Contours of every stage for the same detections, and for given boxes.

        Args:
            image_rgb: uint8 [H, W, 3], RGB.
            boxes_xyxy: [G, 4] given boxes in label coordinates (image px, edges at the integers).

        Returns:
            results by stage name, in order.

        Raises:
            ValueError: the array is not such an image.
            NonFiniteError: the network's output holds NaN or inf.
        """
        settings = self.settings
        images, placement = self.prepare(image_rgb, settings)
        with torch.inference_mode(), self._arithmetic():
            features = self.model.detect(images)
            found = self._propose(features, settings)
            grown = self.model.grow(features, found.seeds, clip=self.model.clip)
            given = self._grow_in_boxes(features, placement, boxes_xyxy)
        result = {}
        for index, (name, contours) in enumerate(zip(self.stage_names, grown, strict=True)):
            stage = STAGES[min(index, 2)]
            result[name] = StageResult(
                *self._collect(features, found, contours, placement, settings, stage),
                given[index],
            )
        return result

    def _propose(self, features: Features, settings: PredictorSettings) -> Proposals:
        """The instances of the classes asked for: others are out before the best K are chosen."""
        class_ids = settings.class_ids(self.info.config.class_names)
        if class_ids:
            features = only_classes(features, class_ids)
        return self.model.propose(features, settings.max_instances)

    def _grow_in_boxes(
        self, features: Features, placement: Placement, boxes_xyxy: NDArray[np.float64]
    ) -> list[NDArray[np.float32]]:
        """float32 [G, N, 2] of every stage, image px."""
        if not len(boxes_xyxy):
            return [np.zeros((0, 4, 2), np.float32) for _ in self.stage_names]
        origin = self.info.config.label_origin
        corners = labels_to_input_px(boxes_xyxy.reshape(-1, 2), placement, origin)
        boxes = torch.from_numpy(corners.reshape(1, -1, 4).astype(np.float32)).to(self.device)
        cells = cells_at(features, (boxes[..., :2] + boxes[..., 2:]) / 2)
        seeds = Seeds(cells=cells, boxes=boxes if features.has_boxes else None)
        grown = self.model.grow(features, seeds, clip=self.model.clip)
        return [to_image_px(c[0].float().cpu().numpy(), placement, origin) for c in grown]

    def _collect(
        self,
        features: Features,
        found: Proposals,
        grown: torch.Tensor,
        placement: Placement,
        settings: PredictorSettings,
        stage: Stage,
    ) -> tuple[Contours, NDArray[np.float64] | None]:
        """Contours and the detector's boxes in image px, with one copy from the device."""
        slots, vertices = grown.shape[1:3]
        columns = [grown[0].flatten(1), found.scores[0, :, None], found.class_ids[0, :, None]]
        columns.append(features.logits.isfinite().all().expand(slots, 1))
        if found.instance_ids is not None:
            columns.append(found.instance_ids[0, :, None])
        if found.boxes is not None:
            columns.append(found.boxes[0])
        # float32 holds whole numbers up to 2^24 exactly, more than there are classes and ids.
        packed = torch.cat([column.float() for column in columns], dim=1).cpu().numpy()
        end = 2 * vertices
        scores, finite = packed[:, end], bool(packed[:, end + 2].all())
        kept = int((scores >= max(settings.score_threshold, 1e-6)).sum())
        packed = packed[:kept]
        if not finite or not np.isfinite(packed).all():
            raise NonFiniteError(
                f"the network's output for {self.info.name!r} in {self.precision} holds NaN or "
                "inf; check the weights, or choose precision fp32"
            )
        origin = self.info.config.label_origin
        ids = None if found.instance_ids is None else packed[:, end + 3].astype(np.int64)
        contours = Contours(
            vertices=to_image_px(packed[:, :end].reshape(-1, vertices, 2), placement, origin),
            scores=packed[:, end].copy(),
            class_ids=packed[:, end + 1].astype(np.int64),
            stage=stage,
            image_size=placement.image_size,
            instance_ids=ids,
        )
        index = distinct(contours, settings.nms_iou)
        if found.boxes is None:
            return contours[index], None
        boxes = to_image_px(packed[:, -4:].reshape(-1, 2, 2), placement, origin)
        return contours[index], boxes.reshape(-1, 4).astype(np.float64)[index]

    def warm_up(self, image_size: tuple[int, int] = (384, 512), *, runs: int = 2) -> None:
        """Runs on grey images of (height, width) px, so that the first real one is not slow.

        Raises:
            NonFiniteError: the weights give NaN or inf.
        """
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
    """Where an image of (height, width) lies in the network's input.

    Weights converted from published ones are scaled as they were tested, unless `short_side` or
    `long_side` differs from its default. Whatever the rule, the input has at most
    `MOST_INPUT_PX`; larger ones are scaled down, with a warning.
    """
    sides = settings.short_side, settings.long_side
    if rule == "fit" or sides != (PredictorSettings.short_side, PredictorSettings.long_side):
        placement = fit_sides(image_size, *sides)
    else:
        placement = published_placement(rule, image_size)
    smaller = limited(placement, MOST_INPUT_PX)
    if smaller is not placement:
        _warn_of_limit(image_size, placement.input_size, smaller.input_size)
    return smaller


@lru_cache(maxsize=64)  # once for each size
def _warn_of_limit(
    image: tuple[int, int], wanted: tuple[int, int], given: tuple[int, int]
) -> None:
    _LOG.warning(
        "an image of %dx%d px would need a network input of %dx%d px; it is scaled to %dx%d px. "
        "Set short_side and long_side to choose a smaller one",
        *(side for size in (image, wanted, given) for side in reversed(size)),
    )


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

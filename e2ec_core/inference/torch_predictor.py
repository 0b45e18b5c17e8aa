"""The predictor that runs the network in PyTorch."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from e2ec_core.checkpoint import CheckpointInfo, check_fit, load_state, read_checkpoint
from e2ec_core.contours import STAGES, Contours
from e2ec_core.cpu_threads import warn_of_spinning
from e2ec_core.device import choose_device
from e2ec_core.inference.class_filter import only_classes
from e2ec_core.inference.predictor import (
    NetworkOutput,
    Precision,
    Predictor,
    labels_to_input_px,
    to_image_px,
)
from e2ec_core.inference.preprocess import Placement
from e2ec_core.model.build import build_model
from e2ec_core.model.e2ec import E2EC
from e2ec_core.model.published.folding import fold_norms
from e2ec_core.model.structures import Features, Proposals, Seeds, cells_at
from e2ec_core.predictor_settings import PredictorSettings


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


class TorchPredictor(Predictor):
    """Finds the instances of an image by PyTorch.

    Args:
        model: the model; it is moved to the device and set to evaluation mode.
        info: what its checkpoint says.
        device: where it runs.
        precision: arithmetic of the network; contours stay float32.
        settings: thresholds, sizes and classes.

    Raises:
        ValueError: the precision does not fit, or the model does not know a class.
    """

    backend = "torch"

    def __init__(
        self,
        model: E2EC,
        info: CheckpointInfo,
        *,
        device: torch.device,
        precision: Precision = "fp32",
        settings: PredictorSettings | None = None,
    ) -> None:
        super().__init__(info, precision=precision, settings=settings)
        if precision == "fp16" and device.type == "cpu":
            raise ValueError("precision is 'fp16' on the CPU; choose fp32 or bf16")
        # Images come with the channels last, and convolutions are faster if weights do too.
        self.model = model.to(device).eval()
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device

    @property
    def device_name(self) -> str:
        """Where the network runs, for people."""
        if self.device.type != "cuda":
            return str(self.device)
        return f"{self.device} {torch.cuda.get_device_name(self.device)}"

    def infer(self, placed: NDArray[np.uint8], settings: PredictorSettings) -> NetworkOutput:
        """Runs the network on an image uint8 [H', W', 3] RGB, sides multiples of 32."""
        images = self._upload(placed)
        with torch.inference_mode(), self._arithmetic():
            features = self.model.detect(images)
            found = self._propose(features, settings)
            seeds = self.model.encode_regions(features, found.seeds)
            grown = self._grow(features, seeds, settings)
            amodal = grown.pop() if settings.amodal else None
            scores = self.model.rate(found.scores, seeds)
        return _download(features, found._replace(scores=scores), grown[-1], amodal)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of all stages: initial, coarse, evolution 1, ..., and amodal if asked for."""
        count = len(self.model.evolutions)
        evolutions = (f"evolution {i + 1}" for i in range(count))
        return ("initial", "coarse", *evolutions, *(["amodal"] if self.settings.amodal else []))

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
        settings = dataclasses.replace(self.settings, stage="final")
        placed, placement = self.prepare(image_rgb, settings)
        images = self._upload(placed)
        with torch.inference_mode(), self._arithmetic():
            features = self.model.detect(images)
            found = self._propose(features, settings)
            seeds = self.model.encode_regions(features, found.seeds)
            grown = self._grow(features, seeds, settings)
            found = found._replace(scores=self.model.rate(found.scores, seeds))
            given = self._grow_in_boxes(features, placement, boxes_xyxy, settings)
        result = {}
        for index, (name, contours) in enumerate(zip(self.stage_names, grown, strict=True)):
            output = _download(features, found, contours)
            stage = STAGES[min(index, 2)]
            result[name] = StageResult(
                *self.collect(output, placement, settings, stage), given[index]
            )
        return result

    def _propose(self, features: Features, settings: PredictorSettings) -> Proposals:
        """The instances of the classes asked for: others are out before the best K are chosen."""
        class_ids = settings.class_ids(self.info.config.class_names)
        if class_ids:
            features = only_classes(features, class_ids)
        return self.model.propose(features, settings.max_instances)

    def _grow_in_boxes(
        self,
        features: Features,
        placement: Placement,
        boxes_xyxy: NDArray[np.float64],
        settings: PredictorSettings,
    ) -> list[NDArray[np.float32]]:
        """float32 [G, N, 2] of every stage, image px."""
        if not len(boxes_xyxy):
            return [np.zeros((0, 4, 2), np.float32) for _ in self.stage_names]
        origin = self.info.config.label_origin
        corners = labels_to_input_px(boxes_xyxy.reshape(-1, 2), placement, origin)
        boxes = torch.from_numpy(corners.reshape(1, -1, 4).astype(np.float32)).to(self.device)
        cells = cells_at(features, (boxes[..., :2] + boxes[..., 2:]) / 2)
        seeds = Seeds(cells=cells, boxes=boxes if features.has_boxes else None)
        seeds = self.model.encode_regions(features, seeds)
        grown = self._grow(features, seeds, settings)
        return [to_image_px(c[0].float().cpu().numpy(), placement, origin) for c in grown]

    def _grow(
        self, features: Features, seeds: Seeds, settings: PredictorSettings
    ) -> list[torch.Tensor]:
        """Contours of the stages, then amodal ones if asked for, each [1, K, N, 2] input px."""
        grown = self.model.grow(features, seeds, settings.stage, clip=self.model.clip)
        if settings.amodal:
            grown.append(self.model.grow_amodal(features, seeds, grown[-1]))
        return grown

    def _upload(self, placed: NDArray[np.uint8]) -> torch.Tensor:
        """Network input float32 [1, 3, H', W'] on the device."""
        tensor = torch.from_numpy(placed).to(self.device, non_blocking=True)
        return tensor.permute(2, 0, 1)[None].float()

    def _arithmetic(self) -> AbstractContextManager[object]:
        if self.precision == "fp32":
            return nullcontext()
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype)


def _download(
    features: Features,
    found: Proposals,
    contours: torch.Tensor,
    amodal: torch.Tensor | None = None,
) -> NetworkOutput:
    """Results on the host, with one copy from the device; contours [1, K, N, 2]."""
    slots, vertices = contours.shape[1:3]
    columns = [contours[0].flatten(1), found.scores[0, :, None], found.class_ids[0, :, None]]
    columns.append(features.logits.isfinite().all().expand(slots, 1))
    if found.instance_ids is not None:
        columns.append(found.instance_ids[0, :, None])
    if found.boxes is not None:
        columns.append(found.boxes[0])
    if amodal is not None:
        columns.insert(0, amodal[0].flatten(1))
    # float32 holds whole numbers up to 2^24 exactly, more than there are classes and ids.
    packed = torch.cat([column.float() for column in columns], dim=1).cpu().numpy()
    end = 2 * vertices
    whole = None
    if amodal is not None:
        whole, packed = packed[:, :end].reshape(-1, vertices, 2), packed[:, end:]
    ids = None if found.instance_ids is None else packed[:, end + 3].astype(np.int64)
    return NetworkOutput(
        vertices=packed[:, :end].reshape(-1, vertices, 2),
        scores=packed[:, end],
        class_ids=packed[:, end + 1].astype(np.int64),
        finite=bool(packed[:, end + 2].all()),
        boxes=None if found.boxes is None else packed[:, -4:],
        instance_ids=ids,
        amodal=whole,
    )


def load_torch_predictor(
    path: str | Path,
    *,
    device: str = "auto",
    precision: Precision = "fp32",
    settings: PredictorSettings | None = None,
    threads: int = 0,
) -> TorchPredictor:
    """Loads a `.safetensors` file; arguments and errors as in `Predictor.from_checkpoint`."""
    if threads:
        torch.set_num_threads(threads)
    place = choose_device(device)
    if place.type == "cpu" and torch.get_num_threads() > 1:
        warn_of_spinning()
    info, state = read_checkpoint(path)
    with torch.device("meta"):  # sizes cost nothing there: a broken config cannot fill memory
        check_fit(build_model(info.config), state, str(path))
    model = build_model(info.config)
    load_state(model, state, str(path))
    fold_norms(model)
    return TorchPredictor(model, info, device=place, precision=precision, settings=settings)

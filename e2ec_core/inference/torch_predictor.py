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
from e2ec_core.contours import STAGES, Contours, Stage
from e2ec_core.cpu_threads import warn_of_spinning
from e2ec_core.device import choose_device
from e2ec_core.inference.class_filter import mask_classes
from e2ec_core.inference.frames import labels_to_input_px, to_image_px
from e2ec_core.inference.network_output import LEAST_SCORE, NetworkOutput
from e2ec_core.inference.packed_output import Packed, pack
from e2ec_core.inference.predictor import (
    Precision,
    Predictor,
)
from e2ec_core.inference.preprocess import Placement
from e2ec_core.model.build import build_model
from e2ec_core.model.e2ec import E2EC
from e2ec_core.model.precision import HALF_TYPES
from e2ec_core.model.published.folding import fold_norms, halve_weights
from e2ec_core.model.structures import Features, Seeds, cells_at
from e2ec_core.predictor_settings import PredictorSettings
from e2ec_core.shipped_weights import Backend

SLOTS = (16, 32, 64, 100, 200)
"""Numbers of contours that are grown, so that few sizes of tensors occur."""


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

    backend: Backend = "torch"

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
        self._slots = SLOTS[-1]

    @property
    def device_name(self) -> str:
        """Where the network runs, for people."""
        if self.device.type != "cuda":
            return str(self.device)
        return f"{self.device} {torch.cuda.get_device_name(self.device)}"

    def infer(self, placed: NDArray[np.uint8], settings: PredictorSettings) -> list[NetworkOutput]:
        """Runs the network on images uint8 [B, H', W', 3] RGB, sides multiples of 32.

        Contours grow in about as many slots as the images before had objects. Where these are too
        few, all of them are computed: the result does not depend on the images before.
        """
        images, most = self.upload(placed), settings.max_instances
        mask = self.class_mask(settings)
        slots = most if self.model.component_head is not None else min(self._slots, most)
        while True:
            with torch.inference_mode(), self._arithmetic():
                packed = self.network(images, mask, slots, settings.stage, settings.amodal)
            outputs, found = packed.unpack()
            least = max(settings.score_threshold, LEAST_SCORE)
            detected = int((found >= least).sum(axis=1).max())
            self._slots = next((n for n in SLOTS if n > detected), most)
            if detected < slots or slots == most:
                return outputs
            slots = most

    def network(
        self,
        images: torch.Tensor,
        mask: torch.Tensor | None,
        slots: int,
        stage: Stage,
        amodal: bool,
    ) -> Packed:
        """From images on the device to the packed result, without waiting for the device.

        Args:
            images: uint8 [B, H', W', 3] RGB, sides multiples of 32.
            mask: bool [C], the classes to look for; None for all.
            slots: number of contours of each image.
            stage: last stage.
            amodal: whether to find amodal contours.
        """
        features = self.model.detect(images.permute(0, 3, 1, 2).float())
        looked_at = features if mask is None else mask_classes(features, mask)
        found = self.model.propose(looked_at, slots)
        seeds = self.model.encode_regions(features, found.seeds)
        grown = self._grow(features, seeds, stage, amodal)
        whole = grown.pop() if amodal else None
        return pack(features, found, self.model.rate(found.scores, seeds), grown[-1], whole)

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
        images = self.upload(placed[None])
        with torch.inference_mode(), self._arithmetic():
            features = self.model.detect(images.permute(0, 3, 1, 2).float())
            mask = self.class_mask(settings)
            looked_at = features if mask is None else mask_classes(features, mask)
            found = self.model.propose(looked_at, settings.max_instances)
            seeds = self.model.encode_regions(features, found.seeds)
            grown = self._grow(features, seeds, settings.stage, settings.amodal)
            scores = self.model.rate(found.scores, seeds)
            given = self._grow_in_boxes(features, placement, boxes_xyxy, settings)
        result = {}
        for index, (name, contours) in enumerate(zip(self.stage_names, grown, strict=True)):
            (output,), _ = pack(features, found, scores, contours).unpack()
            stage = STAGES[min(index, 2)]
            result[name] = StageResult(
                *self.collect(output, placement, settings, stage), given[index]
            )
        return result

    def class_mask(self, settings: PredictorSettings) -> torch.Tensor | None:
        """bool [C] on the device, the classes asked for; None for all."""
        names = self.info.config.class_names
        chosen = settings.class_ids(names)
        if not chosen:
            return None
        mask = torch.zeros(len(names), dtype=torch.bool)
        mask[list(chosen)] = True
        return mask.to(self.device, non_blocking=True)

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
        grown = self._grow(features, seeds, settings.stage, settings.amodal)
        return [to_image_px(c[0].float().cpu().numpy(), placement, origin) for c in grown]

    def _grow(
        self, features: Features, seeds: Seeds, stage: Stage, amodal: bool
    ) -> list[torch.Tensor]:
        """Contours of the stages, then amodal ones if asked for, each [1, K, N, 2] input px."""
        grown = self.model.grow(features, seeds, stage, clip=self.model.clip)
        if amodal:
            grown.append(self.model.grow_amodal(features, seeds, grown[-1]))
        return grown

    def upload(self, placed: NDArray[np.uint8]) -> torch.Tensor:
        """The images on the device, uint8 [B, H', W', 3]."""
        images = torch.from_numpy(placed)
        if self.device.type == "cuda":
            images = images.pin_memory()  # else the copy waits
        return images.to(self.device, non_blocking=True)

    def _arithmetic(self) -> AbstractContextManager[object]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, HALF_TYPES[self.precision])


def load_torch_predictor(
    path: str | Path,
    *,
    backend: Backend = "torch",
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
    if precision in HALF_TYPES:
        halve_weights(model, HALF_TYPES[precision])
    kind = TorchPredictor
    if backend == "compiled":
        from e2ec_core.inference.compiled_predictor import CompiledPredictor as kind
    return kind(model, info, device=place, precision=precision, settings=settings)

"""From an image to contours: what the command line, the node and the evaluator all use.

The network runs in a backend, PyTorch or ONNX Runtime, which is imported when weights are loaded.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from e2ec_core.checkpoint_info import CheckpointInfo
from e2ec_core.contours import Contours, Stage
from e2ec_core.inference.frames import place, to_image_px
from e2ec_core.inference.network_output import LEAST_SCORE, NetworkOutput
from e2ec_core.inference.postprocess import distinct
from e2ec_core.inference.preprocess import Placement, place_image
from e2ec_core.predictor_settings import PredictorSettings
from e2ec_core.shipped_weights import ENDINGS, Backend, shipped_weights

_LOG = logging.getLogger(__name__)

Precision = Literal["fp32", "fp16", "bf16"]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds spent on one image; inference ends when its results are on the host.

    The inference of an image in a batch is that of the whole batch.
    """

    preprocess: float
    inference: float
    postprocess: float


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Contours of one image and how long they took."""

    contours: Contours
    timing: Timing


class NonFiniteError(ValueError):
    """The network's output holds NaN or inf, so that no contour can be trusted."""


class Predictor(ABC):
    """Finds the instances of an image.

    `settings` may be replaced at any time and is read once per call.

    Args:
        info: what the checkpoint says.
        precision: arithmetic of the network; contours stay float32.
        settings: thresholds, sizes and classes.

    Raises:
        ValueError: the precision is unknown, or the model does not know a class.
    """

    backend: Backend

    def __init__(
        self,
        info: CheckpointInfo,
        *,
        precision: Precision = "fp32",
        settings: PredictorSettings | None = None,
    ) -> None:
        if precision not in get_args(Precision):
            raise ValueError(f"precision is {precision!r}; choose fp32, fp16 or bf16")
        self.info = info
        self.precision: Precision = precision
        self.settings = settings or PredictorSettings()

    @property
    def settings(self) -> PredictorSettings:
        """Thresholds, sizes and classes; setting it raises ValueError for what the model
        does not have."""
        return self._settings

    @settings.setter
    def settings(self, settings: PredictorSettings) -> None:
        settings.require_fit(self.info.config)
        self._settings = settings

    @staticmethod
    def from_checkpoint(
        path: str | Path,
        *,
        device: str = "auto",
        precision: Precision = "fp32",
        settings: PredictorSettings | None = None,
        backend: Backend = "auto",
        threads: int = 0,
    ) -> Predictor:
        """Loads a checkpoint.

        Args:
            path: `.safetensors` file with its config inside, or `.onnx` file of `e2ec export`.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            precision: arithmetic of the network; `onnxruntime`: fp32, `tensorrt`: fp32 or fp16.
            settings: thresholds and sizes.
            backend: `torch`, or `compiled` by `torch.compile`, for .safetensors; `onnxruntime`, or
                `tensorrt` by ONNX Runtime, for .onnx; `auto`: the first that the file is for.
            threads: CPU threads of one inference; 0 leaves the choice to the backend. PyTorch
                has one number for the whole process.

        Raises:
            CheckpointError: the file is missing, broken or does not fit.
            ValueError: no such device, precision, class or backend.
        """
        if backend not in get_args(Backend):
            raise ValueError(f"backend is {backend!r}; choose {' or '.join(get_args(Backend))}")
        ending = ".onnx" if Path(path).suffix == ".onnx" else ".safetensors"
        if backend == "auto":
            backend = "onnxruntime" if ending == ".onnx" else "torch"
        if ENDINGS[backend] != ending:
            form = ".safetensors" if ending == ".onnx" else ".onnx (see `e2ec export`)"
            raise ValueError(f"backend is {backend!r}, but weights are {str(path)!r}; give {form}")
        load: Callable[..., Predictor]
        if ending == ".onnx":
            from e2ec_core.inference.onnx_predictor import load_onnx_predictor as load
        else:
            from e2ec_core.inference.torch_predictor import load_torch_predictor as load
        return load(
            path,
            backend=backend,
            device=device,
            precision=precision,
            settings=settings,
            threads=threads,
        )

    @staticmethod
    def from_pretrained(
        *,
        device: str = "auto",
        precision: Precision = "fp32",
        settings: PredictorSettings | None = None,
        backend: Backend = "auto",
        threads: int = 0,
    ) -> Predictor:
        """Loads the model that ships with the library; arguments as in `from_checkpoint`.

        `auto` takes the fastest backend that is installed, see `shipped_weights`.
        """
        path = shipped_weights(backend, device=device, precision=precision)
        return Predictor.from_checkpoint(
            path,
            device=device,
            precision=precision,
            settings=settings,
            backend=backend,
            threads=threads,
        )

    def __call__(self, image_rgb: NDArray[np.uint8]) -> Prediction:
        """Finds the instances of one image.

        Args:
            image_rgb: uint8 [H, W, 3], RGB.

        Raises:
            ValueError: the array is not such an image.
            NonFiniteError: the network's output holds NaN or inf.
        """
        (found,) = self.batch([image_rgb])
        if isinstance(found, NonFiniteError):
            raise found
        return found

    def batch(self, images_rgb: Sequence[NDArray[np.uint8]]) -> list[Prediction | NonFiniteError]:
        """Finds the instances of images of one size, which go through the network together.

        Args:
            images_rgb: uint8 [H, W, 3] each, RGB.

        Returns:
            for each image what the call for it alone gives, up to rounding; where the network's
            output for it holds NaN or inf, the error.

        Raises:
            ValueError: an array is not such an image, or they differ in size.
        """
        settings = self.settings
        times = [time.perf_counter()]
        placed = []
        for image in images_rgb:
            pixels, placement = self.prepare(image, settings)
            placed.append(pixels)
            times.append(time.perf_counter())
        sizes = sorted({image.shape[:2] for image in images_rgb})
        if len(sizes) != 1:
            raise ValueError(f"the images of a batch have sizes {sizes}; give images of one size")
        outputs = self.infer(np.stack(placed) if len(placed) > 1 else placed[0][None], settings)
        before = time.perf_counter()
        inference = before - times[-1]
        found: list[Prediction | NonFiniteError] = []
        for index, output in enumerate(outputs):
            try:
                contours, _ = self.collect(output, placement, settings, settings.stage)
            except NonFiniteError as error:
                found.append(error)
                continue
            now = time.perf_counter()
            timing = Timing(
                preprocess=times[index + 1] - times[index],
                inference=inference,
                postprocess=now - before,
            )
            before = now
            found.append(Prediction(contours=contours, timing=timing))
        return found

    @property
    @abstractmethod
    def device_name(self) -> str:
        """Where the network runs, for people."""

    @abstractmethod
    def infer(self, placed: NDArray[np.uint8], settings: PredictorSettings) -> list[NetworkOutput]:
        """Runs the network, for each image of a batch.

        Args:
            placed: uint8 [B, H', W', 3] RGB, sides multiples of 32.
            settings: number of instances, classes, stage and, where it saves time, threshold.
        """

    def prepare(
        self, image_rgb: NDArray[np.uint8], settings: PredictorSettings
    ) -> tuple[NDArray[np.uint8], Placement]:
        """Network input uint8 [H', W', 3], and where the image lies in it."""
        check_image(image_rgb)
        height, width = image_rgb.shape[:2]
        placement = place((height, width), self.info.config.placement, settings)
        return place_image(image_rgb, placement), placement

    def collect(
        self,
        output: NetworkOutput,
        placement: Placement,
        settings: PredictorSettings,
        stage: Stage,
    ) -> tuple[Contours, NDArray[np.float64] | None]:
        """Contours and the detector's boxes [K, 4], in image px, of the distinct instances.

        Raises:
            NonFiniteError: the network's output holds NaN or inf.
        """
        # Scores that are not numbers reach no threshold.
        sound = output.finite and bool(np.isfinite(output.scores).all())
        output = output.best(max(settings.score_threshold, LEAST_SCORE))
        points = (output.vertices, output.boxes, output.amodal)
        if not sound or not all(np.isfinite(p).all() for p in points if p is not None):
            raise NonFiniteError(
                f"the network's output for {self.info.name!r} in {self.precision} holds NaN or "
                "inf; check the weights, or choose precision fp32"
            )
        origin = self.info.config.label_origin
        contours = Contours(
            vertices=to_image_px(output.vertices, placement, origin),
            scores=output.scores,
            class_ids=output.class_ids,
            stage=stage,
            image_size=placement.image_size,
            instance_ids=output.instance_ids,
            amodal_vertices=None
            if output.amodal is None
            else to_image_px(output.amodal, placement, origin),
        )
        index = distinct(contours, settings.nms_iou)
        if output.boxes is None:
            return contours[index], None
        placed = to_image_px(output.boxes.reshape(-1, 2, 2), placement, origin)
        return contours[index], placed.reshape(-1, 4).astype(np.float64)[index]

    def warm_up(self, image_size: tuple[int, int] = (384, 512), *, runs: int = 2) -> None:
        """Runs on grey images of (height, width) px, so that the first real one is not slow.

        Raises:
            NonFiniteError: the weights give NaN or inf.
        """
        for _ in range(runs):
            self(np.full((*image_size, 3), 127, np.uint8))


def check_image(image_rgb: NDArray[np.uint8]) -> None:
    """Raises ValueError unless the array is uint8 [H, W, 3] with at least one pixel."""
    if image_rgb.dtype != np.uint8 or image_rgb.ndim != 3 or image_rgb.shape[2] != 3:
        raise ValueError(
            f"image is {image_rgb.dtype} {image_rgb.shape}; give uint8 [height, width, 3] RGB"
        )
    if 0 in image_rgb.shape:
        raise ValueError(f"image has shape {image_rgb.shape}; it must have at least one pixel")

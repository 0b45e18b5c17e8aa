"""The predictor that runs an exported ONNX file in ONNX Runtime. It needs no PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from e2ec_core.checkpoint_info import CheckpointError, CheckpointInfo, weights_file
from e2ec_core.config import ModelConfig
from e2ec_core.inference.network_output import LEAST_SCORE, NetworkOutput
from e2ec_core.inference.onnx_file import AMODAL, BOXES, CONTOURS, DETECTIONS, from_metadata
from e2ec_core.inference.onnx_providers import CPU, choose_providers
from e2ec_core.inference.predictor import (
    Precision,
    Predictor,
    check_image,
)
from e2ec_core.inference.preprocess import Placement, fit_inside, place_image
from e2ec_core.predictor_settings import PredictorSettings
from e2ec_core.shipped_weights import Backend

if TYPE_CHECKING:
    import onnxruntime


class OnnxPredictor(Predictor):
    """Finds the instances of an image by ONNX Runtime.

    Image and contours travel as host arrays, also to and from a GPU: they are small. Contours
    grow for the instances above the score threshold alone, so that images with few objects take
    less time.

    Args:
        session: of an exported file.
        info: what the file says.
        backend: `onnxruntime` or `tensorrt`.
        precision: arithmetic of the network; contours stay float32.
        settings: thresholds, sizes and classes.

    Raises:
        ValueError: the model does not know a class.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        info: CheckpointInfo,
        *,
        backend: Backend = "onnxruntime",
        precision: Precision = "fp32",
        settings: PredictorSettings | None = None,
    ) -> None:
        super().__init__(info, precision=precision, settings=settings)
        self.backend = backend
        self.session = session
        self._shape = session.get_inputs()[0].shape  # with names where it is free
        self._inputs = [value.name for value in session.get_inputs()]
        self._outputs = [value.name for value in session.get_outputs()]

    @property
    def device_name(self) -> str:
        """Where the network runs, for people."""
        first = self.session.get_providers()[0]
        if first == CPU:
            return "cpu"
        return f"cuda:{self.session.get_provider_options()[first].get('device_id', 0)}"

    def prepare(
        self, image_rgb: NDArray[np.uint8], settings: PredictorSettings
    ) -> tuple[NDArray[np.uint8], Placement]:
        """As `Predictor.prepare`; a file of one size gets the image as large as fits into it."""
        height, width = self._shape[1:3]
        if not (isinstance(height, int) and isinstance(width, int)):
            return super().prepare(image_rgb, settings)
        check_image(image_rgb)
        placement = fit_inside((image_rgb.shape[0], image_rgb.shape[1]), (height, width))
        return place_image(image_rgb, placement), placement

    def infer(self, placed: NDArray[np.uint8], settings: PredictorSettings) -> list[NetworkOutput]:
        """Runs the network on images uint8 [B, H', W', 3] RGB, sides multiples of 32.

        Files that take one image run once for each.
        """
        together = 1 if isinstance(self._shape[0], int) else len(placed)
        runs = (placed[start : start + together] for start in range(0, len(placed), together))
        return [output for images in runs for output in self._run(images, settings)]

    def _run(self, placed: NDArray[np.uint8], settings: PredictorSettings) -> list[NetworkOutput]:
        given = inputs_for(self.info.config, placed, settings, self._inputs)
        values = dict(zip(self._outputs, self.session.run(None, given), strict=True))
        scores, class_ids, finite = (values[name] for name in DETECTIONS)
        boxes, amodal = values.get(BOXES), values[AMODAL] if settings.amodal else None
        outputs = (
            NetworkOutput(
                values[CONTOURS][index],
                scores[index],
                class_ids[index],
                bool(finite[index]),
                boxes=None if boxes is None else boxes[index],
                amodal=None if amodal is None else amodal[index],
            )
            for index in range(len(placed))
        )
        return [output.first(settings.max_instances) for output in outputs]  # of a fixed number


def inputs_for(
    config: ModelConfig,
    placed: NDArray[np.uint8],
    settings: PredictorSettings,
    names: Sequence[str],
) -> dict[str, NDArray[Any]]:
    """The inputs of a file, as `onnx_file` describes them, for images and settings.

    Args:
        config: of the model.
        placed: uint8 [B, H', W', 3] RGB, sides multiples of 32.
        settings: what to find.
        names: the inputs that the file has.
    """
    class_ids = settings.class_ids(config.class_names)
    mask = np.full(len(config.class_names), not class_ids)
    mask[list(class_ids)] = True
    values = {
        "images": placed,
        "max_instances": np.array(settings.max_instances),
        "score_threshold": np.array(max(settings.score_threshold, LEAST_SCORE), np.float32),
        "class_mask": mask,
        "deform": np.array(settings.stage != "initial"),
        "evolve": np.array(settings.stage == "final"),
        "amodal": np.array(settings.amodal),
    }
    return {name: values[name] for name in names}


def load_onnx_predictor(
    path: str | Path,
    *,
    backend: Backend = "onnxruntime",
    device: str = "auto",
    precision: Precision = "fp32",
    settings: PredictorSettings | None = None,
    threads: int = 0,
) -> OnnxPredictor:
    """Loads an `.onnx` file; arguments and errors as in `Predictor.from_checkpoint`."""
    import onnxruntime

    available = onnxruntime.get_available_providers()
    providers = choose_providers(backend, device, precision, available)
    path = weights_file(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Waiting threads sleep, as PyTorch's do; see `cpu_threads`.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=providers)
    except Exception as error:  # onnxruntime's errors share no other class
        raise CheckpointError(
            f"weights file {str(path)!r} cannot be read as ONNX ({error}); "
            "copy it again, or make it with `e2ec export`"
        ) from error
    first = session.get_providers()[0]  # ONNX Runtime falls back where a library is missing
    if first != providers[0][0] and (device != "auto" or backend == "tensorrt"):
        raise ValueError(
            f"ONNX Runtime cannot start {providers[0][0]} and would run on {first}; its log says "
            "which library of CUDA or TensorRT is missing"
        )
    info = from_metadata(path.stem, session.get_modelmeta().custom_metadata_map)
    return OnnxPredictor(session, info, backend=backend, precision=precision, settings=settings)

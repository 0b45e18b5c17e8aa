"""The predictor that runs an exported ONNX file in ONNX Runtime. It needs no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from e2ec_core.checkpoint_info import CheckpointError, CheckpointInfo, weights_file
from e2ec_core.inference.onnx_file import AMODAL, BOXES, CONTOURS, DETECTIONS, from_metadata
from e2ec_core.inference.predictor import LEAST_SCORE, NetworkOutput, Precision, Predictor
from e2ec_core.predictor_settings import PredictorSettings

if TYPE_CHECKING:
    import onnxruntime


class OnnxPredictor(Predictor):
    """Finds the instances of an image by ONNX Runtime, on the CPU in float32.

    Contours grow for the instances above the score threshold alone, so that images with few
    objects take less time.

    Args:
        session: of an exported file.
        info: what the file says.
        settings: thresholds, sizes and classes.

    Raises:
        ValueError: the model does not know a class.
    """

    backend = "onnxruntime"

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        info: CheckpointInfo,
        *,
        settings: PredictorSettings | None = None,
    ) -> None:
        from onnxruntime import RunOptions

        super().__init__(info, settings=settings)
        self.session = session
        self._has_boxes = BOXES in [output.name for output in session.get_outputs()]
        self._options = RunOptions()
        self._options.only_execute_path_to_fetches = True  # no later stages than asked for

    @property
    def device_name(self) -> str:
        """Where the network runs, for people."""
        return "cpu"

    def infer(self, placed: NDArray[np.uint8], settings: PredictorSettings) -> NetworkOutput:
        """Runs the network on an image uint8 [H', W', 3] RGB, sides multiples of 32."""
        class_ids = settings.class_ids(self.info.config.class_names)
        mask = np.full(len(self.info.config.class_names), not class_ids)
        mask[list(class_ids)] = True
        inputs = {
            "image": placed,
            "max_instances": np.array(settings.max_instances),
            "score_threshold": np.array(max(settings.score_threshold, LEAST_SCORE), np.float32),
            "class_mask": mask,
        }
        names = [CONTOURS[settings.stage], *DETECTIONS]
        names += [BOXES] if self._has_boxes else []
        names += [AMODAL] if settings.amodal else []
        values = dict(zip(names, self.session.run(names, inputs, self._options), strict=True))
        scores, class_ids, finite = (values[name] for name in DETECTIONS)
        return NetworkOutput(
            values[CONTOURS[settings.stage]],
            scores,
            class_ids,
            bool(finite),
            boxes=values.get(BOXES),
            amodal=values.get(AMODAL),
        )


def load_onnx_predictor(
    path: str | Path,
    *,
    device: str = "auto",
    precision: Precision = "fp32",
    settings: PredictorSettings | None = None,
    threads: int = 0,
) -> OnnxPredictor:
    """Loads an `.onnx` file; arguments and errors as in `Predictor.from_checkpoint`."""
    import onnxruntime

    if device not in ("auto", "cpu"):
        raise ValueError(f"device is {device!r}; ONNX files run on the CPU: choose auto or cpu")
    if precision != "fp32":
        raise ValueError(f"precision is {precision!r}; ONNX files run in fp32")
    path = weights_file(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Waiting threads sleep, as PyTorch's do; see `cpu_threads`.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's errors share no other class
        raise CheckpointError(
            f"weights file {str(path)!r} cannot be read as ONNX ({error}); "
            "copy it again, or make it with `e2ec export`"
        ) from error
    info = from_metadata(path.stem, session.get_modelmeta().custom_metadata_map)
    return OnnxPredictor(session, info, settings=settings)

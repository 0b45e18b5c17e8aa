"""Quantises part of a model to 8 bits.

The convolutions of the region encoder alone: they are most of the work where there are many
objects, and hardly lose by it. In the detector 8 bits save next to nothing in ONNX Runtime and
cost a tenth of the AP (`benchmarks/backends.md`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2ec_core.config import ModelConfig
from e2ec_core.inference.onnx_predictor import inputs_for
from e2ec_core.inference.preprocess import fit_inside, fit_side, place_image
from e2ec_core.predictor_settings import PredictorSettings

_QUANTISED = "model.region."
"""How the names of the weights begin."""
_SETTINGS = PredictorSettings(max_instances=8, score_threshold=0.05)
"""Which contours of the calibration images are looked at."""


def quantise(
    source: Path, target: Path, config: ModelConfig, images: Sequence[NDArray[np.uint8]]
) -> None:
    """Writes the same ONNX file with the region encoder in 8 bits, weights per channel.

    Args:
        source: file with weights in float32.
        target: file to write.
        config: of the model.
        images: uint8 [H, W, 3] RGB that tell the ranges of values: a dozen like those that the
            model will see.

    Raises:
        ValueError: the model has no region encoder.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    graph = onnx.load(str(source)).graph
    flat = {value.name for value in graph.initializer if len(value.dims) == 4}
    chosen = [
        node.name
        for node in graph.node
        if node.op_type == "Conv"
        and node.input[1].startswith(_QUANTISED)
        and node.input[1] in flat
    ]
    if not chosen:
        raise ValueError("the model has no region encoder; only that is quantised: choose fp32")
    quantize_static(
        str(source),
        str(target),
        _reader(config, [_placed(image, graph) for image in images], graph),
        quant_format=QuantFormat.QDQ,
        nodes_to_quantize=chosen,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _placed(image: NDArray[np.uint8], graph: Any) -> NDArray[np.uint8]:
    """The image at the file's own size, or with a long side of 512 px."""
    size, own = (image.shape[0], image.shape[1]), graph.input[0].type.tensor_type.shape.dim
    height, width = own[1].dim_value, own[2].dim_value  # 0: free
    free = not (height and width)
    return place_image(image, fit_side(size, 512) if free else fit_inside(size, (height, width)))


def _reader(config: ModelConfig, images: Sequence[NDArray[np.uint8]], graph: Any) -> Any:
    """What ONNX Runtime reads the inputs from, one image after the other."""
    from onnxruntime.quantization import CalibrationDataReader

    names = [value.name for value in graph.input]
    inputs = (inputs_for(config, image[None], _SETTINGS, names) for image in images)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(inputs, None)

    return Reader()

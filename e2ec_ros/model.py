"""Loading the model for the node. Its backend is imported when the node is configured.

The node then answers lifecycle services a fraction of a second after its start, and messages can
be used in processes that have no PyTorch.
"""

from __future__ import annotations

import gc
import sys
import traceback
from typing import TYPE_CHECKING, cast

from e2ec_core.shipped_weights import shipped_weights
from e2ec_ros.messages import ModelDescription
from e2ec_ros.parameters import NodeParameters

if TYPE_CHECKING:
    from e2ec_core.inference.predictor import Precision, Predictor
    from e2ec_core.shipped_weights import Backend


def load_predictor(parameters: NodeParameters) -> Predictor:
    """Loads and warms up the model that the parameters name.

    Raises:
        ValueError: the weights cannot be used, or the device or precision does not exist here.
    """
    import cv2

    from e2ec_core.inference.predictor import Predictor

    cv2.setNumThreads(1)  # OpenCV's thread pool and the backend's slow each other down
    try:
        backend, precision = (
            cast("Backend", parameters.backend),
            cast("Precision", parameters.precision),
        )
        weights = parameters.weights or shipped_weights(
            backend, device=parameters.device, precision=precision
        )
        predictor = Predictor.from_checkpoint(
            weights,
            device=parameters.device,
            precision=precision,
            settings=parameters.predictor_settings(),
            backend=backend,
            threads=parameters.threads,
        )
        predictor.warm_up()
    except Exception as error:
        # Whoever keeps the error would keep the weights, which are locals of its traceback.
        for link in (error, error.__cause__, error.__context__):
            if link is not None:
                traceback.clear_frames(link.__traceback__)
        raise
    return predictor


def describe_model(predictor: Predictor, precision: str) -> ModelDescription:
    """What the messages say of the loaded model."""
    from e2ec_core.colors import class_color

    config = predictor.info.config
    return ModelDescription(
        name=predictor.info.name,
        weights_sha256=predictor.info.sha256,
        device=predictor.device_name,
        precision=precision,
        class_names=config.class_names,
        colors=tuple(class_color(index) for index in range(len(config.class_names))),
        vertices=config.contour_vertices,
        amodal=config.amodal,
    )


def free_memory() -> None:
    """Gives the memory of a dropped model back, also of one that could not be loaded."""
    gc.collect()
    torch = sys.modules.get("torch")  # not imported for this
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()

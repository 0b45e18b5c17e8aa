"""The network: detector, contour stages, and the module that joins them."""

from e2ec_core.model.build import build_model
from e2ec_core.model.e2ec import E2EC
from e2ec_core.model.structures import Detections, Features, Seeds

__all__ = ["E2EC", "Detections", "Features", "Seeds", "build_model"]

"""Fast inference: image in, contours out."""

from e2ec_core.colors import class_color
from e2ec_core.inference.draw import draw_contours
from e2ec_core.inference.predictor import (
    NonFiniteError,
    Precision,
    Prediction,
    Predictor,
    Timing,
)
from e2ec_core.predictor_settings import PredictorSettings
from e2ec_core.shipped_weights import Backend

__all__ = [
    "Backend",
    "NonFiniteError",
    "Precision",
    "Prediction",
    "Predictor",
    "PredictorSettings",
    "Timing",
    "class_color",
    "draw_contours",
]

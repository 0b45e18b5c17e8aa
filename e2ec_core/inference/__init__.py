"""Fast inference: image in, contours out."""

from e2ec_core.inference.draw import class_color, draw_contours
from e2ec_core.inference.predictor import (
    Precision,
    Prediction,
    Predictor,
    PredictorSettings,
    Timing,
)

__all__ = [
    "Precision",
    "Prediction",
    "Predictor",
    "PredictorSettings",
    "Timing",
    "class_color",
    "draw_contours",
]

"""Evaluation of contours: mask, box and boundary AP, and IoU of contours with masks."""

from e2ec_core.evaluation.average_precision import (
    SBD_THRESHOLDS,
    Kind,
    PrecisionTable,
    precision_table,
)
from e2ec_core.evaluation.contour_iou import annotation_to_rle, contour_ious
from e2ec_core.evaluation.evaluator import SUBSETS, CocoEvaluator

__all__ = [
    "SBD_THRESHOLDS",
    "SUBSETS",
    "CocoEvaluator",
    "Kind",
    "PrecisionTable",
    "annotation_to_rle",
    "contour_ious",
    "precision_table",
]

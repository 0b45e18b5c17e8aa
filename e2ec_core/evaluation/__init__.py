"""Evaluation of contours: mask, box and boundary AP, and IoU of contours with masks."""

from .average_precision import SBD_THRESHOLDS, Kind, PrecisionTable, precision_table
from .contour_iou import annotation_to_rle, contour_ious, mean_contour_iou
from .evaluator import SUBSETS, CocoEvaluator

__all__ = [
    "SBD_THRESHOLDS",
    "SUBSETS",
    "CocoEvaluator",
    "Kind",
    "PrecisionTable",
    "annotation_to_rle",
    "contour_ious",
    "mean_contour_iou",
    "precision_table",
]

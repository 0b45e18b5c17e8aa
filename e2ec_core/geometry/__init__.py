"""Contour geometry in NumPy: polygons, sampling, alignment, key vertices, masks."""

from e2ec_core.geometry.alignment import AlignmentMode, align_contour
from e2ec_core.geometry.join import join_polygons, outer_polygons
from e2ec_core.geometry.keys import key_vertices
from e2ec_core.geometry.masks import (
    clip_far,
    contour_to_mask,
    contours_to_masks,
    contours_to_rle,
    mask_to_polygons,
    paint_contours,
)
from e2ec_core.geometry.polygon import (
    Polygon,
    as_polygon,
    bounding_box,
    clean_polygon,
    clip_polygon,
    orient,
    signed_area,
)
from e2ec_core.geometry.sampling import edge_lengths, points_at, resample_uniform, sample_edges

__all__ = [
    "AlignmentMode",
    "Polygon",
    "align_contour",
    "as_polygon",
    "bounding_box",
    "clean_polygon",
    "clip_far",
    "clip_polygon",
    "contour_to_mask",
    "contours_to_masks",
    "contours_to_rle",
    "edge_lengths",
    "join_polygons",
    "key_vertices",
    "mask_to_polygons",
    "orient",
    "outer_polygons",
    "paint_contours",
    "points_at",
    "resample_uniform",
    "sample_edges",
    "signed_area",
]

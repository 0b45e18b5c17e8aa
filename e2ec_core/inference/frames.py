"""Between the px of an image, of the network's input and of labels."""

from __future__ import annotations

import logging
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from e2ec_core.config import LabelOrigin, PlacementRule
from e2ec_core.inference.preprocess import Placement, fit_sides, limited, published_placement
from e2ec_core.predictor_settings import MOST_INPUT_PX, PredictorSettings

_LOG = logging.getLogger(__name__)


def place(
    image_size: tuple[int, int], rule: PlacementRule, settings: PredictorSettings
) -> Placement:
    """Where an image of (height, width) lies in the network's input.

    Weights converted from published ones are scaled as they were tested, unless `short_side` or
    `long_side` differs from its default. Whatever the rule, the input has at most
    `MOST_INPUT_PX`; larger ones are scaled down, with a warning.
    """
    sides = settings.short_side, settings.long_side
    if rule == "fit" or sides != (PredictorSettings.short_side, PredictorSettings.long_side):
        placement = fit_sides(image_size, *sides)
    else:
        placement = published_placement(rule, image_size)
    smaller = limited(placement, MOST_INPUT_PX)
    if smaller is not placement:
        _warn_of_limit(image_size, placement.input_size, smaller.input_size)
    return smaller


@lru_cache(maxsize=64)  # once for each size
def _warn_of_limit(
    image: tuple[int, int], wanted: tuple[int, int], given: tuple[int, int]
) -> None:
    _LOG.warning(
        "an image of %dx%d px would need a network input of %dx%d px; it is scaled to %dx%d px. "
        "Set short_side and long_side to choose a smaller one",
        *(side for size in (image, wanted, given) for side in reversed(size)),
    )


def to_image_px(
    contours: NDArray[np.float32], placement: Placement, origin: LabelOrigin
) -> NDArray[np.float32]:
    """Contours [..., 2] from what the network was taught to image px with centres at integers.

    Labels count from the corner of the top-left pixel. Where their origin is known to be the
    corner, the input's px count from its corner as well, and half an input px comes off. Where it
    was taken for the centre (published), half an image px comes off after undoing the placement.
    """
    if origin == "corner":
        return placement.points_to_image(contours - 0.5).astype(np.float32)
    return (placement.points_to_image(contours) - 0.5).astype(np.float32)


def labels_to_input_px(
    labels: NDArray[np.float64], placement: Placement, origin: LabelOrigin
) -> NDArray[np.float64]:
    """Label coordinates [..., 2] (image px, edges at integers) as the network was taught them."""
    if origin == "corner":
        return placement.points_to_input(labels - 0.5) + 0.5
    return placement.points_to_input(labels)

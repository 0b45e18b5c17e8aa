"""Where the source image lies in the network's input, by the published rules and a plain one.

A placement maps source px to input px; both count from the centre of the top-left pixel. Sizes are
(height, width).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from e2ec_core.data.class_names import DatasetName

MULTIPLE = 32
"""The network's input is a multiple of its greatest stride."""

LONGEST = 4096
"""Most px of a side that `fit_sides` scales an image to, so that a strip stays affordable."""

Side = Literal["long", "short"]


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Position of one source image in the network's input.

    Attributes:
        image_size: (height, width) of the source, px.
        input_size: (height, width) of the network's input, px.
        to_input: float64 [2, 3], source px to input px.
        content_size: (height, width) of the scaled image when it lies in the input's top-left
            corner; None when it is warped.
    """

    image_size: tuple[int, int]
    input_size: tuple[int, int]
    to_input: NDArray[np.float64]
    content_size: tuple[int, int] | None = None

    @property
    def to_image(self) -> NDArray[np.float64]:
        """float64 [2, 3], input px to source px."""
        inverse: NDArray[np.float64] = np.asarray(
            cv2.invertAffineTransform(self.to_input), np.float64
        )
        return inverse

    def points_to_image(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Points [..., 2] (x, y) from input px to source px."""
        return _transform(self.to_image, points)

    def points_to_input(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Points [..., 2] (x, y) from source px to input px."""
        return _transform(self.to_input, points)


def _transform(matrix: NDArray[np.float64], points: NDArray[np.floating]) -> NDArray[np.float64]:
    moved: NDArray[np.float64] = points @ matrix[:, :2].T + matrix[:, 2]
    return moved


def fit_side(image_size: tuple[int, int], length: int, side: Side = "long") -> Placement:
    """Scale so that one side has the given length; pad right and bottom to a multiple of 32.

    Args:
        image_size: (height, width), px.
        length: px of that side after scaling.
        side: which side gets the length.

    Raises:
        ValueError: if the image is empty or the length is not positive.
    """
    height, width = _checked(image_size)
    if length < 1:
        raise ValueError(f"length of the {side} side is {length} px; it must be at least 1")
    scale = length / (max(height, width) if side == "long" else min(height, width))
    content = (max(1, round(height * scale)), max(1, round(width * scale)))
    scale_y, scale_x = content[0] / height, content[1] / width
    # Image resizing keeps the outer edges, half a pixel outside the outermost pixels' centres.
    matrix = np.array([[scale_x, 0, (scale_x - 1) / 2], [0, scale_y, (scale_y - 1) / 2]])
    return Placement(
        image_size=(height, width),
        input_size=(_round_up(content[0]), _round_up(content[1])),
        to_input=matrix,
        content_size=content,
    )


def fit_sides(image_size: tuple[int, int], short_side: int, long_side: int) -> Placement:
    """Scale until both sides have at least the given lengths; pad as `fit_side`.

    One rule for photographs and for the wide images of cars: a 4:3 image is scaled to its long
    side, a wider one is kept higher than its long side alone would leave it. No side grows beyond
    4096 px, though.

    Args:
        image_size: (height, width), px.
        short_side: least length of the short side, px; 0 looks at the long side alone.
        long_side: least length of the long side, px; 0 looks at the short side alone.

    Raises:
        ValueError: if the image is empty or no length is positive.
    """
    height, width = _checked(image_size)
    scale = max(short_side / min(height, width), long_side / max(height, width))
    if scale * max(height, width) > max(LONGEST, long_side):
        return fit_side(image_size, max(LONGEST, long_side), "long")
    if short_side / min(height, width) == scale:
        return fit_side(image_size, short_side, "short")
    return fit_side(image_size, long_side, "long")


def fit_inside(image_size: tuple[int, int], input_size: tuple[int, int]) -> Placement:
    """Scale until the image just fits into an input of a given size; pad right and bottom.

    Args:
        image_size: (height, width), px.
        input_size: (height, width), px.
    """
    height, width = _checked(image_size)
    by_height = input_size[0] * width <= input_size[1] * height
    side: Side = "short" if by_height == (height <= width) else "long"
    placement = fit_side(image_size, input_size[0] if by_height else input_size[1], side)
    return replace(placement, input_size=input_size)


def limited(placement: Placement, most_px: int) -> Placement:
    """Shrinks a placement, as `fit_side`, if its input has more than `most_px` px."""
    height, width = placement.input_size
    length = int(max(height, width) * math.sqrt(min(1.0, most_px / (height * width))))
    while placement.input_size[0] * placement.input_size[1] > most_px:
        placement = fit_side(placement.image_size, length)
        length -= MULTIPLE
    return placement


def letterbox(image_size: tuple[int, int], input_size: tuple[int, int] = (512, 512)) -> Placement:
    """Published SBD rule: the longer side fills the input's width; the image is centred."""
    height, width = _checked(image_size)
    return _centred((height, width), input_size, input_size[1] / max(height, width))


def rescale(image_size: tuple[int, int], factor: float) -> Placement:
    """Published KINS (0.5) and Cityscapes (0.85) rule: the size over `factor`, rounded up to 32.

    Raises:
        ValueError: if the image is empty or the factor is not positive.
    """
    height, width = _checked(image_size)
    if factor <= 0:
        raise ValueError(f"factor is {factor}; it must be positive (published: 0.5 or 0.85)")
    input_size = tuple(int((side / factor + 31) // 32 * 32) for side in (height, width))
    return _centred((height, width), (input_size[0], input_size[1]), input_size[1] / width)


def pad_to_32(image_size: tuple[int, int]) -> Placement:
    """Published COCO rule: the next multiple of 32, always larger; scaled to the input's width."""
    height, width = _checked(image_size)
    return _centred(
        (height, width), ((height | 31) + 1, (width | 31) + 1), ((width | 31) + 1) / width
    )


def published_placement(dataset: DatasetName, image_size: tuple[int, int]) -> Placement:
    """The rule with which the published model was tested on a dataset."""
    if dataset == "kins":
        return rescale(image_size, 0.5)
    if dataset == "cityscapes":
        return rescale(image_size, 0.85)
    return letterbox(image_size) if dataset == "sbd" else pad_to_32(image_size)


def place_image(image: NDArray[np.uint8], placement: Placement) -> NDArray[np.uint8]:
    """Scale or warp an image to the network's input; black where the source does not reach.

    Args:
        image: uint8 [H, W, 3] of the placement's image size.
        placement: where it goes.

    Returns:
        uint8 [H', W', 3] of the placement's input size.
    """
    height, width = placement.input_size
    if placement.content_size is None:
        warped = cv2.warpAffine(image, placement.to_input, (width, height), flags=cv2.INTER_LINEAR)
        return np.asarray(warped, np.uint8)
    content_height, content_width = placement.content_size
    if (content_height, content_width) != placement.image_size:
        shrinks = content_width < placement.image_size[1]
        # Averaging keeps small objects from aliasing away.
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        image = np.asarray(
            cv2.resize(image, (content_width, content_height), interpolation=method)
        )
    placed = np.zeros((height, width, image.shape[2]), np.uint8)
    placed[:content_height, :content_width] = image
    return placed


def _centred(image_size: tuple[int, int], input_size: tuple[int, int], scale: float) -> Placement:
    """Scale about the image's integer centre, which goes to the middle of the input."""
    (height, width), (input_height, input_width) = image_size, input_size
    shift_x = input_width / 2 - scale * (width // 2)
    shift_y = input_height / 2 - scale * (height // 2)
    matrix = np.array([[scale, 0, shift_x], [0, scale, shift_y]])
    return Placement(image_size=image_size, input_size=input_size, to_input=matrix)


def _round_up(length: int) -> int:
    return math.ceil(length / MULTIPLE) * MULTIPLE


def _checked(image_size: tuple[int, int]) -> tuple[int, int]:
    height, width = image_size
    if height < 1 or width < 1:
        raise ValueError(f"image size is {height}x{width} px; it must be at least 1x1")
    return height, width

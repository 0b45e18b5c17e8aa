"""A bounded store of decoded images."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2ec_core.data.labelled import LabelledImage


class ImageCache:
    """Reads images and keeps the last used ones, as many as fit into a number of bytes.

    A copy in another process starts empty, so that images never travel with a data set.

    Args:
        megabytes: of pixels that are kept; 0 keeps none.
    """

    def __init__(self, megabytes: int) -> None:
        self.megabytes = megabytes
        self.size = 0
        """Bytes that are kept now."""
        self._images: OrderedDict[tuple[Any, ...], NDArray[np.uint8]] = OrderedDict()

    def __reduce__(self) -> tuple[type[ImageCache], tuple[int]]:
        return ImageCache, (self.megabytes,)

    def read(self, labelled: LabelledImage) -> NDArray[np.uint8]:
        """Reads an image, uint8 RGB [H, W, 3]; see `LabelledImage.read`.

        Raises:
            ValueError: the file is missing or cannot be read.
        """
        key = (labelled.path, labelled.upright, labelled.values)
        if key in self._images:
            self._images.move_to_end(key)
            return self._images[key]
        image = self._images[key] = labelled.read()
        self.size += image.nbytes
        while self.size > self.megabytes * 1_000_000:
            _, dropped = self._images.popitem(last=False)
            self.size -= dropped.nbytes
        return image

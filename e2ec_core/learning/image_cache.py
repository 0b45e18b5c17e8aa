"""A bounded store of decoded images."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from e2ec_core.image_files import read_image


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
        self._images: OrderedDict[Path, NDArray[np.uint8]] = OrderedDict()

    def __reduce__(self) -> tuple[type[ImageCache], tuple[int]]:
        return ImageCache, (self.megabytes,)

    def read(self, path: Path, *, upright: bool = False) -> NDArray[np.uint8]:
        """Reads an image, uint8 RGB [H, W, 3]; see `read_image`.

        Raises:
            ValueError: the file is missing or cannot be read.
        """
        if path in self._images:
            self._images.move_to_end(path)
            return self._images[path]
        image = read_image(path, upright=upright)
        self._images[path] = image
        self.size += image.nbytes
        while self.size > self.megabytes * 1_000_000:
            _, dropped = self._images.popitem(last=False)
            self.size -= dropped.nbytes
        return image

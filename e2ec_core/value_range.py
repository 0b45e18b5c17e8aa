"""Which values of a 16-bit image are black and white: the settings `range`."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

HELP = (
    "Values of 16-bit images shown as black and white: `full` for 0..65535, LOW..HIGH (12 bits: "
    "`0..4095`, 14 bits: `0..16383`), `auto` for each image's own."
)
WHITE = 65535  # the largest 16-bit value
LOW = 16383  # the largest 14-bit value
OUTLIERS = 0.1  # %, of the pixels at either end that `auto` leaves out: dead and hot pixels
MOST_SAMPLES = 100_000  # pixels that `auto` looks at


@dataclass(frozen=True, kw_only=True)
class ValueRange:
    """The values that become 0 and 255.

    Attributes:
        low: this value and all below become 0.
        high: this value and all above become 255.
        automatic: both are taken from each image instead.
    """

    low: int = 0
    high: int = WHITE
    automatic: bool = False

    @property
    def full(self) -> bool:
        """Whether all 16 bits are used, as the encodings define it."""
        return self == FULL

    def to_8_bit(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """Maps an integer array of any shape to uint8 of the same shape, rounded."""
        if self.full and 0 < pixels.max(initial=0) <= LOW:
            warn_of_darkness()
        low, high = self._of(pixels) if self.automatic else (self.low, self.high)
        values = np.clip(pixels, low, high).astype(np.uint32) - np.uint32(low)
        span = np.uint32(max(high - low, 1))
        return ((values * np.uint32(255) + span // 2) // span).astype(np.uint8)

    @staticmethod
    def _of(pixels: NDArray[Any]) -> tuple[int, int]:
        every = max(1, pixels.size // MOST_SAMPLES)
        sample = pixels.reshape(-1)[::every]
        low, high = np.percentile(sample, [OUTLIERS, 100.0 - OUTLIERS], method="nearest")
        return int(low), int(high)


FULL = ValueRange()


@lru_cache(maxsize=1)  # once for each process
def warn_of_darkness() -> None:
    """Logs a warning that an image is dark because its values have fewer than 16 bits."""
    logging.getLogger(__name__).warning(
        "a 16-bit image has no value above %d and is shown dark; if it holds 12 or 14 bits, set "
        "range, e.g. 0..4095, 0..%d or auto",
        *(LOW, LOW),
    )


def parse_range(text: object, name: str = "") -> ValueRange:
    """Reads `full`, `auto` or two whole numbers like `0..4095`.

    Args:
        text: what was given.
        name: of the setting, for the message.

    Raises:
        ValueError: anything else, or numbers that are not 0 <= LOW < HIGH <= 65535.
    """
    words = str(text).strip().lower()
    if words == "full":
        return FULL
    if words == "auto":
        return ValueRange(automatic=True)
    numbers = re.fullmatch(r"[\[(]?\s*(\d{1,9})\s*(?:\.\.|[-,:\s])\s*(\d{1,9})\s*[\])]?", words)
    if numbers:
        low, high = (int(number) for number in numbers.groups())
        if low < high <= WHITE:
            return ValueRange(low=low, high=high)
    given = f"{name} is {text!r}" if name else repr(text)
    raise ValueError(
        f"{given}; give full, auto or LOW..HIGH with 0 <= LOW < HIGH <= {WHITE}, e.g. 0..4095"
    )

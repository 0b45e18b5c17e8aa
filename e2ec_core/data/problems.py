"""What can be wrong with labels, what is done about it, and how often it was met."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Literal

Handling = Literal["left out", "repaired", "kept", "doubtful"]

MALFORMED = "entry that lacks what its kind needs"
UNREADABLE_LABELS = "label file that cannot be read"
NO_NAME = "image or category without a name"
SHARED_ID = "image whose id another image has"
UNCLEAR_IMAGE = "annotation of an id that several images have"
UNKNOWN_NAME = "name of the split that the labels lack"
NO_SEGMENTATION = "annotation without segmentation"
NO_OUTLINE = "object without any usable outline"
UNKNOWN_CLASS = "annotation of a class that the file does not define"
OTHER_CLASS = "annotation of a class that is not asked for"
UNKNOWN_IMAGE = "annotation of an image that the file does not list"
IMAGE_TWICE = "image that is listed twice"
NO_NUMBERS = "polygon that is no list of numbers"
FEW_POINTS = "polygon with fewer than three points"
NOT_FINITE = "polygon with a coordinate that is not finite"
TOO_FAR = "polygon with a coordinate beyond a million px"
REPEATED = "polygon with repeated vertices"
CROSSING = "polygon that crosses itself"
TANGLED = "polygon that crosses itself more than a thousand times"
NO_AREA = "polygon of zero area"
OUTSIDE = "polygon outside the image"
LEAVING = "polygon that leaves the image"
EMPTY_MASK = "mask without a pixel"
BAD_MASK = "mask that cannot be decoded"
EMPTY_IMAGE = "image without objects"
MISSING_IMAGE = "image file that is missing"
OTHER_ENDING = "image file whose ending the labels spell otherwise"
NO_ID = "image or category without an id"
NO_SIZE = "image without a size in its labels"
UNREADABLE = "image file that cannot be read"
TRUNCATED = "image file that is truncated"
OTHER_SIZE = "image of another size and shape than its labels say"
AMBIGUOUS_FILE = "image whose file name fits several entries"
UPRIGHT = "photograph whose labels were drawn upright"
SWAPPED = "image whose labels swap width and height"
RESIZED = "image that was resized after it was labelled"
NO_SIZE_FITS = "image without a size in labels whose outlines reach beyond the files"
ONE_FILE = "image file under two ids"
COPY = "image file of the same bytes as another"
OBJECT_TWICE = "object that is labelled twice"
BAD_FILE = "label file that cannot be read"
MAYBE_UPRIGHT = "photograph turned or mirrored by its EXIF orientation, labels taken as stored"
SHARES = "polygon in 0..1 instead of px"
PERCENT = "polygon in per cent instead of px"
OTHER_UNIT = "polygon far outside the unit of the others"
EXCHANGED = "outline whose x and y were exchanged, as its bbox tells"
MAYBE_PERCENT = "outlines all within 100 px of the corner, as if in per cent; look at the pictures"
TINY = "polygon within one px at the corner, as if in 0..1"
BOX = "bbox that does not fit its outline"
MOST_BOXES = (
    "bbox that does not fit its outline, as most do not: either may be wrong; look at them"
)
INSIDE_OTHER = "polygon inside another of its object"

_LOST_IMAGES = (
    *(MALFORMED, UNREADABLE_LABELS, NO_ID, NO_NAME, SHARED_ID, UNKNOWN_NAME),
    *(MISSING_IMAGE, AMBIGUOUS_FILE, UNREADABLE, TRUNCATED, NO_SIZE, NO_SIZE_FITS, OTHER_SIZE),
)

HANDLING: Mapping[str, Handling] = MappingProxyType(
    {
        MALFORMED: "left out",
        UNREADABLE_LABELS: "left out",
        NO_NAME: "left out",
        SHARED_ID: "left out",
        UNCLEAR_IMAGE: "left out",
        UNKNOWN_NAME: "left out",
        BAD_FILE: "left out",
        NO_SEGMENTATION: "left out",
        NO_OUTLINE: "left out",
        UNKNOWN_CLASS: "left out",
        OTHER_CLASS: "left out",
        UNKNOWN_IMAGE: "left out",
        IMAGE_TWICE: "left out",
        NO_NUMBERS: "left out",
        FEW_POINTS: "left out",
        NOT_FINITE: "left out",
        TOO_FAR: "left out",
        REPEATED: "repaired",
        CROSSING: "repaired",
        TANGLED: "left out",
        NO_AREA: "left out",
        OUTSIDE: "left out",
        LEAVING: "kept",
        EMPTY_MASK: "left out",
        BAD_MASK: "left out",
        EMPTY_IMAGE: "kept",
        MISSING_IMAGE: "left out",
        OTHER_ENDING: "repaired",
        NO_ID: "left out",
        NO_SIZE: "left out",
        UNREADABLE: "left out",
        TRUNCATED: "left out",
        OTHER_SIZE: "left out",
        AMBIGUOUS_FILE: "left out",
        UPRIGHT: "repaired",
        SWAPPED: "repaired",
        RESIZED: "repaired",
        NO_SIZE_FITS: "left out",
        ONE_FILE: "repaired",
        COPY: "kept",
        OBJECT_TWICE: "repaired",
        MAYBE_UPRIGHT: "kept",
        SHARES: "repaired",
        PERCENT: "repaired",
        OTHER_UNIT: "left out",
        EXCHANGED: "repaired",
        MAYBE_PERCENT: "doubtful",
        TINY: "left out",
        BOX: "repaired",
        MOST_BOXES: "doubtful",
        INSIDE_OTHER: "repaired",
    }
)
"""What happens to each; a missing image file is left out only where the config says so."""

EXAMPLES = 3


class Problems(Counter[str]):
    """Counts by kind of problem, with the first places of each.

    Attributes:
        examples: up to `EXAMPLES` places by kind, such as `annotation 17`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.examples: dict[str, list[str]] = {}

    def note(self, kind: str, place: str) -> None:
        """Counts one problem."""
        self[kind] += 1
        places = self.examples.setdefault(kind, [])
        if len(places) < EXAMPLES:
            places.append(place)

    def require_some(self, kept: Collection[object], kind: str) -> None:
        """Raises ValueError, with the first place, if nothing is kept because of a problem."""
        if self[kind] and not kept:
            raise ValueError(self.examples[kind][0])

    @property
    def losses(self) -> int:
        """How many labels or images are lost, other than those that nobody asked for."""
        lost = {kind for kind, handling in HANDLING.items() if handling == "left out"}
        return sum(self[kind] for kind in lost - {OTHER_CLASS})

    @property
    def lost_images(self) -> int:
        """How many images are left out, or entries that may have been images."""
        return sum(self[kind] for kind in _LOST_IMAGES)

    @property
    def doubts(self) -> int:
        """How often labels are kept that may mean something else."""
        return sum(self[kind] for kind, handling in HANDLING.items() if handling == "doubtful")

    def summary(self) -> list[str]:
        """One line for each kind: how often, what is done, and where first."""
        return [
            f"{count} x {kind} ({HANDLING[kind]}), e.g. {', '.join(self.examples.get(kind, []))}"
            for kind, count in self.most_common()
        ]

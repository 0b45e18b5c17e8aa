"""A data set: labelled images, their classes, and what was found wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from e2ec_core.data.labelled import LabelledImage
from e2ec_core.data.packed import PackedImages
from e2ec_core.data.problems import Problems

NO_CATEGORY = -1
"""Category id of a class that the labels lack."""


class FoundFile(NamedTuple):
    """An image file that was looked for."""

    name: str
    """In the labels."""
    path: Path | None
    """Where it was found."""


@dataclass(frozen=True)
class CocoDataset:
    """Images with labels, and what was wrong with the annotations.

    Attributes:
        images: in the order of the file.
        class_names: names by class id.
        category_ids: the file's category id by class id, `NO_CATEGORY` for a class it lacks.
        problems: what was found wrong, see `e2ec_core.data.problems`.
        files: the image files that were looked for; empty where none were.
    """

    images: Sequence[LabelledImage]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    problems: Problems = field(default_factory=Problems)
    files: Sequence[FoundFile] = ()

    def __len__(self) -> int:
        return len(self.images)

    def report(self) -> list[str]:
        """One line for each kind of problem, and one for the classes without an object."""
        found = set(self.target_classes())
        absent = [name for i, name in enumerate(self.class_names) if i not in found]
        lines = self.problems.summary()
        if absent:
            lines.append(
                f"no label has the class{'es' if len(absent) > 1 else ''} {', '.join(absent)}"
            )
        return lines

    def target_classes(self) -> list[int]:
        """Classes of all objects but crowds, with or without repetitions."""
        if isinstance(self.images, PackedImages):
            return self.images.target_classes()
        return [i.class_id for image in self.images for i in image.instances if not i.crowd]

    def require_objects(self, source: str) -> None:
        """Raises ValueError, naming why, if there is nothing to learn or to measure.

        Args:
            source: what to call the labels in the message.
        """
        if self.target_classes():
            return
        crowds = sum(len(image.instances) for image in self.images)
        reasons = self.problems.summary()
        if crowds:
            reasons.insert(
                0,
                f"all {crowds} regions are marked iscrowd, which looks like masks exported as run "
                "lengths; set iscrowd to 0 for single objects",
            )
        why = "; ".join(reasons) or "it has no annotation"
        raise ValueError(
            f"{source!r} has nothing to learn or to measure: "
            f"none of its {len(self.images)} images has a usable object: {why}"
        )

"""A data set's state of health, before hours are lost on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from e2ec_core.data.dataset import NO_CATEGORY, CocoDataset
from e2ec_core.data.labelled import LabelledImage
from e2ec_core.data.problems import HANDLING, MISSING_IMAGE, Problems

SAMPLE = 16
"""Image files that are decoded where not all are."""


@dataclass(frozen=True, kw_only=True)
class ClassCount:
    """What there is of one class.

    Attributes:
        name: of the class.
        known: the labels define it.
        objects: its targets.
        crowds: its regions to ignore.
        images: images with at least one target.
        several_parts: targets with more than one outline.
    """

    name: str
    known: bool
    objects: int
    crowds: int
    images: int
    several_parts: int


@dataclass(frozen=True, kw_only=True)
class Health:
    """What was found.

    Only a sample of the files is decoded unless all are asked for; the rest counts by its headers.

    Attributes:
        images: labelled images that can be used.
        objects: targets in them.
        classes: counts in channel order.
        problems: what is wrong.
        wrong_images: files that cannot be read or have another size than their labels say.
        decoded: how many files were decoded to find these.
    """

    images: int
    objects: int
    classes: tuple[ClassCount, ...]
    problems: Problems
    wrong_images: tuple[str, ...]
    decoded: int

    @property
    def usable(self) -> bool:
        """Whether there is anything to learn from or to measure on."""
        broken = 0 < self.decoded == len(self.wrong_images)
        return self.images > 0 and self.objects > 0 and not broken

    @property
    def sound(self) -> bool:
        """Whether nothing is lost or doubtful and no file is wrong."""
        faults = self.problems.losses + self.problems.doubts + len(self.wrong_images)
        return self.usable and not faults


def check_dataset(data: CocoDataset, *, read_images: bool = False) -> Health:
    """Counts classes and problems of a data set.

    Args:
        data: as it was read; its problems are those met in reading.
        read_images: decode every image file (slow) instead of some from begin to end, and compare
            its size with the labels'.
    """
    some = sorted(set(np.linspace(0, len(data) - 1, min(len(data), SAMPLE)).astype(int).tolist()))
    chosen = range(len(data)) if read_images else some
    wrong = [fault for i in chosen if (fault := image_fault(data.images[i]))]
    return Health(
        images=len(data.images),
        objects=sum(not o.crowd for image in data.images for o in image.instances),
        classes=count_classes(data),
        problems=data.problems,
        wrong_images=tuple(wrong),
        decoded=len(chosen),
    )


def count_classes(data: CocoDataset) -> tuple[ClassCount, ...]:
    """Counts in channel order."""
    objects, crowds, images, parts = (Counter[int]() for _ in range(4))
    for image in data.images:
        targets = [i for i in image.instances if not i.crowd]
        objects.update(i.class_id for i in targets)
        crowds.update(i.class_id for i in image.instances if i.crowd)
        images.update({i.class_id for i in targets})
        parts.update(i.class_id for i in targets if len(i.parts) > 1)
    return tuple(
        ClassCount(
            name=name,
            known=category_id != NO_CATEGORY,
            objects=objects[class_id],
            crowds=crowds[class_id],
            images=images[class_id],
            several_parts=parts[class_id],
        )
        for class_id, (name, category_id) in enumerate(
            zip(data.class_names, data.category_ids, strict=True)
        )
    )


def image_fault(image: LabelledImage) -> str | None:
    """What is wrong with an image file, None if nothing."""
    try:
        size = image.read().shape[:2]
    except ValueError as error:
        return str(error)
    if size != (image.height, image.width):
        return (
            f"{str(image.path)!r} has {size[1]} x {size[0]} px, "
            f"its labels say {image.width} x {image.height}"
        )
    return None


def health_report(health: Health) -> str:
    """The findings as text: counts, classes, problems with what is done about each."""
    lines = [f"{health.images} images, {health.objects} objects", ""]
    lines += ["| class | objects | images | in several parts | ignored regions |"]
    lines += ["|---|---|---|---|---|"]
    for row in health.classes:
        name = row.name if row.known else f"{row.name} (not in the labels)"
        lines.append(
            f"| {name} | {row.objects} | {row.images} | {row.several_parts} | {row.crowds} |"
        )
    if health.problems:
        lines += ["", "| found | times | what is done | first places |", "|---|---|---|---|"]
        for kind, count in health.problems.most_common():
            places = ", ".join(health.problems.examples.get(kind, []))
            lines.append(f"| {kind} | {count} | {HANDLING[kind]} | {places} |")
    if health.problems[MISSING_IMAGE]:
        lines += ["", "A run stops at missing image files unless missing_images is skip."]
    lines += ["", *health.wrong_images] if health.wrong_images else []
    if health.decoded < health.images:
        rest = "of the others only the headers were read; --read-images decodes all"
        lines += ["", f"{health.decoded} image files were decoded, {rest}."]
    verdict = "sound" if health.sound else "usable, but look at the above"
    lines += ["", f"The data set is {verdict if health.usable else 'of no use'}."]
    return "\n".join(lines)

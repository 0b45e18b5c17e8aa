"""Writes a data set of synthetic street scenes with exact amodal outlines.

e2ec scenes data/scenes --count 160 --seed 5
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from e2ec_core.commands.options import CommandLine
from e2ec_core.commands.outputs import OVERWRITE, require_writable
from e2ec_core.settings import check, setting
from street_scenes import SyntheticScene, make_scene, write_coco_dataset, write_kins_dataset
from street_scenes.writers import annotation_file, image_file


@dataclass(frozen=True, kw_only=True)
class SceneSettings:
    """What is drawn."""

    count: int = setting(100, "number of scenes", low=1)
    seed: int = setting(0, "data sets of different seeds differ", low=0)
    split: str = setting("train", "name of the subset")
    format: Literal["coco", "kins"] = setting("coco", "form of the labels")
    segmentation: Literal["amodal", "visible"] = setting(
        "amodal", "what COCO's segmentation holds (KINS has both)"
    )
    max_occlusion: float = setting(
        0.95, "leave out objects of which a larger share is hidden", low=0, high=1
    )
    min_area: int = setting(0, "leave out objects of a smaller area, square px", low=0)
    size: str = setting("640x384", "WIDTHxHEIGHT of the images, px")

    def __post_init__(self) -> None:
        check(self)
        if not re.fullmatch(r"[1-9]\d{1,3}x[1-9]\d{1,3}", self.size):
            raise ValueError(f"size is {self.size!r}; give WIDTHxHEIGHT in px, such as 640x384")
        if not re.fullmatch(r"\w[\w.-]*", self.split):
            raise ValueError(f"split is {self.split!r}; give a name of letters, digits, . _ and -")


def main(words: Sequence[str]) -> int:
    """Writes one subset; returns the exit status."""
    line = CommandLine("scenes", __doc__, usage="FOLDER [options]")
    line.add("out", type=Path, help="folder to write to")
    line.add_settings(SceneSettings)
    line.add("--overwrite", action="store_true", help=OVERWRITE)
    options = line.parse(words)
    settings = line.build(SceneSettings)
    place = options.out, settings.split
    images = (image_file(*place, number) for number in range(1, settings.count + 1))
    require_writable(annotation_file(*place), *images, overwrite=options.overwrite)
    scenes = _scenes(settings)
    limits = {"max_occlusion": settings.max_occlusion, "min_area": settings.min_area}
    if settings.format == "kins":
        path = write_kins_dataset(scenes, options.out, settings.split, **limits)
    else:
        path = write_coco_dataset(
            scenes, options.out, settings.split, segmentation=settings.segmentation, **limits
        )
    print(path)
    return 0


def _scenes(settings: SceneSettings) -> Iterator[SyntheticScene]:
    width, height = map(int, settings.size.split("x"))
    first = settings.seed * 1_000_000
    for seed in tqdm(range(first, first + settings.count), unit="scene"):
        yield make_scene(seed, width, height)

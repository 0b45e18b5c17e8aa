"""Checks data sets before a run: missing files, bad polygons, class counts, and pictures.

e2ec check --config run.yaml checks the sets of a run (training and validation), --format kins
--annotations instances.json --images folder a single one. --pictures draws what the network will
see. --write-coco converts the labels to one COCO file, which reads faster.

Exit status: 0 all is sound; 1 labels or images were left out or are doubtful, or files are wrong;
2 a set cannot be read, or holds nothing to learn.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from e2ec_core.commands.data_options import USAGE, add_data_options, read_data_options
from e2ec_core.commands.items import make_items
from e2ec_core.commands.options import CommandLine
from e2ec_core.commands.outputs import OVERWRITE, require_writable, write_file
from e2ec_core.config import ModelConfig
from e2ec_core.contours import Contours
from e2ec_core.data.check import Health, check_dataset, health_report
from e2ec_core.data.dataset import CocoDataset
from e2ec_core.data.formats import format_classes
from e2ec_core.evaluation.ground_truth import ground_truth
from e2ec_core.inference.draw import draw_contours
from e2ec_core.learning.config import DataConfig, TrainConfig
from e2ec_core.learning.samples import Samples
from e2ec_core.learning.source import open_data
from e2ec_core.learning.training_views import TrainingViews, ViewKey


def main(words: Sequence[str]) -> int:
    """Checks all sets; returns the exit status."""
    line = CommandLine("check", __doc__, usage=USAGE)
    add_data_options(line)
    line.add("--read_images", action="store_true", help="decode every image (slow)")
    line.add("--pictures", type=Path, help="folder for views with aligned contours")
    line.add("--count", type=int, default=8, help="pictures of each set")
    line.add("--write_coco", type=Path, help="COCO file to write (of a single set)")
    line.add("--overwrite", action="store_true", help=OVERWRITE)
    options = line.parse(words)
    given = read_data_options(line, options)
    run = given if isinstance(given, TrainConfig) else None
    if options.write_coco:
        if run:
            raise ValueError("--write-coco is for a single set; give --annotations, not --config")
        require_writable(
            options.write_coco, overwrite=options.overwrite, inputs=[options.annotations]
        )
    if isinstance(given, TrainConfig):
        sources = [*given.train, *([given.validation] if given.validation else [])]
    else:
        sources = [given]
    if options.count < 1:
        raise ValueError(f"count is {options.count}; give 1 or more")
    found = [_check(source, run, options) for source in sources]
    if options.pictures:
        _write_pictures(found, sources, run, options)
    checked = [health for _, health in found]
    if run and any(health.usable for health in checked[: len(run.train)]):
        # As in training, images without objects may stand beside others.
        train = checked[: len(run.train)]
        background = [h for h in train if h.images and not h.problems.losses + len(h.wrong_images)]
        checked = [health for health in checked if health.usable or health not in background]
    return max(2 if not health.usable else int(not health.sound) for health in checked)


def _check(
    source: DataConfig, run: TrainConfig | None, options: Any
) -> tuple[CocoDataset, Health]:
    """Reads and reports one set, and writes its labels where that was asked for."""
    names = run.model.class_names if run else None
    if names is None:
        names = format_classes(source.format)
    # All images, also those held out, and without stopping at the first missing file.
    lenient = dataclasses.replace(source, missing_images="skip", hold_out=0)
    data = open_data(lenient, names, held_out=False)
    health = check_dataset(data, read_images=options.read_images)
    print(f"# {source.annotations} ({source.format})\n\n{health_report(health)}\n", flush=True)
    if not health.usable:
        try:
            data.require_objects(source.annotations)
        except ValueError as error:
            print(f"check: {error}", file=sys.stderr)
    if options.write_coco:
        write_file(options.write_coco, json.dumps(ground_truth(data)).encode())
    return data, health


def _write_pictures(
    found: Sequence[tuple[CocoDataset, Health]],
    sources: Sequence[DataConfig],
    run: TrainConfig | None,
    options: Any,
) -> None:
    """Draws views of the usable sets as a run's network sees them."""
    chosen: list[dict[int, Path]] = []  # pictures by number of the image, for each set
    for number, (data, health) in enumerate(found):
        count = min(options.count, len(data)) if health.usable else 0
        numbers = np.linspace(0, len(data) - 1, count).round().astype(int).tolist()
        files = [data.images[image].path for image in numbers]
        items = make_items(files, options.pictures / f"set_{number}")
        chosen.append(dict(zip(numbers, (item.target for item in items), strict=True)))
    require_writable(
        *(path for paths in chosen for path in paths.values()),
        overwrite=options.overwrite,
        inputs=[file.path for data, _ in found for file in data.files],
    )
    for source, (data, health), paths in zip(sources, found, chosen, strict=True):
        if health.usable:
            model = ModelConfig(class_names=data.class_names)
            views = TrainingViews([data], run or TrainConfig(model=model, train=(source,)))
        for image, path in paths.items():
            picture = draw_sample(views[ViewKey(image)], data.class_names)
            write_file(path, cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
    print(f"{sum(map(len, chosen))} pictures in {options.pictures}")


def draw_sample(sample: Samples, class_names: tuple[str, ...]) -> np.ndarray:
    """Draws a view with its aligned contours, uint8 RGB [H, W, 3].

    A circle marks the first vertex, small dots the key vertices, a cross the centre's cell.
    """
    valid = sample.valid.numpy()
    rings, keys = sample.contours.numpy()[valid], sample.keys.numpy()[valid]
    contours = Contours(
        vertices=rings - np.float32(0.5),
        scores=np.ones(len(rings), np.float32),
        class_ids=sample.class_ids.numpy()[valid],
        stage="final",
        image_size=(sample.image.shape[0], sample.image.shape[1]),
    )
    image = sample.image.numpy()
    picture = draw_contours(image, contours, class_names, line_width=1, fill=0.2)
    drawn = np.ascontiguousarray(picture)
    for ring, is_key, cell in zip(
        np.round(rings).astype(int), keys, sample.cells.numpy()[valid], strict=True
    ):
        for x, y in ring[is_key].tolist():
            cv2.circle(drawn, (x, y), 2, (255, 255, 255), -1)
        cv2.circle(drawn, tuple(ring[0].tolist()), 4, (255, 60, 60), 2)
        centre = np.round(cell * 4).astype(int).tolist()
        cv2.drawMarker(drawn, tuple(centre), (255, 255, 0), cv2.MARKER_CROSS, 8, 1)
    return drawn

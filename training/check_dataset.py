"""Checks data sets before a run: missing files, bad polygons, class counts, and pictures.

python training/check_dataset.py --config run.yaml checks the sets of a run (training and
validation), --format kins --annotations instances.json --images folder a single one. --pictures
draws what the network will see. --write-coco converts the labels to one COCO file, which reads
faster.

Exit status: 0 all is sound; 1 labels or images were left out, or files are wrong; 2 a set cannot
be read, or holds nothing to learn.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import cv2
import numpy as np

from e2ec_core.config import ModelConfig
from e2ec_core.contours import Contours
from e2ec_core.data.check import Health, check_dataset, health_report
from e2ec_core.data.class_names import CLASS_NAMES
from e2ec_core.data.coco import CocoDataset
from e2ec_core.inference.draw import draw_contours
from e2ec_core.learning.config import DataConfig, TrainConfig, read_train_config
from e2ec_core.learning.source import load_labels, make_views
from e2ec_core.learning.views import Sample


def main() -> int:
    """Command line."""
    arguments = _parser().parse_args()
    status = 0
    try:
        run = read_train_config(arguments.config) if arguments.config else None
        for number, source in enumerate(_sources(arguments, run)):
            health = _check(source, number, run, arguments)
            status = max(status, 2 if not health.usable else int(not health.sound))
    except (ValueError, OSError, ImportError) as error:
        print(f"check_dataset: {error}", file=sys.stderr)
        return 2
    return status


def _parser() -> argparse.ArgumentParser:
    formats = ("coco", "kins", "sbd", "cityscapes")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", help="YAML file of a run")
    parser.add_argument("--annotations", help="labels: JSON file, or folder")
    parser.add_argument("--images", help="folder of the images")
    parser.add_argument("--format", choices=formats, default="coco", help="form of the labels")
    parser.add_argument("--outline", choices=("amodal", "visible"), default="amodal")
    parser.add_argument("--split-file", help="JSON object of lists of file names, or .txt list")
    parser.add_argument("--split", help="key in the split file")
    parser.add_argument("--read-images", action="store_true", help="decode every image (slow)")
    parser.add_argument("--pictures", type=Path, help="folder for views with aligned contours")
    parser.add_argument("--count", type=int, default=8, help="pictures of each set")
    parser.add_argument("--write-coco", type=Path, help="COCO file to write (of a single set)")
    return parser


def _sources(arguments: argparse.Namespace, run: TrainConfig | None) -> list[DataConfig]:
    if run is not None:
        if arguments.write_coco:
            raise ValueError("--write-coco is for a single set; give --annotations, not --config")
        return [*run.train, *([run.validation] if run.validation else [])]
    if not arguments.annotations or not arguments.images:
        raise ValueError("give --config, or --annotations and --images")
    source = DataConfig(
        annotations=arguments.annotations,
        images=arguments.images,
        format=arguments.format,
        outline=arguments.outline,
        split_file=arguments.split_file,
        split=arguments.split,
    )
    return [source]


def _check(
    source: DataConfig, number: int, run: TrainConfig | None, arguments: argparse.Namespace
) -> Health:
    """Reads and reports one set, and writes what was asked for."""
    names = run.model.class_names if run else None
    if names is None and source.format != "coco":
        names = CLASS_NAMES[source.format]
    # All images, also those held out, and without stopping at the first missing file.
    lenient = dataclasses.replace(source, missing_images="skip", hold_out=0)
    data, content = load_labels(lenient, names, held_out=False)
    health = check_dataset(data, read_images=arguments.read_images)
    print(f"# {source.annotations} ({source.format})\n\n{health_report(health)}\n", flush=True)
    if arguments.write_coco:
        arguments.write_coco.parent.mkdir(parents=True, exist_ok=True)
        arguments.write_coco.write_text(json.dumps(content))
    if arguments.pictures and health.usable:
        config = run or TrainConfig(
            model=ModelConfig(class_names=data.class_names), train=(source,)
        )
        write_pictures(data, config, arguments.pictures / f"set_{number}", arguments.count)
    return health


def write_pictures(data: CocoDataset, config: TrainConfig, folder: Path, count: int) -> None:
    """Draws views as a run's network sees them."""
    views = make_views(config, [data])
    folder.mkdir(parents=True, exist_ok=True)
    chosen = np.linspace(0, len(views) - 1, min(count, len(views))).round().astype(int)
    for index in chosen.tolist():
        picture = draw_sample(views[index], data.class_names)
        path = folder / f"{data.images[index].path.stem}.png"
        if not cv2.imwrite(str(path), picture[..., ::-1]):
            raise OSError(f"cannot write {path}")
    print(f"{len(chosen)} pictures in {folder}")


def draw_sample(sample: Sample, class_names: tuple[str, ...]) -> np.ndarray:
    """A view uint8 RGB [H, W, 3] with its aligned contours.

    A circle marks the first vertex, small dots the key vertices, a cross the centre's cell.
    """
    targets = sample.targets
    contours = Contours(
        vertices=targets.contours[targets.valid] - np.float32(0.5),
        scores=np.ones(int(targets.valid.sum()), np.float32),
        class_ids=targets.class_ids[targets.valid],
        stage="final",
        image_size=(sample.image.shape[0], sample.image.shape[1]),
    )
    picture = draw_contours(sample.image, contours, class_names, line_width=1, fill=0.2)
    drawn = np.ascontiguousarray(picture)
    for slot in np.flatnonzero(targets.valid):
        ring = np.round(targets.contours[slot]).astype(int)
        for x, y in ring[targets.keys[slot]].tolist():
            cv2.circle(drawn, (x, y), 2, (255, 255, 255), -1)
        cv2.circle(drawn, tuple(ring[0].tolist()), 4, (255, 60, 60), 2)
        centre = np.round(targets.cells[slot] * 4).astype(int).tolist()
        cv2.drawMarker(drawn, tuple(centre), (255, 255, 0), cv2.MARKER_CROSS, 8, 1)
    return drawn


if __name__ == "__main__":
    raise SystemExit(main())

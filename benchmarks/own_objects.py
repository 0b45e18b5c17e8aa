"""What a few labelled images and ten minutes of a CPU teach: two kinds of objects nobody knows.

python benchmarks/own_objects.py [--images 30] [--minutes 10] [--photographs LABELS IMAGES]

Draws gears and crescents on street scenes, trains the shipped model on them by the recipe of
`e2ec train --data`, by the class layers alone and with every part at the full rate, as many steps
as fit into the time, and measures each on images that it has not learnt. With photographs in the
form of COCO the same for two of their classes, whose channels are left out of the start. The pace
of each run is measured first: only those first minutes need a computer that does nothing else.
Writes own_objects.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from e2ec_core.learning.config import DataConfig, PartRates, TrainConfig
from e2ec_core.learning.recipe import own_objects
from e2ec_core.learning.trainer import Trainer
from street_scenes import make_scene

SIZE = (640, 384)
CLASSES = ("gear", "crescent")
UNSEEN = 30


def outline(kind: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """A closed outline around 0 of about 1 in size, [P, 2]."""
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    turn = rng.uniform(0, 2 * np.pi)
    if kind == "gear":
        teeth = int(rng.integers(6, 11))
        radius = 0.42 + 0.08 * np.tanh(6 * np.sin(teeth * angle))
        points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    else:
        tip = 0.75 * np.pi
        half = np.linspace(-tip, tip, 60)
        outer = 0.5 * np.stack([np.cos(half), np.sin(half)], 1)
        from_left = outer + [0.25, 0.0]  # the inner arc's circle goes through the same tips
        radius, tip = np.hypot(*from_left[0]), np.arctan2(*from_left[-1][::-1])
        half = np.linspace(tip, -tip, 60)[1:-1]
        inner = radius * np.stack([np.cos(half), np.sin(half)], 1) - [0.25, 0.0]
        points = np.concatenate([outer, inner])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return points @ rotation.T * rng.uniform(0.8, 1.2, 2)


def draw(folder: Path, count: int, seed: int) -> Path:
    """Writes images and COCO labels; returns the label file."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for number in range(count):
        picture = make_scene(1000 * seed + number, *SIZE).image_rgb.copy()
        taken = np.zeros(picture.shape[:2], bool)
        for _ in range(int(rng.integers(1, 5))):
            kind = int(rng.integers(2))
            size = rng.uniform(40, 170)
            place = rng.uniform([size, size], [SIZE[0] - size, SIZE[1] - size])
            ring = outline(CLASSES[kind], rng) * size + place
            mask = np.zeros(picture.shape[:2], np.uint8)
            cv2.fillPoly(mask, [np.round(ring * 16).astype(np.int32)], 1, shift=4)
            if (taken & (mask > 0)).any():
                continue
            taken |= mask > 0
            color, light = rng.uniform(40, 220, 3), rng.uniform(-0.4, 0.4, 2)
            y, x = np.nonzero(mask)
            shade = 1 + ((x - place[0]) * light[0] + (y - place[1]) * light[1]) / size
            shade = shade + rng.normal(0, 0.05, len(x))
            picture[y, x] = np.clip(color * shade[:, None], 0, 255).astype(np.uint8)
            low, high = ring.min(axis=0), ring.max(axis=0)
            labels.append(
                {
                    "id": len(labels) + 1,
                    "image_id": number,
                    "category_id": kind + 1,
                    "segmentation": [ring.ravel().round(2).tolist()],
                    "bbox": [*low.tolist(), *(high - low).tolist()],
                    "area": float(mask.sum()),
                    "iscrowd": 0,
                }
            )
        name = f"{number:04d}.png"
        cv2.imwrite(str(folder / "images" / name), picture[..., ::-1])
        images.append({"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
    content = {"images": images, "annotations": labels, "categories": categories}
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


def choose(
    folder: Path, labels: Path, images: Path, classes: tuple[str, str], start: int, count: int
) -> Path:
    """Writes labels of `count` photographs that show the classes; returns the label file.

    The classes get names that the start does not know.
    """
    content = json.loads(labels.read_text())
    ids = {
        c["id"]: classes.index(c["name"]) + 1
        for c in content["categories"]
        if c["name"] in classes
    }
    marked = [a for a in content["annotations"] if a["category_id"] in ids]
    shown = sorted({a["image_id"] for a in marked if not a.get("iscrowd")})
    order = np.random.default_rng(0).permutation(len(shown))
    if len(order) < start + count:
        raise SystemExit(
            f"{labels} has {len(order)} images of {classes}; {start + count} are needed"
        )
    taken = {shown[i] for i in order[start : start + count]}
    folder.mkdir(parents=True)
    (folder / "images").symlink_to(images.resolve())
    chosen = {
        "images": [image for image in content["images"] if image["id"] in taken],
        "annotations": [
            {**a, "category_id": ids[a["category_id"]]} for a in marked if a["image_id"] in taken
        ],
        "categories": [{"id": i + 1, "name": f"my {name}"} for i, name in enumerate(classes)],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(chosen))
    return path


def runs(learnt: Path, unseen: Path, output: Path) -> dict[str, TrainConfig]:
    """The run of the recipe and those it is compared with."""
    recipe = own_objects(str(learnt), str(learnt.parent / "images"))
    recipe = dataclasses.replace(
        recipe,
        train=(dataclasses.replace(recipe.train[0], hold_out=0),),
        validation=DataConfig(annotations=str(unseen), images=str(unseen.parent / "images")),
        validate_every=0,
        pictures=0,
    )
    rates = {
        "the recipe of `e2ec train --data`": recipe.optimizer.rates,
        "the class layers alone": PartRates(backbone=0, neck=0, heads=0, contours=0),
        "everything at the full rate": PartRates(),
    }
    return {
        title: dataclasses.replace(
            recipe,
            optimizer=dataclasses.replace(recipe.optimizer, rates=parts),
            output=str(output / str(number)),
        )
        for number, (title, parts) in enumerate(rates.items())
    }


def seconds_per_step(config: TrainConfig) -> tuple[float, int]:
    """Time of a step after the workers have started, and the steps of an epoch."""
    trainer = Trainer(dataclasses.replace(config, validation=None), overwrite=True)
    trainer.run(last_step=6)
    started = time.monotonic()
    trainer.run(last_step=26)
    return (time.monotonic() - started) / 20, trainer.steps_per_epoch


def train(config: TrainConfig) -> tuple[dict[str, float], int]:
    """AP on the unseen images, and the steps of the run."""
    trainer = Trainer(config, overwrite=True)
    trainer.run()
    record = [json.loads(x) for x in (trainer.output / "metrics.jsonl").read_text().splitlines()]
    (row,) = (r["validation"][-1] for r in record if "validation" in r)
    return row, trainer.step


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, for each row")
    parser.add_argument("--photographs", type=Path, nargs=2, metavar=("LABELS", "IMAGES"))
    parser.add_argument("--classes", nargs=2, default=("motorcycle", "bicycle"))
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sets = {
            "drawn gears and crescents": (
                draw(folder / "learnt", options.images, seed=1),
                draw(folder / "unseen", UNSEEN, seed=2),
            )
        }
        if options.photographs:
            labels, images = options.photographs
            classes = tuple(options.classes)
            sets[f"photographs: {classes[0]}, {classes[1]}"] = (
                choose(folder / "photographs", labels, images, classes, 0, options.images),
                choose(folder / "others", labels, images, classes, options.images, UNSEEN),
            )
        configs = {
            (shown, title): config
            for number, (shown, (learnt, unseen)) in enumerate(sets.items())
            for title, config in runs(learnt, unseen, folder / f"runs{number}").items()
        }
        paces = {row: seconds_per_step(config) for row, config in configs.items()}
        lines = [
            "# Own objects",
            "",
            f"{options.images} labelled images of two classes, {options.minutes:g} minutes of "
            f"training on two CPU cores at the pace of its first steps; measured on {UNSEEN} "
            "images that were not learnt (IoU: of contours in the true boxes). The drawn shapes, "
            "on synthetic streets, are new to the model. The photographs' classes are left out of "
            "its start, but backbone and contour stages have seen them under their own names, and "
            "these photographs too. Written by `python benchmarks/own_objects.py`.",
            "",
            "| images | what learns | s a step | steps | mask AP | AP50 | box AP | IoU |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for (shown, title), config in configs.items():
            pace, epoch = paces[shown, title]
            epochs = max(1, int(60 * options.minutes / pace / epoch))
            row, steps = train(dataclasses.replace(config, epochs=epochs))
            names = ("mask/AP", "mask/AP50", "box/AP", "IoU in true boxes")
            cells = " | ".join(f"{row.get(name, 0.0):.3f}" for name in names)
            lines.append(f"| {shown} | {title} | {pace:.2f} | {steps} | {cells} |")
            print(lines[-1], flush=True)
            options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

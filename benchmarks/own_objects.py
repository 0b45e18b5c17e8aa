"""What a few labelled images and ten minutes of a CPU teach: two kinds of objects nobody knows.

python benchmarks/own_objects.py [--images 30] [--minutes 10]

Draws gears and crescents on street scenes, trains the shipped model on them by the recipe of
`e2ec train --data`, by the class layers alone and with every part at the full rate, as many steps
as fit into the time, and measures each on images that it has not seen. Writes own_objects.md.
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

from e2ec_core.config import to_dict
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
        half = np.linspace(-0.75 * np.pi, 0.75 * np.pi, 60)
        outer = 0.5 * np.stack([np.cos(half), np.sin(half)], 1)
        inner = outer[::-1] * [0.55, 1.0] - [0.12, 0.0]
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


def fit_into(config: TrainConfig, seconds: float) -> TrainConfig:
    """The run with as many epochs as fit into the time, measured on its first steps."""
    trial = dataclasses.replace(config, output=f"{config.output}_trial", validation=None)
    trainer = Trainer(trial, overwrite=True)
    trainer.run(last_step=4)  # the workers start
    started = time.monotonic()
    trainer.run(last_step=12)
    pace = (time.monotonic() - started) / 8
    epochs = max(1, int(seconds / pace / trainer.steps_per_epoch))
    return dataclasses.replace(config, epochs=epochs)


def train(config: TrainConfig, seconds: float) -> tuple[dict[str, float], int, float]:
    """AP on the unseen images, steps and minutes of a run."""
    config = fit_into(config, seconds)
    trainer = Trainer(config, overwrite=True)
    started = time.monotonic()
    trainer.run()
    minutes = (time.monotonic() - started) / 60
    record = [json.loads(x) for x in (trainer.output / "metrics.jsonl").read_text().splitlines()]
    (row,) = (r["validation"][-1] for r in record if "validation" in r)
    return row, trainer.step, minutes


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, for each row")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    lines = [
        "# Own objects",
        "",
        f"{options.images} labelled images of two kinds of objects that COCO does not know (drawn "
        f"gears and crescents on synthetic streets), {options.minutes:g} minutes of two CPU "
        f"cores; measured on {UNSEEN} images that were not learnt. Written by "
        "`python benchmarks/own_objects.py`.",
        "",
        "| what learns | steps | minutes | mask AP | AP50 | box AP | IoU in true boxes |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        learnt = draw(folder / "learnt", options.images, seed=1)
        unseen = draw(folder / "unseen", UNSEEN, seed=2)
        recipe = own_objects(str(learnt), str(learnt.parent / "images"), output=f"{folder}/run")
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
        for title, parts in rates.items():
            optimizer = dataclasses.replace(recipe.optimizer, rates=parts)
            config = dataclasses.replace(recipe, optimizer=optimizer)
            row, steps, minutes = train(config, 60 * options.minutes)
            names = ("mask/AP", "mask/AP50", "box/AP", "IoU in true boxes")
            cells = " | ".join(f"{row.get(name, 0.0):.3f}" for name in names)
            lines.append(f"| {title} | {steps} | {minutes:.1f} | {cells} |")
            print(lines[-1], flush=True)
        print(json.dumps(to_dict(recipe.optimizer)))
    options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

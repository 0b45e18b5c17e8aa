"""Reference numbers for the learning tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from e2ec_core.learning.config import TrainConfig
from run_config import make_run


@pytest.fixture
def tiny_run(shapes_dir: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """Settings of a run of seconds: three steps an epoch on six small images, detector frozen."""
    data = {
        "annotations": str(shapes_dir / "instances.json"),
        "images": str(shapes_dir / "images"),
    }

    def make(**changes: Any) -> TrainConfig:
        values: dict[str, Any] = {
            "model": {"class_names": ["disc", "box"], "vertices": 16, "evolutions": 1},
            "train": [data],
            "output": str(tmp_path / "run"),
            "freeze_detector": True,
            "augment": {"size": [64, 64], "base_side": 64, "scale": [0.8, 1.2], "min_area": 10.0},
            "loss": {"box_units": True, "dynamic_matching_from": 0},
            "optimizer": {"warmup": 2},
            "epochs": 2,
            "batch_size": 2,
            "max_instances": 6,
            "workers": 0,
            "threads": 1,
            "device": "cpu",
            "log_every": 1,
            "validate_every": 0,
            "tensorboard": False,
        }
        return make_run(values | changes)

    return make


BARS_SIZE = (128, 192)


@pytest.fixture(scope="session")
def split_bars() -> Callable[..., Path]:
    """`split_bars(folder, count, seed=0)` writes a data set of objects that posts cut in two."""
    return _write_split_bars


def _write_split_bars(folder: Path, count: int, *, seed: int = 0) -> Path:
    """Writes COCO labels and images of a red bar and a green one, each behind a grey post.

    The outlines are the visible parts, exact, with edges at the integers; the bars are a car and
    a person, and every third image has no posts.

    Args:
        folder: an `images` folder and `instances.json` are made in it.
        count: number of images.
        seed: of everything random.

    Returns:
        the JSON file.
    """
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for number in range(count):
        pixels = rng.integers(90, 130, (*BARS_SIZE, 3)).astype(np.uint8)
        for category, (top, color) in enumerate([(8, (230, 40, 30)), (70, (30, 200, 60))]):
            left, right = int(rng.integers(6, 30)), int(rng.integers(150, 186))
            top, height = top + int(rng.integers(0, 14)), int(rng.integers(24, 40))
            pixels[top : top + height, left:right] = color
            spans = [(left, right)]
            if number % 3:
                post = int(rng.integers(left + 35, right - 60)), int(rng.integers(16, 25))
                post = post[0], post[0] + post[1]
                pixels[top - 6 : top + height + 6, post[0] : post[1]] = 60
                spans = [(left, post[0]), (post[1], right)]
            rings = [[x1, top, x1, top + height, x2, top + height, x2, top] for x1, x2 in spans]
            label = {"id": len(labels), "image_id": number, "category_id": category + 1}
            labels.append(label | {"segmentation": rings, "iscrowd": 0})
        cv2.imwrite(str(folder / "images" / f"{number}.png"), pixels[..., ::-1])
        size = {"height": BARS_SIZE[0], "width": BARS_SIZE[1]}
        images.append({"id": number, "file_name": f"{number}.png"} | size)
    names = [{"id": i + 1, "name": name} for i, name in enumerate(("car", "person"))]
    content = {"images": images, "annotations": labels, "categories": names}
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path

"""Reference numbers for the learning tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2ec_core.config import from_dict
from e2ec_core.learning.config import TrainConfig


@pytest.fixture(scope="session")
def expected(shared_dir: Path) -> dict[str, np.ndarray]:
    """Labels, a batch and the loss terms of the published model, by name."""
    with np.load(shared_dir / "reference" / "parity" / "expected.npz") as archive:
        names = [name for name in archive.files if name.startswith(("label/", "train/"))]
        return {name: archive[name] for name in names if "grad" not in name}


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
        return from_dict(TrainConfig, values | changes)

    return make

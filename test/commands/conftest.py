"""What the tests of the commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from films import write_film

from e2ec_core.commands.__main__ import main


class Reply(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The only line of the errors."""
        (line,) = self.err.splitlines()
        return line


@pytest.fixture
def e2ec(capsys: pytest.CaptureFixture[str]) -> Callable[..., Reply]:
    """Runs a command in this process."""

    def run(*words: str | Path) -> Reply:
        capsys.readouterr()
        try:
            status = main([str(word) for word in words])
        except SystemExit as ended:  # of --help
            status = int(ended.code or 0)
        shown = capsys.readouterr()
        return Reply(status, shown.out, shown.err)

    return run


@pytest.fixture(scope="session")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photograph of an astronaut that scikit-image ships, of half its size."""
    data = pytest.importorskip("skimage.data")
    path = tmp_path_factory.mktemp("images") / "astronaut.png"
    cv2.imwrite(str(path), data.astronaut()[::2, ::2, ::-1])
    return path


@pytest.fixture
def settings(shapes_dir: Path, tmp_path: Path) -> dict[str, Any]:
    """A run of one epoch in two steps, on small images."""
    return {
        "model": {
            "preset": "e2ec_lite",
            "class_names": ["disc", "box"],
            "vertices": 32,
            "evolutions": 1,
        },
        "train": [
            {
                "annotations": str(shapes_dir / "instances.json"),
                "images": str(shapes_dir / "images"),
            }
        ],
        "augment": {"size": [64, 64], "base_side": 64, "min_area": 10},
        "output": str(tmp_path / "run"),
        "epochs": 1,
        "batch_size": 3,
        "workers": 0,
        "device": "cpu",
    }


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A video of 40 frames, each of one colour."""
    levels = (np.full((48, 64, 3), 5 * i, np.uint8) for i in range(40))
    return write_film(tmp_path / "levels.avi", levels)

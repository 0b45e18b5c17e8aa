"""Fixtures that all tests share."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from published_numbers import COMMITTED, PublishedNumbers

REPO = Path(__file__).resolve().parent.parent

try:
    import torch
except ImportError:
    collect_ignore = ["learning", "parity"]  # their conftest.py needs it too
else:
    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton reads it when it is imported


OPTIONAL = ("torch", "safetensors", "pycocotools", "shapely", "hypothesis", "rclpy", "onnxruntime")
"""Packages that are not on every machine that runs the tests, such as by `colcon test`."""


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skips test files whose imports need an optional package that is not here, and says so."""
    report = yield
    missing = re.search(r"No module named '(\w+)", str(report.longrepr or ""))
    of_ros = missing and missing[1].endswith(("_msgs", "_interfaces"))
    if report.outcome == "failed" and missing and (of_ros or missing[1] in OPTIONAL):
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 1, f"Skipped: {missing[1]} is not installed")
    return report


@pytest.fixture(scope="session")
def repo_dir() -> Path:
    """The root of the source tree."""
    return REPO


@pytest.fixture(scope="session")
def load_script(repo_dir: Path) -> Callable[[str], ModuleType]:
    """Loads a script of the source tree as a module, by its path there."""

    def load(path: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(Path(path).stem, repo_dir / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(spec.name, module)  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def load_benchmark(
    load_script: Callable[[str], ModuleType], repo_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], ModuleType]:
    """Loads a script of `benchmarks/` by its name; it finds those beside it."""
    monkeypatch.syspath_prepend(repo_dir / "benchmarks")
    return lambda name: load_script(f"benchmarks/{name}.py")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of reference data: E2EC_SHARED, or `shared` beside the repository."""
    folder = Path(os.environ.get("E2EC_SHARED", REPO.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}: set E2EC_SHARED to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def exported(repo_dir: Path) -> Path:
    """The model that ships, as an ONNX file."""
    pytest.importorskip("onnxruntime", reason="no onnxruntime: pip install onnxruntime")
    return repo_dir / "weights/e2ec_lite.onnx"


@pytest.fixture(scope="session")
def expected() -> PublishedNumbers:
    """The published model's numbers by name, as many as are here."""
    folder = Path(os.environ.get("E2EC_SHARED", REPO.parent / "shared"))
    return PublishedNumbers(folder / "reference" / "parity" / "expected.npz", COMMITTED)


@pytest.fixture(scope="session")
def shapes_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO-format data set of six images, 160 x 128, each with a yellow disc and a blue box.

    `instances.json` and the folder `images`; the outlines are exact, with edges at the integers.
    """
    folder = tmp_path_factory.mktemp("shapes")
    (folder / "images").mkdir()
    rng = np.random.default_rng(7)
    images, labels = [], []
    angle = -np.arange(40) * (2 * np.pi / 40)
    for number in range(6):
        pixels = rng.integers(90, 130, (128, 160, 3)).astype(np.uint8)
        radius, width, height = rng.uniform(18, 26), rng.uniform(30, 50), rng.uniform(30, 60)
        disc = rng.uniform(28, [60, 98], 2) + radius * np.stack([np.cos(angle), np.sin(angle)], 1)
        x, y = rng.uniform([95, 5], [150 - width, 120 - height])
        box = np.array([[x, y], [x, y + height], [x + width, y + height], [x + width, y]])
        for category, (outline, color) in enumerate(
            [(disc, (250, 230, 20)), (box, (20, 40, 240))]
        ):
            fixed = np.round((outline - 0.5) * 16).astype(np.int32)
            cv2.fillPoly(pixels, [fixed], color, cv2.LINE_AA, 4)
            label = {"id": len(labels), "image_id": number, "category_id": category + 1}
            labels.append(label | {"segmentation": [outline.reshape(-1).tolist()], "iscrowd": 0})
        cv2.imwrite(str(folder / "images" / f"{number}.png"), pixels[..., ::-1])
        images.append({"id": number, "file_name": f"{number}.png", "height": 128, "width": 160})
    names = [{"id": 1, "name": "disc"}, {"id": 2, "name": "box"}]
    content = {"images": images, "annotations": labels, "categories": names}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder

"""The command that measures weights, by the rules of each data set."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from e2ec_core.checkpoint import save_checkpoint
from e2ec_core.config import ModelConfig
from e2ec_core.model.build import build_model

pytest.importorskip("pycocotools", reason="pycocotools is not installed")

STAGES = ["initial", "coarse", "evolution 1"]
NAMES = ("car", "person")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with random weights."""
    torch.manual_seed(3)
    config = ModelConfig(class_names=NAMES, vertices=16, evolutions=1)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_checkpoint(path, build_model(config).eval(), config)
    return path


@pytest.fixture
def measure(weights: Path, tmp_path: Path, e2ec: Callable) -> Callable:
    """Runs the command; gives exit status, what it printed and the rows of its JSON."""

    def run(*words: str | Path) -> tuple[int, str, list[dict[str, Any]]]:
        out = tmp_path / "out" / "rows.json"
        fixed = ("--weights", weights, "--device", "cpu", "--long-side", "96", "--output", out)
        options = ("--max-instances", "5", "--overwrite")
        reply = e2ec("evaluate", *fixed, *options, *words)
        strict = {"parse_constant": pytest.fail}  # NaN and Infinity are no JSON
        rows = json.loads(out.read_text(), **strict) if out.is_file() else []
        return reply.status, reply.out + reply.err, rows

    return run


@pytest.fixture
def labels(shapes_dir: Path, tmp_path: Path) -> Path:
    """The shapes' labels with the model's classes under KINS' ids, of three images."""
    content = json.loads((shapes_dir / "instances.json").read_text())
    content["categories"] = [{"id": 4, "name": "car"}, {"id": 2, "name": "pedestrian"}]
    content["categories"][1]["name"] = "person"
    for label in content["annotations"]:
        label["category_id"] = {1: 4, 2: 2}[label["category_id"]]
    content["images"] = content["images"][:3]
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    return path


def test_each_stage_has_a_row_and_the_protocols_columns(
    measure: Callable, labels: Path, shapes_dir: Path
) -> None:
    words = ("--annotations", labels, "--images", shapes_dir / "images")
    status, shown, rows = measure(*words, "--protocol", "sbd")
    assert status == 0
    assert "| stage | AP vol | AP50 | AP70 |" in shown
    assert [row["stage"] for row in rows] == STAGES
    assert all(0 <= row["precision"]["mask/AP70"] <= 1 for row in rows)
    status, shown, rows = measure(*words)
    assert status == 0
    assert "| stage | AP | AP50 | AP75 | AP small |" in shown
    assert not math.isnan(rows[0]["given_boxes_iou"]["all"])
    assert "annotation of an image that the file does not list" in shown


def test_cityscapes_is_measured_by_its_own_scripts(measure: Callable, tmp_path: Path) -> None:
    pytest.importorskip("cityscapesscripts")
    stem = "ulm/ulm_000003_000019"
    for kind in ("gtFine", "images"):
        (tmp_path / kind / "ulm").mkdir(parents=True)
    ids = np.zeros((64, 96), np.uint16)
    ids[10:50, 10:40] = 26000
    ids[20:60, 50:70] = 24000
    cv2.imwrite(str(tmp_path / f"gtFine/{stem}_gtFine_instanceIds.png"), ids)
    pixels = np.repeat((ids[..., None] // 150).astype(np.uint8), 3, axis=2)
    cv2.imwrite(str(tmp_path / f"images/{stem}_leftImg8bit.png"), pixels)
    words = ("--annotations", tmp_path / "gtFine", "--images", tmp_path / "images")
    status, shown, rows = measure(*words, "--format", "cityscapes")
    assert status == 0
    assert "| stage | AP | AP50 | COCO's AP | COCO's AP50 |" in shown
    assert 0 <= rows[-1]["precision"]["car/cityscapes/AP"] <= 1


def test_a_runs_validation_set_is_measured(
    measure: Callable, labels: Path, shapes_dir: Path, tmp_path: Path
) -> None:
    source = {"annotations": str(labels), "images": str(shapes_dir / "images"), "hold_out": 2}
    config = {"model": {"class_names": list(NAMES)}, "train": [source], "validation": source}
    (tmp_path / "run.yaml").write_text(json.dumps(config))
    status, shown, rows = measure("--config", tmp_path / "run.yaml", "--recall-over", "detected")
    assert status == 0
    assert "2/2" in shown
    assert len(rows) == len(STAGES)


def test_what_is_missing_is_named(measure: Callable, tmp_path: Path) -> None:
    status, shown, rows = measure()
    assert (status, rows) == (2, [])
    assert "give --annotations and --images, or --config" in shown
    status, shown, _ = measure("--annotations", tmp_path / "no.json", "--images", tmp_path)
    assert status == 2
    assert "no.json' does not exist" in shown


def test_precision_and_settings_are_checked(
    measure: Callable, labels: Path, shapes_dir: Path
) -> None:
    words = ("--annotations", labels, "--images", shapes_dir / "images")
    status, shown, rows = measure(*words, "--precision", "fp16")
    assert (status, rows) == (2, [])
    assert "precision is 'fp16' on the CPU; choose fp32 or bf16" in shown
    status, shown, rows = measure(*words, "--precision=bf16")
    assert (status, len(rows)) == (0, len(STAGES))
    assert "score_threshold is 2.0; give 0 to 1" in measure(*words, "--score=2")[1]


def test_results_are_replaced_on_request_only(
    e2ec: Callable, labels: Path, shapes_dir: Path, weights: Path
) -> None:
    words = ("--annotations", labels, "--images", shapes_dir / "images", "--weights", weights)
    reply = e2ec("evaluate", *words, "--output", labels, "--overwrite")
    assert reply.status == 2
    assert "is an input, which is never replaced" in reply.error
    before = weights.read_bytes()
    reply = e2ec("evaluate", *words, "--output", weights)
    assert reply.status == 2
    assert weights.read_bytes() == before


@pytest.mark.parametrize("placement", ["fit", "coco", "kins"])
def test_every_kind_of_weights_is_measured(
    e2ec: Callable, labels: Path, shapes_dir: Path, tmp_path: Path, placement: Any
) -> None:
    """Converted weights are measured as they were published, and with sizes that are given."""
    config = ModelConfig(class_names=NAMES, vertices=16, evolutions=0, placement=placement)
    save_checkpoint(tmp_path / "w.safetensors", build_model(config).eval(), config)
    words = ("--annotations", labels, "--images", shapes_dir / "images", "--device=cpu")
    for sizes in ((), ("--long-side=64", "--nms-iou=1")):
        reply = e2ec("evaluate", *words, "--weights", tmp_path / "w.safetensors", *sizes)
        assert reply.status == 0, reply.err
        assert "| coarse |" in reply.out


def test_an_image_that_cannot_be_decoded_is_left_out_and_counts_nowhere(
    measure: Callable, labels: Path, shapes_dir: Path, tmp_path: Path
) -> None:
    content = json.loads(labels.read_text())
    first, *others = content["images"]
    folder = tmp_path / "damaged"
    shutil.copytree(shapes_dir / "images", folder)
    path = folder / first["file_name"]
    pixels = bytearray(path.read_bytes())
    middle = len(pixels) // 2
    pixels[middle : middle + 40] = bytes(40)  # the header stays sound
    path.write_bytes(pixels)
    status, shown, rows = measure("--annotations", labels, "--images", folder)
    assert status == 1
    assert f"1 of 3 left out: {path}" in shown.splitlines()[-1]
    without = tmp_path / "without.json"
    without.write_text(json.dumps(content | {"images": others}))
    assert measure("--annotations", without, "--images", folder)[::2] == (0, rows)

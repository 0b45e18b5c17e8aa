"""Validation during training: each data set's own rules, at its own scale."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from e2ec_core.learning.config import DataConfig, TrainConfig
from e2ec_core.learning.distributed import join_processes
from e2ec_core.learning.trainer import Trainer
from e2ec_core.learning.validation import Measured, Validation
from e2ec_core.model.build import build_model

pytest.importorskip("pycocotools")

Run = Callable[..., TrainConfig]
MODEL = {"vertices": 16, "evolutions": 1}


def _validated(run: Run, source: DataConfig, **model: Any) -> TrainConfig:
    return replace(run(model=MODEL | model, epochs=1, pictures=0), validation=source)


def _shapes(shapes_dir: Path, **options: Any) -> DataConfig:
    return DataConfig(
        annotations=str(shapes_dir / "instances.json"),
        images=str(shapes_dir / "images"),
        **options,
    )


@pytest.mark.parametrize(
    ("name", "classes", "columns"),
    [
        ("coco", ["disc", "box"], {"mask/AP", "mask/AP50", "mask/AP75", "box/AP"}),
        ("kins", ["cyclist", "pedestrian"], {"box/AP", "mask/AP", "mask/AP50", "mask/AP75"}),
        ("sbd", ["aeroplane", "bicycle"], {"mask/AP", "mask/AP50", "mask/AP70"}),
    ],
)
def test_every_data_set_is_measured_by_its_own_rules(
    tiny_run: Run, shapes_dir: Path, name: Any, classes: list[str], columns: set[str]
) -> None:
    config = _validated(tiny_run, _shapes(shapes_dir, format=name), class_names=classes)
    validation = Validation(config, join_processes("cpu"))
    rows = validation.measure(build_model(config.model)).rows
    assert [row["stage"] for row in rows] == ["initial", "coarse", "evolution 1"]
    # Numbers of sizes that no object has are absent.
    extra = {"mask/AP_small", "mask/AP_medium", "mask/AP_large"} if name == "coco" else set()
    assert columns | {"stage", "IoU in true boxes"} <= set(rows[-1])
    assert set(rows[-1]) <= columns | extra | {"stage", "IoU in true boxes"}
    assert validation.headline == "mask/AP"


@pytest.mark.parametrize(("rule", "size"), [("kins", (256, 320)), ("coco", (160, 192))])
def test_images_are_scaled_as_the_model_s_placement_says(
    tiny_run: Run, shapes_dir: Path, rule: str, size: tuple[int, int]
) -> None:
    """128 x 160 px: twice the size by KINS' rule, the next multiples of 32 by COCO's."""
    classes = ["disc", "box"]
    config = _validated(tiny_run, _shapes(shapes_dir), class_names=classes, placement=rule)
    model, seen = build_model(config.model), set()
    model.detector.register_forward_pre_hook(lambda _, x: seen.add(tuple(x[0].shape[2:])))
    Validation(config, join_processes("cpu")).measure(model)
    assert seen == {size}


def _cityscapes(folder: Path) -> DataConfig:
    """One image with two cars and a person, with its official instance ids."""
    name = "ulm_000001_000019"
    for kind in ("gtFine", "leftImg8bit"):
        (folder / kind / "ulm").mkdir(parents=True)
    ids = np.full((128, 160), 7, np.uint16)
    ids[10:60, 10:60], ids[10:60, 90:140], ids[70:120, 20:60] = 26000, 26001, 24000
    cv2.imwrite(str(folder / f"gtFine/ulm/{name}_gtFine_instanceIds.png"), ids)
    image = (ids % 251).astype(np.uint8)
    cv2.imwrite(str(folder / f"leftImg8bit/ulm/{name}_leftImg8bit.png"), image)
    return DataConfig(
        annotations=str(folder / "gtFine"), images=str(folder / "leftImg8bit"), format="cityscapes"
    )


def test_cityscapes_is_measured_by_its_authors_scripts(tiny_run: Run, tmp_path: Path) -> None:
    pytest.importorskip("cityscapesscripts")
    config = _validated(tiny_run, _cityscapes(tmp_path), class_names=["car", "person"])
    validation = Validation(config, join_processes("cpu"))
    assert validation.headline == "cityscapes/AP"
    numbers = validation.measure(build_model(config.model)).rows[-1]
    assert {"cityscapes/AP", "cityscapes/AP50", "mask/AP", "mask/AP50"} <= set(numbers)


def test_cocos_rules_stand_in_where_cityscapes_cannot_be_had(
    tiny_run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Deep Snake's files have no instance ids; the tools may not be installed either."""
    source = _cityscapes(tmp_path)
    (ids,) = Path(source.annotations).rglob("*_instanceIds.png")
    ids.unlink()
    outline = [[10, 10], [10, 60], [60, 60], [60, 10]]
    label = [{"label": "car", "components": [{"poly": outline}]}]
    (ids.parent / "ulm_000001_000019.json").write_text(json.dumps(label))
    config = _validated(tiny_run, source, class_names=["car", "person"])
    validation = Validation(config, join_processes("cpu"))
    assert validation.headline == "mask/AP"
    assert "by COCO's rules, not Cityscapes'" in caplog.text
    assert "mask/AP75" in validation.measure(build_model(config.model)).rows[-1]


def test_the_best_weights_go_by_the_headline(
    tiny_run: Run, shapes_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(
        _validated(tiny_run, _shapes(shapes_dir), class_names=["disc", "box"]),
        epochs=3,
        validate_every=1,
    )
    values = iter([(0.1, 0.9), (0.3, 0.8), (0.2, 1.0)])

    def measure(validation: Validation, model: object) -> Measured:
        official, other = next(values)
        return Measured([{"stage": "final", "cityscapes/AP": official, "mask/AP": other}], {})

    monkeypatch.setattr(Validation, "measure", measure)
    monkeypatch.setattr(Validation, "headline", "cityscapes/AP")
    trainer = Trainer(config)
    trainer.run()
    assert trainer.progress.best == 0.3


def test_validation_labels_that_cannot_be_read_stop_a_run_at_once(
    tiny_run: Run, shapes_dir: Path
) -> None:
    source = replace(_shapes(shapes_dir), annotations="nowhere.json")
    with pytest.raises(ValueError, match=r"nowhere\.json' does not exist"):
        Trainer(_validated(tiny_run, source, class_names=["disc", "box"]))

"""The recipe for somebody's own objects, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from e2ec_core.checkpoint import CheckpointError, save_checkpoint
from e2ec_core.commands.options import read_config
from e2ec_core.config import ModelConfig
from e2ec_core.data.coco import read_coco
from e2ec_core.learning.config import OptimizerConfig, PartRates, TrainConfig
from e2ec_core.learning.optimizer import freeze_parts, make_optimizer, part_of
from e2ec_core.learning.recipe import own_objects
from e2ec_core.learning.start_weights import load_start
from e2ec_core.learning.trainer import LossWatch, Trainer
from e2ec_core.model.build import build_model

MODEL = ModelConfig(class_names=("disc", "box"), vertices=16, evolutions=1)


def test_the_recipe_follows_from_the_labels(shapes_dir: Path, tmp_path: Path) -> None:
    labels = json.loads((shapes_dir / "instances.json").read_text())
    labels["categories"].append({"id": 99, "name": "exported, never used"})
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(labels))
    config = own_objects(str(path), str(shapes_dir / "images"))
    assert config.model.class_names == ("disc", "box")
    assert config.output == "runs/mine"
    assert config.validation is None  # six images are too few to hold any out
    assert (config.epochs, config.optimizer.rates.backbone) == (100, 0.0)
    fresh = load_start(build_model(config.model), config.model, config.start or "", "all")
    assert fresh == ("disc", "box")  # all else comes from the weights that ship


def test_a_fifth_is_held_out_of_more_images(shapes_dir: Path, tmp_path: Path) -> None:
    labels = json.loads((shapes_dir / "instances.json").read_text())
    images, objects = [], []
    for copy in range(4):
        for image in labels["images"]:
            name = f"{copy}_{image['file_name']}"
            shutil.copy(shapes_dir / "images" / image["file_name"], tmp_path / name)
            images.append(image | {"id": 100 * copy + image["id"], "file_name": name})
        for label in labels["annotations"]:
            ids = {"id": len(objects) + 1, "image_id": 100 * copy + label["image_id"]}
            objects.append(label | ids)
    path = tmp_path / "many.json"
    path.write_text(json.dumps(labels | {"images": images, "annotations": objects}))
    config = own_objects(str(path), str(tmp_path))
    assert config.validation is not None
    assert config.train[0].hold_out == config.validation.hold_out == 5


def test_every_parameter_belongs_to_a_part_and_learns_at_its_rate() -> None:
    model = build_model(MODEL)
    rates = PartRates(backbone=0.0, neck=0.1, heads=0.2, classes=1.0, contours=0.5)
    config = OptimizerConfig(rates=rates)
    freeze_parts(model, config)
    factors = {
        id(parameter): group["factor"]
        for group in make_optimizer(model, config).param_groups
        for parameter in group["params"]
    }
    parts = set()
    for name, parameter in model.named_parameters():
        part = part_of(name)
        parts.add(part)
        assert factors.get(id(parameter), 0.0) == getattr(rates, part), name
        assert parameter.requires_grad == (part != "backbone")
    assert parts == {"backbone", "neck", "heads", "classes", "contours"}


def test_frozen_classes_that_nobody_knows_are_refused(
    tiny_run: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    start = tmp_path / "start.safetensors"
    known = replace(MODEL, class_names=("dog", "box"))
    save_checkpoint(start, build_model(known), known)
    config = tiny_run(start=str(start))
    with pytest.raises(ValueError, match="does not know disc, and the layer of classes is kept"):
        Trainer(config)
    Trainer(replace(config, start_classes={"disc": "dog"}))
    Trainer(replace(config, freeze_detector=False))


def test_likeness_takes_the_channels_of_another_class(tmp_path: Path) -> None:
    start = str(tmp_path / "start.safetensors")
    known = replace(MODEL, class_names=("dog", "box"))
    torch.manual_seed(1)
    donor = build_model(known)
    save_checkpoint(start, donor, known, dtype=torch.float32)
    model = build_model(MODEL)
    assert load_start(model, MODEL, start, "all", {"disc": "dog"}) == ()
    for head, old in zip(model.detector.heads, donor.detector.heads, strict=True):
        assert torch.equal(head.classes.weight[0], old.classes.weight[0])
    assert load_start(build_model(MODEL), MODEL, start, "all") == ("disc",)
    with pytest.raises(CheckpointError, match="has no class 'dogg'; did you mean 'dog'"):
        load_start(model, MODEL, start, "all", {"disc": "dogg"})
    with pytest.raises(CheckpointError, match="'widget', which is no class of the run"):
        load_start(model, MODEL, start, "all", {"widget": "dog"})


def test_a_loss_that_explodes_is_noticed_once() -> None:
    watch = LossWatch()
    assert not any(watch.rise(4.0 - i / 100) for i in range(100))
    found = [rise for i in range(60) if (rise := watch.rise(30.0 + i))]
    assert len(found) == 1
    least, present = found[0]
    assert least < 3.3
    assert present > 15


def test_the_page_of_a_run_shows_curves_classes_and_pictures(
    tiny_run: Callable[..., TrainConfig],
) -> None:
    config = tiny_run()
    trainer = Trainer(replace(config, validation=config.train[0], pictures=1))
    trainer.run()
    page = (trainer.output / "report.html").read_text()
    for words in (
        "2 of 2 epochs",
        "<polyline",
        "By class",
        "<td>disc</td>",
        '<img src="pictures/',
    ):
        assert words in page


def test_the_file_that_shows_every_choice_is_the_recipe(
    repo_dir: Path, shapes_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = read_config(TrainConfig, repo_dir / "config/training/own_objects.yaml")
    data = read_coco(shapes_dir / "instances.json", shapes_dir / "images")
    hundred = replace(data, images=(list(data.images) * 17)[:100])
    monkeypatch.setattr("e2ec_core.learning.recipe.open_data", lambda *_, **__: hundred)
    chosen = own_objects("labels.json", "images")
    for name in ("loss", "optimizer", "epochs", "batch_size", "contours_per_view"):
        assert getattr(shown, name) == getattr(chosen, name), name
    assert (shown.train[0], shown.validation) == (chosen.train[0], chosen.validation)
    assert (shown.output, shown.validate_every) == (chosen.output, chosen.validate_every)
    assert shown.model == replace(chosen.model, class_names=shown.model.class_names)

"""Settings of a training run: what is read, what is replaced, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from e2ec_core.config import to_dict
from e2ec_core.data.class_names import CLASS_NAMES
from e2ec_core.learning.config import OptimizerConfig, read_train_config

MINIMAL: dict[str, Any] = {
    "model": {"class_names": ["car"]},
    "train": [{"annotations": "a.json", "images": "images"}],
}


def _write(folder: Path, content: Any) -> Path:
    path = folder / "run.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_a_model_and_a_data_set_are_enough(tmp_path: Path) -> None:
    config = read_train_config(_write(tmp_path, MINIMAL))
    assert config.model.class_names == ("car",)
    assert config.train[0].annotations == "a.json"
    assert config.validation is None


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    values = MINIMAL | {"loss": {"directions": 8}, "optimizer": {"milestones": [3, 5]}}
    config = read_train_config(_write(tmp_path, values))
    assert config.optimizer.milestones == (3, 5)
    assert read_train_config(_write(tmp_path, to_dict(config))) == config


def test_overrides_replace_nested_settings_and_keep_their_neighbours(tmp_path: Path) -> None:
    path = _write(tmp_path, MINIMAL | {"optimizer": {"lr": 0.1, "warmup": 7}})
    overrides = {"optimizer.lr": 0.5, "augment.flip": 0, "epochs": 3}
    config = read_train_config(path, overrides)
    assert (config.optimizer.lr, config.optimizer.warmup) == (0.5, 7)
    assert config.augment.flip == 0.0
    assert config.epochs == 3


def test_every_shipped_config_can_be_read(repo_dir: Path) -> None:
    paths = sorted((repo_dir / "config" / "training").glob("*.yaml"))
    assert paths
    configs = [read_train_config(path) for path in paths]
    made = {f"{config.output}/model.safetensors" for config in configs}
    made.add("runs/ablation/detector/model.safetensors")  # by benchmarks/ablation.py --prepare
    for path, config in zip(paths, configs, strict=True):
        if config.start and config.start not in made:
            assert (repo_dir / config.start).is_file(), path
        for source in config.train:  # classes in the order of the published checkpoints
            if source.format != "coco":
                assert config.model.class_names == CLASS_NAMES[source.format], path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": 3}, "unknown key 'epoch'; TrainConfig knows .*epochs"),
        ({"augment": {"sizes": [64, 64]}}, r"unknown key augment\.'sizes'"),
        ({"augment": {"size": [64, 70]}}, "size is .*multiples of 32"),
        ({"augment": None}, "augment is None"),
        ({"epochs": "many"}, "epochs is 'many'; it must be int"),
        ({"epochs": 0}, "epochs is 0; give at least 1"),
        ({"batch_size": 0}, "batch_size is 0; give at least 1"),
        ({"workers": -1}, "workers is -1; give 0 or more"),
        ({"optimizer": {"name": "adamm"}}, "name is 'adamm'; choose"),
        ({"optimizer": {"lr": 0}}, "lr is 0.0; give more than 0"),
        ({"optimizer": {"ema": 1.0}}, "ema is 1.0; give 0 to below 1"),
        ({"optimizer": {"schedule": "linear"}}, "schedule is 'linear'; choose"),
        ({"start_part": "head"}, "start_part is 'head'; choose one of"),
        ({"loss": {"alignment": "monoton"}}, "alignment is 'monoton'; choose one of"),
        ({"loss": {"parts": "all"}}, "parts is 'all'; choose one of 'joined', 'each', 'largest'"),
        ({"loss": {"border": -1}}, "border is -1.0; give 0 to 16"),
        ({"augment": {"crops": "centre"}}, "crops is 'centre'; choose one of"),
        ({"augment": {"colors": "bright"}}, "colors is 'bright'; choose one of"),
        ({"model": {"class_names": ["a"], "label_origin": "edge"}}, "label_origin is 'edge'; cho"),
        ({"model": {"class_names": []}}, "class_names is empty"),
        ({"loss": {"directions": 3}}, "directions is 3; give 0 or a divisor of the 64 vertices"),
        ({"loss": {"directions": -1}}, "directions is -1"),
        ({"augment": {"flip": 7}}, "flip is 7.0; give 0 to 1"),
        ({"train": []}, "train is empty; name at least one"),
        ({"train": {"images": "x"}}, "train is .*; it must be a list"),
        ({"train": [{"images": "x"}]}, "annotations.*missing"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_train_config(_write(tmp_path, MINIMAL | change))


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "3"])
def test_a_file_without_settings_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(ValueError, match=r"run\.yaml' must be a mapping"):
        read_train_config(_write(tmp_path, content))


def test_a_missing_file_and_broken_yaml_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.yaml' does not exist"):
        read_train_config(tmp_path / "none.yaml")
    with pytest.raises(ValueError, match=r"run\.yaml' is not YAML.*line 1"):
        read_train_config(_write(tmp_path, "model: [1, 2"))


@pytest.mark.parametrize("key", ["epochs.x", "train.images", "a.b"])
def test_an_override_that_leads_nowhere_is_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match=key.split(".")[0]):
        read_train_config(_write(tmp_path, MINIMAL | {"epochs": 3}), {key: 1})


def test_adam_and_its_kin_are_known() -> None:
    for name in ("adam", "adamw", "sgd"):
        assert OptimizerConfig(name=name).name == name

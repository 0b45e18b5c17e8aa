"""Settings from YAML files and command lines: what is read, what is refused and how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from e2ec_core.commands.options import read_config
from e2ec_core.config import to_dict
from e2ec_core.data.class_names import CLASS_NAMES
from e2ec_core.learning.config import TrainConfig

MINIMAL: dict[str, Any] = {
    "model": {"class_names": ["car"]},
    "train": [{"annotations": "a.json", "images": "images"}],
}


def _read(folder: Path, change: Any, *words: str) -> TrainConfig:
    path = folder / "run.yaml"
    text = change if isinstance(change, str) else yaml.safe_dump(MINIMAL | change)
    path.write_text(text)
    return read_config(TrainConfig, path, words)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    values = {"loss": {"directions": 8}, "optimizer": {"milestones": [3, 5]}, "validation": None}
    config = _read(tmp_path, values)
    assert config.optimizer.milestones == (3, 5)
    assert config.train[0].annotations == "a.json"
    assert _read(tmp_path, to_dict(config)) == config


@pytest.mark.parametrize(
    "words",
    [
        ["--epochs=20", "--optimizer.lr=3e-4"],
        ["--epochs", "20", "--optimizer.lr", "3e-4"],
        ["--optimizer", "{lr: 0.0003}", "--epochs", "20"],
    ],
)
def test_options_replace_values_of_the_file_and_keep_their_neighbours(
    tmp_path: Path, words: list[str]
) -> None:
    config = _read(tmp_path, {"optimizer": {"lr": 0.1, "warmup": 7}, "epochs": 3}, *words)
    assert (config.epochs, config.optimizer.lr) == (20, 3e-4)
    assert config.optimizer.warmup == 7


def test_names_may_have_dashes_and_values_may_be_any_yaml(tmp_path: Path) -> None:
    words = ["--batch-size=3", "--validation", "null", "--augment.base-side", "null"]
    words += ["--train", "[{annotations: b.json, images: x, repeat: 2}]", "--output", "7"]
    words += ["--optimizer.milestones", "[80, 120, 150]", "--freeze_detector", "true"]
    config = _read(tmp_path, {"validation": MINIMAL["train"][0]}, *words)
    assert (config.batch_size, config.validation, config.augment.base_side) == (3, None, None)
    assert (config.train[0].annotations, config.train[0].repeat) == ("b.json", 2)
    assert (config.output, config.optimizer.milestones) == ("7", (80, 120, 150))
    assert config.freeze_detector is True


def test_yaml_s_exponents_without_a_point_are_numbers(tmp_path: Path) -> None:
    """YAML 1.1 reads 3e-4 as text; nobody who writes it means one."""
    assert _read(tmp_path, yaml.safe_dump(MINIMAL) + "optimizer: {lr: 3e-4}").optimizer.lr == 3e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": 3}, "unknown setting 'epoch'; did you mean 'epochs'?"),
        ({"lr": 3}, "unknown setting 'lr'; did you mean 'optimizer.lr'?"),
        (
            {"optimizer": {"lrr": 3}},
            "unknown setting 'optimizer.lrr'; did you mean 'optimizer.lr'?",
        ),
        (
            {"augment": {"sizes": 3}},
            "unknown setting 'augment.sizes'; did you mean 'augment.size'?",
        ),
        (
            {"loss": {"weights": {"corse": 1}}},
            "unknown setting 'loss.weights.corse'; did you mean 'loss.weights.coarse'?",
        ),
        (
            {"train": [{"annotations": "a", "images": "b", "repeatt": 2}]},
            "unknown setting 'train.repeatt'; did you mean 'train.repeat'?",
        ),
        ({"qqq": 3}, "unknown setting 'qqq'; --help lists the settings"),
        ({"train": [{"images": "b"}]}, "setting 'train.annotations' is missing; give it"),
        ({"train": {"images": "b"}}, "it must be a list"),
        ({"optimizer": {"ema": 1.0}}, "ema is 1.0; give 0 to below 1"),
        ({"augment": {"size": [64, 70]}}, "multiples of 32"),
        ({"augment": {"flip": 2}}, "augment.flip is 2.0; give 0 to 1"),
        ({"loss": {"weights": {"initial": -1}}}, "loss.weights.initial is -1.0; give 0 or more"),
        ({"model": {"class_names": []}}, "class_names is empty"),
        ({"train": []}, "train is empty; name at least one set of labelled images"),
        ({"validation": 3}, "validation is 3; it must be a mapping of settings, or null"),
        ({"epochs": "many"}, "epochs is 'many'; it must be int"),
        ({"epochs": 1.5}, "epochs is 1.5; it must be int"),
        ({"epochs": True}, "epochs is True; it must be int"),
        ({"epochs": 0}, "epochs is 0; give 1 or more"),
        ({"optimizer": {"lr": "fast"}}, "optimizer.lr is 'fast'; it must be float"),
        ({"optimizer": {"lr": 0}}, "optimizer.lr is 0.0; give more than 0"),
        ({"optimizer": {"name": "adamm"}}, "name is 'adamm'; choose one of adam, adamw, sgd"),
        ({"optimizer": 3}, "optimizer is 3; it must be a mapping of settings"),
        ({"optimizer": None}, "optimizer is None; it must be a mapping of settings"),
        ({"output": 3}, "output is 3; it must be str"),
        ({"tensorboard": 1}, "tensorboard is 1; it must be bool"),
        ({"precision": "fp8"}, "precision is 'fp8'; choose one of 'fp32', 'bf16', 'fp16'"),
        ({"augment": {"scale": 1.0}}, "augment.scale is 1.0; it must be a list"),
        ({"augment": {"scale": ["a", "b"]}}, "augment.scale is 'a'; it must be float"),
        ({"model": {"class_names": ["a"], "vertices": "x"}}, "model.vertices is 'x'; it must be"),
        ({"loss": {"directions": 3}}, "loss.directions is 3; give 0 or a divisor of the 64 vert"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - compared below
        _read(tmp_path, change)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epoch", "3"], "unknown setting 'epoch'; did you mean 'epochs'?"),
        (["--epoch=3"], "unknown setting 'epoch'; did you mean 'epochs'?"),
        (["--optimiser.lr", "1"], "unknown setting 'optimiser.lr'; did you mean 'optimizer.lr'?"),
        (["--epochs"], "option --epochs lacks its value"),
        (["--epochs", "--seed", "3"], "option --epochs lacks its value"),
        (["--epochs", "[1"], "epochs is '[1'; it must be int"),
        (["20"], "'20' is no option; options begin with --"),
        (["--train", "[{annotations: q}]"], "setting 'train.images' is missing; give it"),
        (["--validation", "{annotations: q}"], "setting 'validation.images' is missing; give it"),
    ],
)
def test_what_does_not_fit_on_the_command_line_is_named(
    tmp_path: Path, words: list[str], message: str
) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - compared below
        _read(tmp_path, {}, *words)
    assert str(error.value) == message


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "3"])
def test_a_file_without_settings_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(ValueError, match=r"run\.yaml' must be a mapping"):
        _read(tmp_path, content)


def test_a_missing_file_and_broken_yaml_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.yaml' does not exist"):
        read_config(TrainConfig, tmp_path / "none.yaml")
    with pytest.raises(ValueError, match=r"run\.yaml' is not YAML.*line 1"):
        _read(tmp_path, "model: [1, 2")


def test_every_shipped_config_can_be_read(repo_dir: Path) -> None:
    paths = sorted((repo_dir / "config" / "training").glob("*.yaml"))
    assert paths
    configs = [read_config(TrainConfig, path) for path in paths]
    made = {f"{c.output}/{Path(c.output).name}.safetensors" for c in configs}
    made.add("runs/ablation/detector/detector.safetensors")  # by benchmarks/ablation.py --prepare
    made.add("data/nanodet.safetensors")  # by e2ec import-nanodet
    for path, config in zip(paths, configs, strict=True):
        if config.start and config.start not in made:
            assert (repo_dir / config.start).is_file(), path
        for source in config.train:  # classes in the order of the published checkpoints
            if source.format != "coco":
                assert config.model.class_names == CLASS_NAMES[source.format], path


def test_a_file_of_a_windows_editor_is_read(tmp_path: Path) -> None:
    text = yaml.safe_dump(MINIMAL | {"epochs": 3}).replace("\n", "\r\n")
    (tmp_path / "run.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_config(TrainConfig, tmp_path / "run.yaml").epochs == 3

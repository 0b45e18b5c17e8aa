"""From data settings to labelled images: splits, held-out and missing images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2ec_core.learning.config import DataConfig
from e2ec_core.learning.source import load_data, load_labels, split_names

NAMES = ("disc", "box")


def _config(folder: Path, **options: Any) -> DataConfig:
    return DataConfig(
        annotations=str(folder / "instances.json"), images=str(folder / "images"), **options
    )


def _names(config: DataConfig, *, held_out: bool = False) -> list[str]:
    return [image.path.name for image in load_data(config, NAMES, held_out=held_out).images]


def test_held_out_images_are_every_nth_and_no_others(shapes_dir: Path) -> None:
    assert len(_names(_config(shapes_dir))) == 6
    config = _config(shapes_dir, hold_out=3)
    assert _names(config, held_out=True) == ["0.png", "3.png"]
    assert _names(config) == ["1.png", "2.png", "4.png", "5.png"]
    assert _names(_config(shapes_dir), held_out=True) == []


def test_splits_come_from_json_and_from_lists(shapes_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "splits.json").write_text(json.dumps({"few": ["1.png", "4.png"]}))
    (tmp_path / "few.txt").write_text("4\n1.png\n")
    few = _config(shapes_dir, split_file=str(tmp_path / "splits.json"), split="few")
    assert _names(few) == ["1.png", "4.png"]
    assert _names(_config(shapes_dir, split_file=str(tmp_path / "few.txt"))) == ["1.png", "4.png"]


def test_broken_splits_are_named(shapes_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "splits.json").write_text('{"few": ["9.png"]}')
    path = str(tmp_path / "splits.json")
    with pytest.raises(ValueError, match=r"split 'many' is not in .*; it has few"):
        split_names(_config(shapes_dir, split_file=path, split="many"))
    with pytest.raises(ValueError, match=r"has no image '9\.png'"):
        _names(_config(shapes_dir, split_file=path, split="few"))
    (tmp_path / "splits.json").write_text("{")
    with pytest.raises(ValueError, match="is no JSON"):
        split_names(_config(shapes_dir, split_file=path, split="few"))
    with pytest.raises(ValueError, match=r"nowhere\.json' does not exist"):
        split_names(_config(shapes_dir, split_file="nowhere.json", split="few"))


def test_missing_images_stop_a_run_or_are_skipped_and_counted(
    shapes_dir: Path, tmp_path: Path
) -> None:
    for path in sorted((shapes_dir / "images").iterdir())[2:]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    options = {"annotations": str(shapes_dir / "instances.json"), "images": str(tmp_path)}
    with pytest.raises(ValueError, match=r"2 of 6 image files are missing, .*0\.png"):
        load_data(DataConfig(**options), NAMES, held_out=False)
    data, content = load_labels(
        DataConfig(**options, missing_images="skip"), NAMES, held_out=False
    )
    assert len(data) == 4
    assert data.problems["image file that is missing"] == 2
    assert len(content["images"]) == 6

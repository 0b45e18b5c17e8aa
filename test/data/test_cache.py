"""The cache of labels: used when nothing has changed, ignored when anything is wrong."""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from e2ec_core.data import cache
from e2ec_core.data.dataset import CocoDataset
from e2ec_core.data.packed import PackedImages
from e2ec_core.learning import source
from e2ec_core.learning.config import DataConfig
from e2ec_core.learning.source import load_data


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """Caches labels of any size in a folder of its own; counts how often labels are read."""
    monkeypatch.setattr(cache, "LEAST_BYTES", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    times: list[int] = []
    read = source._read

    def counted(*arguments: object) -> CocoDataset:
        times.append(1)
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(source, "_read", counted)
    return times


@pytest.fixture
def config(shapes_dir: Path, tmp_path: Path) -> DataConfig:
    """A copy of the shapes that a test may change, with a class that has a problem."""
    folder = tmp_path / "shapes"
    shutil.copytree(shapes_dir, folder)
    content = json.loads((folder / "instances.json").read_text())
    content["annotations"].append({"id": 99, "image_id": 0, "category_id": 1, "segmentation": []})
    (folder / "instances.json").write_text(json.dumps(content))
    return DataConfig(annotations=str(folder / "instances.json"), images=str(folder / "images"))


def _load(config: DataConfig, held_out: bool = False) -> CocoDataset:
    return load_data(config, ["disc", "box"], held_out=held_out)


def _stored() -> Path:
    (path,) = cache.cache_folder().glob("*.labels")
    return path


def test_the_second_time_labels_come_from_the_cache(built: list[int], config: DataConfig) -> None:
    first, second = _load(config), _load(config)
    assert len(built) == 1
    assert (second.class_names, second.category_ids) == (first.class_names, first.category_ids)
    assert second.problems == first.problems
    assert second.problems.examples == first.problems.examples
    assert second.report() == first.report() != []
    for a, b in zip(first.images, second.images, strict=True):
        assert (a.image_id, a.path, a.name) == (b.image_id, b.path, b.name)
        for one, other in zip(a.instances, b.instances, strict=True):
            np.testing.assert_array_equal(one.parts, other.parts)
    held = replace(config, hold_out=3)
    assert [i.name for i in _load(held, held_out=True).images] == ["0.png", "3.png"]
    assert len(built) == 1
    assert _stored().stat().st_size > 1000


@pytest.mark.parametrize("change", ["labels", "pixels", "gone", "classes"])
def test_what_has_changed_is_read_anew(built: list[int], config: DataConfig, change: str) -> None:
    _load(config)
    path = Path(config.images) / "2.png"
    if change == "labels":
        content = json.loads(Path(config.annotations).read_text())
        content["annotations"].pop()
        Path(config.annotations).write_text(json.dumps(content))
        assert not _load(config).problems
    elif change == "pixels":
        cv2.imwrite(str(path), np.zeros((50, 70, 3), np.uint8))
        assert [i.name for i in _load(config).images].count("2.png") == 0
    elif change == "gone":
        path.unlink()
        with pytest.raises(ValueError, match="1 of 6 image files are missing"):
            _load(config)
    else:
        load_data(config, ["box"], held_out=False)
    assert len(built) == 2


def test_files_that_were_missing_are_looked_for_again(
    built: list[int], config: DataConfig
) -> None:
    path = Path(config.images) / "2.png"
    content = path.read_bytes()
    path.unlink()
    lenient = replace(config, missing_images="skip")
    assert len(_load(lenient)) == len(_load(lenient)) == 5
    assert len(built) == 1
    path.write_bytes(content)
    assert len(_load(lenient)) == 6


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text", "older"])
def test_a_damaged_cache_is_ignored_and_replaced(
    built: list[int], config: DataConfig, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = _load(config)
    path = _stored()
    content = bytearray(path.read_bytes())
    del first
    if damage == "flipped":
        content[-200] ^= 255
    elif damage == "older":
        content[12] ^= 1
    path.unlink()
    path.write_bytes(
        {"empty": b"", "cut": content[:-500], "text": b"no labels"}.get(damage, bytes(content))
    )
    with caplog.at_level(logging.WARNING):
        assert len(_load(config)) == 6
    assert "cached labels" in caplog.text
    assert len(built) == 2
    _load(config)
    assert len(built) == 2


def test_a_folder_that_cannot_be_written_is_no_error(
    built: list[int],
    config: DataConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        data = _load(config)
    assert len(data) == 6
    assert isinstance(data.images, PackedImages)
    assert "the labels cannot be cached in" in caplog.text
    assert len(_load(config)) == 6
    assert len(built) == 2


def test_small_labels_are_not_cached(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert os.path.getsize(config.annotations) < cache.LEAST_BYTES
    assert isinstance(_load(config).images, PackedImages)
    assert not (tmp_path / "cache").exists()

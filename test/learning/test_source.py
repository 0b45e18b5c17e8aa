"""From data settings to labelled images: splits, held-out and missing images."""

from __future__ import annotations

import json
import pickle
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from e2ec_core.commands.options import read_config
from e2ec_core.config import ModelConfig
from e2ec_core.data.coco import read_coco
from e2ec_core.data.dataset import CocoDataset
from e2ec_core.data.labelled import Instance
from e2ec_core.geometry import Polygon, signed_area
from e2ec_core.learning.config import DataConfig, TrainConfig
from e2ec_core.learning.samples import Samples
from e2ec_core.learning.source import load_data, split_names
from e2ec_core.learning.training_views import TrainingViews, ViewKey

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
    with pytest.raises(ValueError, match="none of its 0 images has a usable object"):
        _names(_config(shapes_dir), held_out=True)


@pytest.mark.parametrize("part", ["all", "held out"])
def test_images_of_16_bits_are_read_in_the_range_of_their_set(
    shapes_dir: Path, tmp_path: Path, part: str
) -> None:
    for path in (shapes_dir / "images").iterdir():
        cv2.imwrite(str(tmp_path / path.name), np.full((128, 160), 2048, np.uint16))
    options = {"hold_out": 2} if part == "held out" else {}
    config = replace(_config(shapes_dir, range="0..4095", **options), images=str(tmp_path))
    data = load_data(config, NAMES, held_out=part == "held out")
    assert (data.images[1].read() == 128).all()
    run = TrainConfig(model=ModelConfig(class_names=NAMES), train=(config,), image_cache=1)
    cached = pickle.loads(pickle.dumps(TrainingViews([data], run)))._read(1)[1]
    assert (cached == 128).all()
    with pytest.raises(ValueError, match=r"range is '4095'; give full, auto or LOW\.\.HIGH"):
        _config(shapes_dir, range="4095")


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


def _two_cities(folder: Path) -> DataConfig:
    """Labels of `a/0000.png`, `b/0000.png`, `a/my car.png` and `a/0001.png`."""
    names = ["a/0000.png", "b/0000.png", "a/my car.png", "a/0001.png"]
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / name), np.zeros((40, 40, 3), np.uint8))
    size = {"height": 40, "width": 40}
    square = [[5, 5, 5, 30, 30, 30, 30, 5]]
    content = {
        "images": [{"id": i, "file_name": name} | size for i, name in enumerate(names)],
        "annotations": [
            {"image_id": i, "category_id": 1, "segmentation": square} for i in range(len(names))
        ],
        "categories": [{"id": 1, "name": "disc"}],
    }
    (folder / "labels.json").write_text(json.dumps(content))
    return DataConfig(annotations=str(folder / "labels.json"), images=str(folder))


def _chosen(config: DataConfig, content: bytes) -> list[str]:
    path = Path(config.images) / "list.txt"
    path.write_bytes(content)
    data = load_data(replace(config, split_file=str(path)), None, held_out=False)
    return [image.name for image in data.images]


def test_lists_hold_one_name_on_each_line(tmp_path: Path) -> None:
    config = _two_cities(tmp_path)
    lines = "a/my car.png\r\n\r\nb/0000.png\r\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        assert _chosen(config, lines.encode(encoding)) == ["b/0000.png", "a/my car.png"]
    assert _chosen(config, b"my car\n0001\nb\\0000.png") == [
        "b/0000.png",
        "a/my car.png",
        "a/0001.png",
    ]
    assert _chosen(config, b"images/a/0001.png") == ["a/0001.png"]
    assert _chosen(config, b" a/0001.png \n\n my car") == ["a/my car.png", "a/0001.png"]


def test_blanks_of_names_in_a_list_count_where_labels_have_them(tmp_path: Path) -> None:
    config = _two_cities(tmp_path)
    (tmp_path / "a/my car.png").rename(tmp_path / "a/ 0001.png")
    path = Path(config.annotations)
    path.write_text(path.read_text().replace("a/my car.png", "a/ 0001.png"))
    assert _chosen(config, b"a/ 0001.png\n") == ["a/ 0001.png"]
    assert _chosen(config, b" a/0001.png\n") == ["a/0001.png"]


def test_names_that_the_labels_lack_are_left_out_and_counted(tmp_path: Path) -> None:
    config = _two_cities(tmp_path)
    (tmp_path / "list.txt").write_text("a/0001.png\nnope.png\nneither.png\n")
    config = replace(config, split_file=str(tmp_path / "list.txt"))
    data = load_data(config, None, held_out=False)
    assert [image.name for image in data.images] == ["a/0001.png"]
    assert data.report() == [
        "2 x name of the split that the labels lack (left out), e.g. neither.png, nope.png"
    ]


def test_names_that_fit_two_images_are_refused(tmp_path: Path) -> None:
    config = _two_cities(tmp_path)
    for name in (b"0000", b"0000.png"):
        with pytest.raises(ValueError, match=r"fits both 'a/0000\.png' and 'b/0000\.png'"):
            _chosen(config, name)
    with pytest.raises(ValueError, match="has no image 'c/0000'"):
        _chosen(config, b"c/0000")


def test_missing_images_stop_a_run_or_are_skipped_and_counted(
    shapes_dir: Path, tmp_path: Path
) -> None:
    for path in sorted((shapes_dir / "images").iterdir())[2:]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    options = {"annotations": str(shapes_dir / "instances.json"), "images": str(tmp_path)}
    with pytest.raises(ValueError, match=r"2 of 6 image files are missing, .*0\.png"):
        load_data(DataConfig(**options), NAMES, held_out=False)
    data = load_data(DataConfig(**options, missing_images="skip"), NAMES, held_out=False)
    assert len(data) == 4
    assert data.problems["image file that is missing"] == 2
    assert [image.image_id for image in data.images] == [2, 3, 4, 5]


STILL = {"size": [128, 160], "base_side": None, "scale": [1.0, 1.0], "rotation": 0.0, "flip": 0.0}
LETTER_C = np.array(
    [(0, 0), (0, 100), (100, 100), (100, 80), (20, 80), (20, 20), (100, 20), (100, 0)], np.float64
)


def _bar(x: float, width: float) -> Polygon:
    return np.array([[x, 20], [x, 100], [x + width, 100], [x + width, 20]], np.float64)


def _targets(
    config: TrainConfig, shapes_dir: Path, outlines: tuple[Polygon, ...], **loss: Any
) -> Samples:
    """What a run learns of one object on the first image, seen as it is."""
    config = replace(config, loss=replace(config.loss, **loss))
    data = read_coco(shapes_dir / "instances.json", shapes_dir / "images")
    image = replace(data.images[0], instances=(Instance(class_id=0, parts=outlines),))
    return TrainingViews([replace(data, images=[image])], config)[ViewKey(0)]


@pytest.fixture
def still(tiny_run: Callable[..., TrainConfig]) -> TrainConfig:
    """A run that sees its images unchanged, with contours of 128 vertices."""
    model = {"class_names": ["disc", "box"], "vertices": 128}
    return tiny_run(model=model, augment=STILL | {"paste": 0})


def test_alignment_winds_once_or_as_published(still: TrainConfig, shapes_dir: Path) -> None:
    ours = _targets(still, shapes_dir, (LETTER_C + 10,)).contours[0].numpy()
    assert signed_area(ours) == pytest.approx(-5200, rel=0.01)
    published = _targets(still, shapes_dir, (LETTER_C + 10,), alignment="published").contours[0]
    published = published.numpy()
    assert signed_area(published) == pytest.approx(-2 * 5200, rel=0.05)


def test_parts_are_joined_or_apart_or_the_largest(still: TrainConfig, shapes_dir: Path) -> None:
    parts = (_bar(20, 30), _bar(90, 20))
    boxes = {}
    for rule in ("joined", "each", "largest"):
        found = _targets(still, shapes_dir, parts, parts=rule)
        boxes[rule] = found.boxes[found.valid].tolist()
    first, second = [20, 20, 50, 100], [90, 20, 110, 100]
    assert boxes == {
        "joined": [[20, 20, 110, 100]],
        "each": [first, second],
        "largest": [first],
    }


def test_contours_end_at_the_border(still: TrainConfig, shapes_dir: Path) -> None:
    assert _targets(still, shapes_dir, (_bar(90, 100),)).boxes[0, 2] == 160
    assert _targets(still, shapes_dir, (_bar(90, 100),), border=4.0).boxes[0, 2] == 156


def _published_flags(path: Path) -> list[str]:
    """The options that a config's comment names for training as published."""
    comment = path.read_text().split("Training as published:\n")[1].split("model:")[0]
    return shlex.split(comment.replace("#", "").replace("\\", ""))


@pytest.mark.parametrize("name", ["kins", "sbd", "cityscapes", "coco", "coco_sgd"])
def test_every_config_tells_how_to_train_as_published(
    repo_dir: Path, shapes_dir: Path, name: str
) -> None:
    path = repo_dir / "config" / "training" / f"{name}.yaml"
    ours, published = (
        read_config(TrainConfig, path, words) for words in ([], _published_flags(path))
    )
    data: CocoDataset = read_coco(shapes_dir / "instances.json", shapes_dir / "images")
    for config, rules in ((ours, ("monotone", "each")), (published, ("published", "each"))):
        views = TrainingViews([data], config)
        assert (views.targets.alignment, views.targets.parts) == rules
        sample = views[ViewKey(0)]
        height, width = config.augment.size
        assert sample.image.shape == (height, width, 3)
        right, bottom = sample.contours.numpy().reshape(-1, 2).max(axis=0)
        border = 4 if config is published else 0
        assert right <= width - border
        assert bottom <= height - border
    views = TrainingViews([data], published)
    assert (views.targets.border, views.joined) == (4, False)
    assert published.model.label_origin == "centre"
    assert (published.augment.crops, published.augment.colors) == ("published", "published")
    assert published.loss.before_matching == "none"
    assert TrainingViews([data], ours).joined
    assert (ours.augment.crops, ours.model.label_origin) == ("anywhere", "corner")
    if name == "kins":
        assert published.optimizer.gamma == 0.25
    if name == "cityscapes":
        assert published.epochs == 200
        assert published.optimizer.milestones == (80, 120, 150)

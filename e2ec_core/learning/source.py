"""From the settings of a run to labelled images."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from e2ec_core.data import problems as defects
from e2ec_core.data.coco import CocoDataset, Content, dataset_from_content
from e2ec_core.data.formats import load_content
from e2ec_core.data.problems import Problems
from e2ec_core.learning.config import DataConfig, TrainConfig


def load_data(
    config: DataConfig, class_names: Sequence[str] | None, *, held_out: bool
) -> CocoDataset:
    """Reads one set of images; see `load_labels`."""
    return load_labels(config, class_names, held_out=held_out)[0]


def load_labels(
    config: DataConfig, class_names: Sequence[str] | None, *, held_out: bool
) -> tuple[CocoDataset, Content]:
    """Reads one set of images, and its labels in COCO's form for evaluation.

    Args:
        config: where it lies and in which format.
        class_names: classes wanted; None takes all.
        held_out: give the images that `hold_out` leaves out instead of the others.

    Raises:
        ValueError: the labels cannot be read; the split is not in the split file; or image files
            are missing and `missing_images` is `error`.
    """
    problems = Problems()
    names = split_names(config)
    content = load_content(
        config.format,
        config.annotations,
        config.images,
        names,
        outline=config.outline,
        problems=problems,
    )
    data = dataset_from_content(
        content,
        config.images,
        class_names=class_names,
        file_names=None if names is None else _full_names(names, content),
        source=config.annotations,
        problems=problems,
    )
    data = _hold_out(data, config.hold_out, held_out=held_out)
    return drop_missing_images(data, config.missing_images == "skip"), content


def read_training_data(config: TrainConfig) -> list[CocoDataset]:
    """Reads the training sets of a run, repeated as it asks, and prints what is wrong with them.

    Raises:
        ValueError: as `load_labels`.
    """
    sets = []
    for source in config.train:
        data = load_data(source, config.model.class_names, held_out=False)
        for line in data.problems.summary():
            print(f"{source.annotations}: {line}", flush=True)
        sets += [data] * source.repeat
    return sets


def split_names(config: DataConfig) -> list[str] | None:
    """File names of the split; None without a split file.

    Raises:
        ValueError: the split file is missing or broken, or lacks the split.
    """
    if not config.split_file:
        return None
    path = Path(config.split_file)
    if not path.is_file():
        raise ValueError(f"split file {config.split_file!r} does not exist; check the path")
    if path.suffix == ".txt":
        return path.read_text().split()
    try:
        splits = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"split file {config.split_file!r} is no JSON: {error}") from error
    if not isinstance(splits, dict) or config.split not in splits:
        raise ValueError(
            f"split {config.split!r} is not in {config.split_file!r}; "
            f"it has {', '.join(sorted(splits))}"
        )
    return list(splits[config.split])


def _full_names(names: Sequence[str], content: Content) -> list[str]:
    """The content's file names for names that may lack folder and extension."""
    listed = [str(image["file_name"]) for image in content["images"]]
    exact, by_stem = set(listed), {Path(name).stem: name for name in listed}
    return [name if name in exact else by_stem.get(Path(name).stem, name) for name in names]


def _hold_out(data: CocoDataset, every: int, *, held_out: bool) -> CocoDataset:
    if not every:
        return dataclasses.replace(data, images=() if held_out else data.images)
    chosen = [i for n, i in enumerate(data.images) if (n % every == 0) == held_out]
    return dataclasses.replace(data, images=chosen)


def drop_missing_images(data: CocoDataset, skip: bool) -> CocoDataset:
    """Leaves out images without a file, noting them in the problems.

    Raises:
        ValueError: files are missing and `skip` is False, or none is left.
    """
    missing = [image for image in data.images if not image.path.is_file()]
    for image in missing:
        data.problems.note(defects.MISSING_IMAGE, str(image.path))
    if missing and (not skip or len(missing) == len(data.images)):
        raise ValueError(
            f"{len(missing)} of {len(data.images)} image files are missing, the first is "
            f"{str(missing[0].path)!r}; check the folder, or set missing_images to skip"
        )
    gone = {image.image_id for image in missing}
    return dataclasses.replace(data, images=[i for i in data.images if i.image_id not in gone])

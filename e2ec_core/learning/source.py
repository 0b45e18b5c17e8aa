"""From the settings of a run to labelled images."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from e2ec_core.data.cache import remember
from e2ec_core.data.coco import dataset_from_content
from e2ec_core.data.content import Content, file_name
from e2ec_core.data.dataset import CocoDataset
from e2ec_core.data.formats import load_content
from e2ec_core.data.packed import PackedImages
from e2ec_core.data.problems import Problems
from e2ec_core.image_files import IMAGE_ENDINGS
from e2ec_core.learning.config import DataConfig, TrainConfig
from e2ec_core.value_range import parse_range

_log = logging.getLogger(__name__)


def load_data(
    config: DataConfig, class_names: Sequence[str] | None, *, held_out: bool
) -> CocoDataset:
    """Reads one set of images, compares it with the files and makes sure that it holds objects.

    Args:
        config: where it lies and in which format.
        class_names: classes wanted; None takes all.
        held_out: give the images that `hold_out` leaves out instead of the others.

    Raises:
        ValueError: the labels cannot be read; the split is not in the split file, or the labels
            lack all of its images; image files are missing and `missing_images` is `error`; or no
            image has a usable object.
    """
    data = open_data(config, class_names, held_out=held_out)
    data.require_objects(config.annotations)
    return data


def read_training_data(config: TrainConfig) -> list[CocoDataset]:
    """Reads the training sets of a run, repeated as it asks, and logs what is wrong with them.

    A set may hold images without objects alone where another one has objects.

    Raises:
        ValueError: as `load_data`.
    """
    sets = [open_data(source, config.model.class_names, held_out=False) for source in config.train]
    if os.environ.get("RANK", "0") == "0":
        for source, data in zip(config.train, sets, strict=True):
            report(data, source.annotations)
    for source, data in zip(config.train, sets, strict=True):
        if data.problems.losses or len(sets) == 1:
            data.require_objects(source.annotations)
    return [data for s, data in zip(config.train, sets, strict=True) for _ in range(s.repeat)]


def report(data: CocoDataset, source: str) -> None:
    """Logs what is wrong with a data set."""
    for line in data.report():
        _log.warning("%s: %s", source, line)


def open_data(
    config: DataConfig, class_names: Sequence[str] | None, *, held_out: bool
) -> CocoDataset:
    """As `load_data`, also where no image has a usable object."""
    names = split_names(config)
    data = remember(
        lambda: _read(config, class_names, names),
        Path(config.annotations),
        Path(config.images),
        *(config.format, config.outline, config.missing_images, class_names, names),
    )
    assert isinstance(data.images, PackedImages)
    images = PackedImages(data.images.buffer, data.images.chosen, parse_range(config.range))
    if config.hold_out:
        images = images.hold_out(config.hold_out, held_out=held_out)
    elif held_out:
        images = images[:0]
    return dataclasses.replace(data, images=images)


def _read(
    config: DataConfig, class_names: Sequence[str] | None, names: Sequence[str] | None
) -> CocoDataset:
    """Reads the labels and compares them with the image files."""
    problems = Problems()
    content = load_content(
        config.format,
        config.annotations,
        config.images,
        names,
        outline=config.outline,
        problems=problems,
    )
    return dataset_from_content(
        content,
        config.images,
        class_names=class_names,
        file_names=None if names is None else _full_names(names, content, config),
        source=config.annotations,
        problems=problems,
        check_files=True,
        skip_missing=config.missing_images == "skip",
    )


def split_names(config: DataConfig) -> list[str] | None:
    """Reads the file names of the split, one on each line of a list; None without a split file.

    Raises:
        ValueError: the split file is missing or broken, or lacks the split.
    """
    if not config.split_file:
        return None
    path = Path(config.split_file)
    if not path.is_file():
        raise ValueError(f"split file {config.split_file!r} does not exist; check the path")
    content = path.read_bytes()
    try:
        if path.suffix == ".txt":
            wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
            lines = content.decode("utf-16" if wide else "utf-8-sig").splitlines()
            return [line for line in lines if line.strip()]
        splits = json.loads(content)
    except ValueError as error:
        kind = "text in UTF-8" if path.suffix == ".txt" else "JSON"
        raise ValueError(f"split file {config.split_file!r} is no {kind}: {error}") from error
    if not isinstance(splits, dict) or config.split not in splits:
        known = ", ".join(sorted(splits)) if isinstance(splits, dict) else "no lists by name"
        raise ValueError(f"split {config.split!r} is not in {config.split_file!r}; it has {known}")
    if not isinstance(splits[config.split], list):
        raise ValueError(f"split {config.split!r} of {config.split_file!r} is no list of names")
    return [str(name) for name in splits[config.split]]


def _full_names(names: Iterable[str], content: Content, config: DataConfig) -> list[str]:
    """The labels' file names for names of a split, which may lack folder, ending and blanks.

    Raises:
        ValueError: a name fits several images.
    """
    listed = [file_name(image["file_name"]) for image in content["images"]]
    exact = set(listed)
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in listed:
        by_stem[_without_ending(name).split("/")[-1]].append(name)
    full = []
    for name in map(file_name, names):
        name = name if name in exact else name.strip()
        if name not in exact:
            wanted = _without_ending(name)
            found = [n for n in by_stem[wanted.split("/")[-1]] if _one_ends_other(n, wanted)]
            if len(set(found)) > 1:
                raise ValueError(
                    f"{name!r} of split file {config.split_file!r} fits both {found[0]!r} and "
                    f"{found[1]!r}; give the folder as well"
                )
            name = found[0] if found else name
        full.append(name)
    return full


def _without_ending(name: str) -> str:
    name = name.strip()
    stem, dot, ending = name.rpartition(".")
    return stem if dot and f".{ending.lower()}" in IMAGE_ENDINGS else name


def _one_ends_other(listed: str, wanted: str) -> bool:
    a, b = f"/{_without_ending(listed)}", f"/{wanted.removeprefix('/')}"
    return a.endswith(b) or b.endswith(a)

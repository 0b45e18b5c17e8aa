"""One way to read any of the data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import get_args

from e2ec_core.data.cityscapes import read_cityscapes
from e2ec_core.data.class_names import CLASS_NAMES, DatasetName, LabelFormat
from e2ec_core.data.coco import dataset_from_content
from e2ec_core.data.content import Content, read_content
from e2ec_core.data.dataset import CocoDataset
from e2ec_core.data.kins import OutlineChoice, read_kins
from e2ec_core.data.labelme import read_labelme
from e2ec_core.data.problems import Problems
from e2ec_core.data.sbd import read_sbd
from e2ec_core.data.yolo import read_yolo


def format_classes(label_format: LabelFormat) -> tuple[str, ...] | None:
    """The classes of a data set; None where the labels name their own."""
    named: dict[str, tuple[str, ...]] = {n: c for n, c in CLASS_NAMES.items() if n != "coco"}
    return named.get(label_format)


def rules_of(label_format: LabelFormat) -> DatasetName:
    """By whose rules labels of a form are measured."""
    own: dict[str, DatasetName] = {name: name for name in get_args(DatasetName)}
    return own.get(label_format, "coco")


def read_dataset(
    dataset_format: LabelFormat,
    annotations: str | Path,
    image_folder: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    file_names: Iterable[str] | None = None,
    outline: OutlineChoice = "amodal",
) -> CocoDataset:
    """Reads labelled images.

    Args:
        dataset_format: coco, kins, sbd, cityscapes, labelme or yolo.
        annotations: file or folder of the labels, see the format's own reader.
        image_folder: where the image files lie.
        class_names: the classes wanted, in channel order; default those of the data set, for coco
            all of the file in the order of their ids.
        file_names: only these images; default all.
        outline: of KINS, whole objects, their visible parts, or both.

    Raises:
        ValueError: unknown format, or the labels are missing, broken or lack what is asked for.
    """
    names = None if file_names is None else tuple(file_names)
    if class_names is None:
        class_names = format_classes(dataset_format)
    problems = Problems()
    content = load_content(
        dataset_format, annotations, image_folder, names, outline=outline, problems=problems
    )
    return dataset_from_content(
        content,
        image_folder,
        class_names=class_names,
        file_names=names,
        source=str(annotations),
        problems=problems,
    )


def load_content(
    dataset_format: LabelFormat,
    annotations: str | Path,
    image_folder: str | Path,
    file_names: Iterable[str] | None = None,
    *,
    outline: OutlineChoice = "amodal",
    problems: Problems | None = None,
) -> Content:
    """Labels of any format in COCO's form, which is also the ground truth of evaluations.

    Args:
        dataset_format: as `read_dataset`.
        annotations: as `read_dataset`.
        image_folder: as `read_dataset`.
        file_names: spares formats of one file per image the reading of others.
        outline: as `read_dataset`.
        problems: where defects are counted.

    Raises:
        ValueError: as `read_dataset`.
    """
    noted = Problems() if problems is None else problems
    readers: dict[LabelFormat, Callable[[], Content]] = {
        "coco": lambda: read_content(annotations, noted),
        "kins": lambda: read_kins(annotations, outline, noted),
        "sbd": lambda: read_sbd(annotations, file_names, noted),
        "labelme": lambda: read_labelme(annotations, file_names, noted),
        "yolo": lambda: read_yolo(annotations, image_folder, file_names, noted),
        "cityscapes": lambda: read_cityscapes(annotations, image_folder, file_names, noted),
    }
    if dataset_format not in readers:
        choices = ", ".join(get_args(LabelFormat))
        raise ValueError(f"format is {dataset_format!r}; choose one of {choices}")
    return readers[dataset_format]()

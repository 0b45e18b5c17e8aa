"""YOLO's segmentation labels: a text file for every image, polygons in shares of its sides."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from e2ec_core.data import problems as defects
from e2ec_core.data.content import Content
from e2ec_core.data.problems import Problems
from e2ec_core.image_files import IMAGE_ENDINGS, natural_key, read_header


def read_yolo(
    annotations: str | Path,
    image_folder: str | Path,
    file_names: Iterable[str] | None,
    problems: Problems,
) -> Content:
    """Reads YOLO-seg labels into COCO's form.

    A line of a text file is a class number and x, y, x, y, ... in 0..1 of the upright image. An
    image without a text file holds no object. Lines with a box alone are left out.

    Args:
        annotations: folder of the text files, with `data.yaml` or `classes.txt` in it or beside
            it; or `data.yaml` itself, whose text files lie where YOLO looks for them: in the
            folder `labels` that stands in the place of `images`.
        image_folder: folder of the images, with the same folders in it.
        file_names: images wanted; default all.
        problems: where defects are counted.

    Raises:
        ValueError: there are no class names, no text files or no images.
    """
    path, images = Path(annotations), Path(image_folder)
    names = _class_names(path)
    folder = _labels_beside(images, path) if path.is_file() else path
    wanted = None if file_names is None else set(file_names)
    content: Content = {"images": [], "annotations": [], "categories": []}
    content["categories"] = [{"id": i, "name": name} for i, name in enumerate(names)]
    files = (f for f in images.rglob("*") if f.suffix.lower() in IMAGE_ENDINGS)
    texts = 0
    for file in sorted(files, key=natural_key):
        name = file.relative_to(images).as_posix()
        if wanted is not None and name not in wanted:
            continue
        image = {"id": len(content["images"]) + 1, "file_name": name}
        try:
            height, width = read_header(file).upright_size
        except (ValueError, OSError):  # its reader tells why
            content["images"].append(image)
            continue
        content["images"].append(image | {"height": height, "width": width})
        text = folder / Path(name).with_suffix(".txt")
        if not text.is_file():
            continue
        texts += 1
        for number, line in enumerate(text.read_text(errors="replace").splitlines(), start=1):
            place = f"line {number} of {text.name}"
            _add(content, line.split(), image["id"], (width, height), place, problems)
    if not content["images"]:
        raise ValueError(f"folder {str(images)!r} has no image; give the folder of the images")
    if not texts:
        raise ValueError(
            f"folder {str(folder)!r} has no .txt file named like an image in {str(images)!r}; "
            "give the folder of the labels"
        )
    return content


def _add(
    content: Content,
    words: list[str],
    image_id: Any,
    size: tuple[int, int],
    place: str,
    problems: Problems,
) -> None:
    if not words:
        return
    try:
        class_id, shares = int(float(words[0])), np.array(words[1:], np.float64)
    except ValueError:
        problems.note(defects.NO_NUMBERS, place)
        return
    if len(shares) < 6 or len(shares) % 2:
        kind = defects.NO_SEGMENTATION if len(shares) == 4 else defects.FEW_POINTS
        problems.note(kind, place)
        return
    content["annotations"].append(
        {
            "id": len(content["annotations"]) + 1,
            "image_id": image_id,
            "category_id": class_id,
            "segmentation": [(shares.reshape(-1, 2) * size).ravel().tolist()],
            "iscrowd": 0,
        }
    )


def _class_names(path: Path) -> list[str]:
    folder = path.parent if path.is_file() else path
    candidates = [path] if path.is_file() else []
    for place in (folder, folder.parent, folder.parent.parent):
        candidates += [place / name for name in ("data.yaml", "data.yml", "classes.txt")]
    for file in candidates:
        if not file.is_file():
            continue
        if file.suffix == ".txt":
            return [line.strip() for line in file.read_text().splitlines() if line.strip()]
        try:
            names = yaml.safe_load(file.read_text())["names"]
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise ValueError(f"{str(file)!r} has no list `names` of the classes") from error
        if isinstance(names, dict):
            return [str(names.get(i, f"class {i}")) for i in range(max(names) + 1)]
        return [str(name) for name in names]
    raise ValueError(f"no data.yaml or classes.txt in or beside {str(folder)!r}: give data.yaml")


def _labels_beside(images: Path, data_file: Path) -> Path:
    """`a/labels/train` for the images in `a/images/train`, or `labels` beside the data file."""
    parts = list(images.resolve().parts)
    if "images" in parts:
        index = len(parts) - 1 - parts[::-1].index("images")
        return Path(*parts[:index], "labels", *parts[index + 1 :])
    return data_file.parent / "labels"

"""KINS in both of its published forms: whole (amodal) outlines or visible parts."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from e2ec_core.data.content import Content, entry_key, read_json, sound_content
from e2ec_core.data.problems import Problems

OutlineChoice = Literal["amodal", "visible", "both"]
"""Which outlines of an object are read: behind its occluders as well, what is seen, or both."""

CATEGORIES = MappingProxyType(
    {1: "cyclist", 2: "pedestrian", 4: "car", 5: "tram", 6: "truck", 7: "van", 8: "misc"}
)
"""Names by id. Id 3 (rider) is defined in some files and has no object."""

_KEYS: dict[str, tuple[dict[str, str], ...]] = {
    "amodal": (
        {"segmentation": "a_segm", "bbox": "a_bbox", "area": "a_area"},
        {"segmentation": "segmentation", "bbox": "bbox", "area": "area"},
    ),
    "visible": (
        {"segmentation": "i_segm", "bbox": "i_bbox", "area": "i_area"},
        {"segmentation": "inmodal_seg", "bbox": "inmodal_bbox"},
    ),
}
"""Our keys and the files': first the form of 2020, then that of 2019."""


def read_kins(annotations: str | Path, outline: OutlineChoice, problems: Problems) -> Content:
    """Reads a KINS file into COCO's form.

    Two forms exist. `instances_{train,val}.json` of 2019 has amodal polygons in `segmentation` and
    visible masks as run lengths in `inmodal_seg`; `update_{train,test}_2020.json` has `a_segm` and
    `i_segm` and no `segmentation`.

    Args:
        annotations: the JSON file.
        outline: which outline becomes `segmentation`, `bbox` and `area`; of both it is the visible
            one, and the amodal one becomes `amodal_segmentation`.
        problems: where defects are counted.

    Returns:
        COCO content with the seven classes under their names of `CATEGORIES`.

    Raises:
        ValueError: the file is missing or has neither form, or an unknown `outline`.
    """
    if outline not in get_args(OutlineChoice):
        raise ValueError(f"outline is {outline!r}; choose amodal, visible or both")
    path = Path(annotations)
    content = read_json(path)
    if isinstance(content, dict):
        plain = [{"id": key, "name": name} for key, name in CATEGORIES.items()]
        content = {**content, "categories": content.get("categories") or plain}
    content = sound_content(content, str(path), "KINS' format", problems)
    labels = content["annotations"]
    kind = "visible" if outline == "both" else outline
    keys = _form(labels, kind)
    if outline == "both":
        keys = {**keys, "amodal_segmentation": _form(labels, "amodal")["segmentation"]}
    converted = [_convert(label, keys) for label in labels]
    if labels and not any(label["segmentation"] for label in converted):
        wanted = " or ".join(form["segmentation"] for form in _KEYS[kind])
        raise ValueError(f"{str(path)!r} has no {kind} outlines: no annotation has {wanted}")
    named = [{**c, "name": canonical_name(c, CATEGORIES)} for c in content["categories"]]
    return {"images": content["images"], "annotations": converted, "categories": named}


def canonical_name(category: Content, names: MappingProxyType[int, str]) -> str:
    """A category's name as the data set spells it; an unknown name is looked up by its id."""
    name, key = str(category.get("name") or "").strip().lower(), entry_key(category["id"])
    return name if name in names.values() or not isinstance(key, int) else names.get(key, name)


def _form(labels: list[Content], outline: str) -> dict[str, str]:
    recent, first = _KEYS[outline]
    return recent if any(recent["segmentation"] in label for label in labels) else first


def _convert(label: Content, keys: dict[str, str]) -> Content:
    converted = {
        "id": label.get("id", "?"),
        "image_id": label["image_id"],
        "category_id": label["category_id"],
        "iscrowd": label.get("iscrowd", 0),
    }
    found = {ours: label[theirs] for ours, theirs in keys.items() if theirs in label}
    return {"segmentation": None} | converted | found

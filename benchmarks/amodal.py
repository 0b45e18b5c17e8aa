"""What amodal outlines are worth: visible and amodal contours against the truth, by hidden share.

python benchmarks/amodal.py --scenes SCENES --coco COCO --cocoa COCOA --kitti KITTI

* SCENES: `e2ec scenes FOLDER --seed 77 --count 60 --segmentation visible`, of a seed that no
  weights were trained on;
* COCO: folder with `images`, `annotations/instances.json` and `annotations/splits.json`. Objects
  of its val2017 images that nothing labelled touches are covered by objects of other images:
  their own outline is the truth;
* COCOA: folder of images with COCOA's JSON beside them (amodal polygons drawn by people);
* KITTI: folder with `image_2` and `label_2`; boxes enclose what is hidden.

Contours grow in the true boxes of what is visible, and for KITTI from the model's own detections.
Each part is left out where its folder is not given. Writes amodal.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from tqdm import tqdm

from e2ec_core.data.coco import read_coco
from e2ec_core.data.labelled import Instance
from e2ec_core.evaluation.contour_iou import annotation_to_rle, contour_ious
from e2ec_core.geometry import Polygon
from e2ec_core.image_files import read_image
from e2ec_core.inference import Predictor
from e2ec_core.inference.torch_predictor import TorchPredictor, load_torch_predictor
from e2ec_core.learning.augment import AugmentConfig, View, paste
from e2ec_core.learning.whole_outlines import with_assumed_whole
from e2ec_core.predictor_settings import PredictorSettings
from e2ec_core.shipped_weights import shipped_weights

BINS = ((0.0, 0.02, "0"), (0.02, 0.3, "up to .3"), (0.3, 0.6, ".3 to .6"), (0.6, 1.0, "above .6"))
"""Hidden shares: above the first, up to the second number."""
LEAST_BOX = 16
"""Px of the visible box's shorter side; smaller objects are left out."""


class Case(NamedTuple):
    """One object with both truths."""

    box: NDArray[np.float64]
    """Of what is visible, [4] xyxy, image px with edges at the integers."""
    visible: dict[str, Any]
    """Run lengths of what is visible."""
    whole: dict[str, Any]
    """Run lengths of the whole object, inside the image."""
    hidden: float
    """1 - visible area / whole area."""


Cases = Iterator[tuple[NDArray[np.uint8], list[Case]]]


def case(
    visible: Sequence[Polygon], whole: Sequence[Polygon], size: tuple[int, int]
) -> Case | None:
    """An object from its polygons; None if too little of it is visible."""
    masks = [
        annotation_to_rle({"segmentation": [p.ravel().tolist() for p in parts]}, *size)
        for parts in (visible, whole)
    ]
    return _case(*masks)


def _case(visible: dict[str, Any], whole: dict[str, Any]) -> Case | None:
    left, top, width, height = coco_mask.toBbox(visible).tolist()
    if min(width, height) < LEAST_BOX:
        return None
    areas = coco_mask.area([visible, whole]).astype(float)
    box = np.array([left, top, left + width, top + height])
    return Case(box, visible, whole, max(0.0, 1 - areas[0] / areas[1]))


def scenes(folder: Path) -> Cases:
    """Generated scenes, whose truth is exact."""
    data = read_coco(folder / "annotations" / "instances_train.json", folder / "train")
    for image in data.images:
        size = image.height, image.width
        found = [case(i.parts, i.whole, size) for i in image.instances if i.whole]
        yield image.read(), [c for c in found if c]


def pasted(folder: Path, seed: int = 0) -> Cases:
    """Validation images, in each of which objects of another image cover parts of its own."""
    names = json.loads((folder / "annotations" / "splits.json").read_text())["val2017"]
    data = read_coco(
        folder / "annotations" / "instances.json", folder / "images", file_names=names
    )
    rng = np.random.default_rng(seed)
    config = AugmentConfig(min_visible=0.1, min_area=80)
    images = list(data.images)
    for image in images:
        size = image.height, image.width
        own = with_assumed_whole(image.instances)
        view = View(image=image.read(), instances=own)
        known = [i for i in own if i.whole and min(_sides(i)) >= 2 * LEAST_BOX]
        for below in rng.permutation(np.array(known, object))[:3]:
            other = images[int(rng.integers(len(images)))]
            candidates = [i for i in with_assumed_whole(other.instances) if i.whole]
            if candidates:
                above = candidates[int(rng.integers(len(candidates)))]
                view = _cover(view, below, other.read(), above, rng, config)
        found = [case(i.parts, i.whole, size) for i in view.instances if i.whole]
        yield view.image, [c for c in found if c]


def _sides(instance: Instance) -> NDArray[np.float64]:
    box = instance.box_xyxy
    return box[2:] - box[:2]


def _cover(
    view: View,
    below: Instance,
    pixels: NDArray[np.uint8],
    above: Instance,
    rng: np.random.Generator,
    config: AugmentConfig,
) -> View:
    """Lays an object over another, at its size, so that it hides one side of it."""
    scale = float(_sides(below).max() / _sides(above).max()) * rng.uniform(0.6, 1.1)
    box = below.box_xyxy
    target = rng.uniform(box[:2], box[2:])
    centre = scale * (above.box_xyxy[:2] + above.box_xyxy[2:]) / 2
    matrix = np.array([[scale, 0, target[0] - centre[0]], [0, scale, target[1] - centre[1]]])
    height, width = view.image.shape[:2]
    moved = cv2.warpAffine(pixels, matrix, (width, height))
    parts = tuple(part * scale + matrix[:, 2] for part in above.parts)
    over = Instance(class_id=above.class_id, parts=parts)
    return paste(view, np.asarray(moved, np.uint8), over, config)


def cocoa(folder: Path) -> Cases:
    """COCOA's images: regions with amodal polygons, and the mask of what is visible of them."""
    for path in sorted(folder.rglob("*.json")):
        image = read_image(path.with_suffix(".jpg"))
        found = []
        for region in json.loads(path.read_text())["regions"]:
            if region.get("isStuff"):
                continue
            whole = annotation_to_rle({"segmentation": [region["segmentation"]]}, *image.shape[:2])
            seen = region.get("visible_mask")
            found.append(_case(_bytes(seen) if seen else whole, whole))
        yield image, [c for c in found if c]


def _bytes(rle: dict[str, Any]) -> dict[str, Any]:
    return {"size": rle["size"], "counts": rle["counts"].encode()}


def by_hidden_share(predictor: TorchPredictor, cases: Cases) -> list[str]:
    """Rows of a table: hidden share, objects, and IoU of both contours with both truths."""
    rows: list[tuple[float, float, float, float]] = []
    for image, objects in tqdm(cases, unit="image"):
        if not objects:
            continue
        found = predictor.every_stage(image, np.stack([c.box for c in objects]))
        last, amodal = list(found.values())[-2:]
        whole = [c.whole for c in objects]
        rows += zip(
            [c.hidden for c in objects],
            contour_ious(last.given, [c.visible for c in objects]),
            contour_ious(last.given, whole),
            contour_ious(amodal.given, whole),
            strict=True,
        )
    table = np.array(rows)
    lines = []
    for low, high, name in BINS:
        chosen = table[(table[:, 0] >= low) & (table[:, 0] < high)]
        if len(chosen):
            seen, plain, full = chosen[:, 1:].mean(axis=0)
            better = np.mean(chosen[:, 3] > chosen[:, 2])
            ious = f"{seen:.3f} | {plain:.3f} | {full:.3f}"
            lines.append(f"| {name} | {len(chosen)} | {ious} | {better:.2f} |")
    return lines


def kitti(predictor: Predictor, folder: Path) -> list[str]:
    """Rows: occlusion level, objects, and IoU of both contours' boxes with the label's box."""
    classes = {"Car": "car", "Van": "car", "Truck": "truck", "Pedestrian": "person"}
    names = predictor.info.config.class_names
    rows = []
    for path in sorted((folder / "image_2").iterdir()):
        found = predictor(read_image(path)).contours
        assert found.amodal_vertices is not None
        boxes = [_boxes(v) for v in (found.vertices, found.amodal_vertices)]
        for line in (folder / "label_2" / f"{path.stem}.txt").read_text().splitlines():
            words = line.split()
            if words[0] not in classes or float(words[1]) > 0:
                continue
            of_class = found.class_ids == names.index(classes[words[0]])
            label = np.array(words[4:8], float)
            seen, whole = (_iou(b, label) * of_class for b in boxes)
            both = np.maximum(seen, whole)
            if len(both) and both.max() >= 0.3:
                best = int(both.argmax())
                rows.append((int(words[2]), seen[best], whole[best]))
    table = np.array(rows)
    lines = []
    for level, name in enumerate(("fully visible", "partly hidden", "largely hidden")):
        chosen = table[table[:, 0] == level, 1:]
        if len(chosen):
            seen, whole = chosen.mean(axis=0)
            lines.append(f"| {level} ({name}) | {len(chosen)} | {seen:.3f} | {whole:.3f} |")
    return lines


def _boxes(vertices: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([vertices.min(axis=1), vertices.max(axis=1)], axis=1)


def _iou(boxes: NDArray[np.float32], box: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    shared = (high - low).clip(0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    iou: NDArray[np.float64] = shared / (areas - shared)
    return iou


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("scenes", "coco", "cocoa", "kitti"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--weights", help="default the ones that ship")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = PredictorSettings(amodal=True)
    weights = options.weights or shipped_weights()
    predictor = load_torch_predictor(weights, device="cpu", settings=settings)
    lines = [
        "# Amodal outlines",
        "",
        f"{predictor.info.name}, contours grown in the true boxes of what is visible, mean IoU by "
        "the share of the object that is hidden; the last column is the share of objects whose "
        "amodal contour fits the whole object better than the visible one. Written by "
        "`python benchmarks/amodal.py`.",
    ]
    sources = {
        "Generated scenes of a seed that was not trained on": (scenes, options.scenes),
        "COCO val2017 images with objects pasted over their own": (pasted, options.coco),
        "COCOA (labelled by people)": (cocoa, options.cocoa),
    }
    for title, (source, folder) in sources.items():
        if folder:
            lines += [
                *("", f"## {title}", ""),
                "| hidden | objects | visible contour, visible truth "
                "| visible contour, whole truth | amodal contour, whole truth | amodal better |",
                "|---|---|---|---|---|---|",
                *by_hidden_share(predictor, source(folder)),
            ]
    if options.kitti:
        lines += [
            *("", "## KITTI: boxes around contours of the model's own detections", ""),
            "| occlusion level | objects | visible contour | amodal contour |",
            "|---|---|---|---|",
            *kitti(predictor, options.kitti),
        ]
    options.output.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

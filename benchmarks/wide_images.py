"""What size a wide street image should have for the network: box AP and time by `short_side`.

python benchmarks/wide_images.py KITTI_FOLDER [--threads 1]

KITTI_FOLDER holds KITTI's `image_2` and `label_2`. Cars (with vans) and people (with cyclists) are
measured by the boxes around the contours, by COCO's rules; DontCare regions count nowhere. The
sizes take turns, so that whatever else the computer does meets all of them. Writes wide_images.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from e2ec_core.evaluation.evaluator import CocoEvaluator
from e2ec_core.image_files import list_images, read_image
from e2ec_core.inference import Predictor
from e2ec_core.predictor_settings import PredictorSettings

SIZES = (320, 384, 448, 512)
CLASSES = {"Car": 1, "Van": 1, "Pedestrian": 2, "Person_sitting": 2, "Cyclist": 2}
NAMES = {1: "car", 2: "person"}


def ground_truth(folder: Path, images: list[Path]) -> dict[str, Any]:
    """KITTI's boxes in COCO's form; DontCare becomes a crowd of either class."""
    content: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name} for number, name in NAMES.items()],
    }
    for number, path in enumerate(images):
        height, width = read_image(path).shape[:2]
        content["images"].append({"id": number, "height": height, "width": width})
        for line in (folder / "label_2" / f"{path.stem}.txt").read_text().splitlines():
            words = line.split()
            left, top, right, bottom = map(float, words[4:8])
            ids = [CLASSES[words[0]]] if words[0] in CLASSES else []
            ids = list(NAMES) if words[0] == "DontCare" else ids
            for category in ids:
                content["annotations"].append(
                    {
                        "id": len(content["annotations"]) + 1,
                        "image_id": number,
                        "category_id": category,
                        "bbox": [left, top, right - left, bottom - top],
                        "area": (right - left) * (bottom - top),
                        "iscrowd": int(words[0] == "DontCare"),
                    }
                )
    return content


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", help="default the ones that ship")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    paths = list_images(options.folder / "image_2").files
    truth = ground_truth(options.folder, paths)
    load = Predictor.from_checkpoint if options.weights else Predictor.from_pretrained
    predictor = load(*filter(None, [options.weights]), device="cpu")
    names = predictor.info.config.class_names
    base = PredictorSettings(score_threshold=0.01, max_instances=100, long_side=0)
    evaluators = {
        side: CocoEvaluator(truth, class_names=names, kinds=("box",), subsets={}) for side in SIZES
    }
    times: dict[int, list[float]] = {side: [] for side in SIZES}
    for number, path in enumerate(paths):
        image = read_image(path)
        for side in SIZES:
            predictor.settings = dataclasses.replace(base, short_side=side)
            contours = predictor(image).contours
            evaluators[side].process(number, contours)
            predictor.settings = dataclasses.replace(predictor.settings, max_instances=32)
            for _ in range(3):
                started = time.perf_counter()
                predictor(image)
                times[side].append(1000 * (time.perf_counter() - started))
    lines = [
        "# Sizes of wide images",
        "",
        f"{len(paths)} KITTI frames of about 1242 x 375 px, box AP of cars and people together "
        f"(boxes around the contours; labels enclose hidden parts too), {predictor.info.name}, "
        f"{options.threads} thread(s) of a CPU, PyTorch {torch.__version__}, K = 32 for the time. "
        "Written by `python benchmarks/wide_images.py KITTI_FOLDER`.",
        "",
        "| short_side | box AP | AP50 | AP small | AP medium | AP large | median ms | least ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for side, evaluator in evaluators.items():
        found = evaluator.evaluate()
        kinds = ("AP", "AP50", "AP_small", "AP_medium", "AP_large")
        cells = " | ".join(f"{found[f'box/{kind}']:.3f}" for kind in kinds)
        spent = f"{statistics.median(times[side]):.0f} | {min(times[side]):.0f}"
        lines.append(f"| {side} | {cells} | {spent} |")
    options.output.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

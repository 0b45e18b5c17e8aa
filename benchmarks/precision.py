"""How far contours move in half precision: bf16 or fp16 against fp32, on photographs.

python benchmarks/precision.py [--weights FILE] [--device auto] [--precision bf16]

Pairs instances of one class whose boxes overlap by half, and writes precision.md. The photographs
come with scikit-image.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask
from skimage import data

from e2ec_core.contours import Contours
from e2ec_core.device import choose_device
from e2ec_core.inference import Predictor
from e2ec_core.predictor_settings import PredictorSettings
from e2ec_core.shipped_weights import shipped_weights
from street_scenes import make_scene

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
SCENES = range(4)
SETTINGS = PredictorSettings(score_threshold=0.3)


def images() -> list[tuple[str, NDArray[np.uint8]]]:
    """Names and RGB images."""
    photographs = [(name, np.ascontiguousarray(getattr(data, name)())) for name in PHOTOGRAPHS]
    return photographs + [(f"scene {i}", make_scene(i, 1242, 375).image_rgb) for i in SCENES]


def pairs(a: Contours, b: Contours) -> list[tuple[int, int]]:
    """Instances of one class whose boxes overlap by more than half, best first."""
    if not len(a) or not len(b):
        return []
    boxes = (c.boxes_xyxy.astype(np.float64) for c in (a, b))
    overlap = mask.iou(*(np.hstack([x[:, :2], x[:, 2:] - x[:, :2]]) for x in boxes), [0] * len(b))
    overlap = np.where(a.class_ids[:, None] == b.class_ids, overlap, 0.0)
    found = []
    for i in range(len(a)):
        j = int(overlap[i].argmax())
        if overlap[i, j] > 0.5:
            found.append((i, j))
            overlap[:, j] = 0.0
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, default=shipped_weights())
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp16"))
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    exact, rounded = (
        Predictor.from_checkpoint(
            options.weights, device=options.device, precision=precision, settings=SETTINGS
        )
        for precision in ("fp32", options.precision)
    )
    lines = [
        f"# {options.precision} against fp32",
        "",
        f"`{options.weights.name}` on {choose_device(options.device)}, PyTorch "
        f"{torch.__version__}; instances above a score of {SETTINGS.score_threshold}. Written by "
        "`python benchmarks/precision.py`.",
        "",
        f"| image | instances, fp32 | {options.precision} | in both | vertices move, mean px "
        "| largest, px | largest change of score |",
        "|---|---|---|---|---|---|---|",
    ]
    distances = []
    for name, image in images():
        a, b = exact(image).contours, rounded(image).contours
        same = pairs(a, b)
        moved = [np.linalg.norm(a.vertices[i] - b.vertices[j], axis=1) for i, j in same]
        scores = max((abs(float(a.scores[i] - b.scores[j])) for i, j in same), default=0.0)
        distance = np.concatenate(moved) if moved else np.zeros(1)
        distances.append(distance)
        lines.append(
            f"| {name} | {len(a.scores)} | {len(b.scores)} | {len(same)} "
            f"| {distance.mean():.2f} | {distance.max():.2f} | {scores:.3f} |"
        )
    everything = np.concatenate(distances)
    lines += ["", f"All: mean {everything.mean():.2f} px, largest {everything.max():.2f} px."]
    options.output.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

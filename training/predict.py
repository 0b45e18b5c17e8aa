"""Draws the contours of images without ROS: python training/predict.py IMAGE... --output DIR."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2

from e2ec_core.contours import STAGES
from e2ec_core.image_files import read_image
from e2ec_core.inference import Predictor, PredictorSettings, draw_contours

SHIPPED_WEIGHTS = Path(__file__).resolve().parent.parent / "weights" / "e2ec_lite.safetensors"


def main() -> int:
    """Command line."""
    defaults = PredictorSettings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+", type=Path, help="image files")
    parser.add_argument("--output", type=Path, default=Path("contours"), help="folder of pictures")
    parser.add_argument("--weights", type=Path, default=SHIPPED_WEIGHTS, help="weights file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--score", type=float, default=defaults.score_threshold)
    parser.add_argument("--max-instances", type=int, default=defaults.max_instances)
    parser.add_argument(
        "--nms-iou", type=float, default=defaults.nms_iou, help="1 keeps repeated instances"
    )
    parser.add_argument("--stage", choices=STAGES, default=defaults.stage)
    parser.add_argument("--short-side", type=int, default=defaults.short_side)
    parser.add_argument("--long-side", type=int, default=defaults.long_side)
    arguments = parser.parse_args()
    try:
        settings = PredictorSettings(
            score_threshold=arguments.score,
            max_instances=arguments.max_instances,
            nms_iou=arguments.nms_iou,
            stage=arguments.stage,
            short_side=arguments.short_side,
            long_side=arguments.long_side,
        )
        predictor = Predictor.from_checkpoint(
            arguments.weights, device=arguments.device, settings=settings
        )
        for path, name in zip(arguments.images, picture_names(arguments.images), strict=True):
            print(draw_file(predictor, path, arguments.output / name))
    except (ValueError, OSError) as error:
        print(f"predict: {error}", file=sys.stderr)
        return 2
    return 0


def picture_names(paths: Sequence[Path]) -> list[str]:
    """Names of the pictures; images of the same name are told apart by numbers."""
    seen: Counter[str] = Counter()
    names = []
    for path in paths:
        seen[path.stem] += 1
        number = "" if seen[path.stem] == 1 else f"_{seen[path.stem]}"
        names.append(f"{path.stem}{number}.png")
    return names


def draw_file(predictor: Predictor, path: Path, target: Path) -> str:
    """Draws one image into the file `target` and returns a line about it.

    Raises:
        ValueError: the image cannot be read.
        OSError: the picture cannot be written.
    """
    image = read_image(path, upright=True)
    names = predictor.info.config.class_names
    prediction = predictor(image)
    target.parent.mkdir(parents=True, exist_ok=True)
    drawn = draw_contours(image, prediction.contours, names)
    if not cv2.imwrite(str(target), drawn[..., ::-1]):
        raise OSError(f"picture {str(target)!r} cannot be written")
    found = ", ".join(
        f"{names[class_id]} {score:.2f}"
        for class_id, score in zip(
            prediction.contours.class_ids, prediction.contours.scores, strict=True
        )
    )
    return f"{target}: {found or 'nothing found'} ({1000 * prediction.timing.inference:.0f} ms)"


if __name__ == "__main__":
    raise SystemExit(main())

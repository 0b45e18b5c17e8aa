"""Write a data set of synthetic street scenes with exact amodal outlines."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from street_scenes import (
    SyntheticScene,
    make_scene,
    write_coco_dataset,
    write_kins_dataset,
)


def main() -> None:
    """Read the command line and write the data set."""
    arguments = _parse()
    width, height = arguments.size
    first = arguments.seed * 1_000_000
    scenes = _scenes(first, arguments.count, width, height)
    try:
        if arguments.format == "kins":
            path = write_kins_dataset(
                scenes,
                arguments.out,
                arguments.split,
                max_occlusion=arguments.max_occlusion,
                min_area=arguments.min_area,
            )
        else:
            path = write_coco_dataset(
                scenes,
                arguments.out,
                arguments.split,
                segmentation=arguments.segmentation,
                max_occlusion=arguments.max_occlusion,
                min_area=arguments.min_area,
            )
    except (ValueError, OSError) as error:
        raise SystemExit(f"make_scenes: {error}") from error
    print(path)


def _scenes(first: int, count: int, width: int, height: int) -> Iterator[SyntheticScene]:
    for seed in tqdm(range(first, first + count), unit="scene"):
        yield make_scene(seed, width, height)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--count", type=_positive, default=100, help="number of scenes")
    parser.add_argument(
        "--seed", type=_natural, default=0, help="data sets of different seeds differ"
    )
    parser.add_argument("--split", default="train", help="name of the subset")
    parser.add_argument("--format", choices=["coco", "kins"], default="coco")
    parser.add_argument(
        "--segmentation",
        choices=["amodal", "visible"],
        default="amodal",
        help="what COCO's segmentation holds (KINS has both)",
    )
    parser.add_argument(
        "--max-occlusion",
        type=_share,
        default=0.95,
        metavar="SHARE",
        help="leave out objects hidden by more than this share (0 to 1)",
    )
    parser.add_argument(
        "--min-area", type=_natural, default=0, metavar="PX2", help="leave out smaller objects"
    )
    parser.add_argument("--size", type=_size, default=(640, 384), metavar="WxH", help="px")
    return parser.parse_args()


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a number of 1 or more, got {text!r}")
    return int(text)


def _natural(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a number of 0 or more, got {text!r}")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")
    return share


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 640x384, got {text!r}")
    return int(match[1]), int(match[2])


if __name__ == "__main__":
    main()

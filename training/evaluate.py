"""Measures weights on a labelled data set, stage by stage, by the data set's own rules.

python training/evaluate.py --annotations instances.json --images folder [--split-file splits.json
--split val2017] or --config run.yaml (its validation set) writes a table to the screen and, with
--output, JSON beside it. --format and --protocol are coco, kins, sbd or cityscapes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from e2ec_core.evaluation import SUBSETS
from e2ec_core.evaluation.ground_truth import restrict_ground_truth
from e2ec_core.evaluation.protocols import ProtocolSettings
from e2ec_core.evaluation.report import stage_table
from e2ec_core.evaluation.run import StageScores, evaluate_stages
from e2ec_core.inference import Predictor, PredictorSettings
from e2ec_core.learning.config import DataConfig, read_train_config
from e2ec_core.learning.source import load_labels

SHIPPED_WEIGHTS = Path(__file__).resolve().parent.parent / "weights" / "e2ec_lite.safetensors"


def main() -> int:
    """Command line."""
    arguments = _parser().parse_args()
    try:
        rules, scores = _measure(arguments)
    except (ValueError, OSError, ImportError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    precision = [row.precision for row in scores]
    print(stage_table([row.stage for row in scores], precision, rules.protocol))
    if rules.protocol == "coco":
        print("\n" + table(scores))
    if arguments.output:
        rows = [dataclasses.asdict(row) for row in scores]
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(_without_nan(rows), indent=1) + "\n")
    return 0


def _without_nan(value: Any) -> Any:
    """Numbers that do not exist as null, since JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _parser() -> argparse.ArgumentParser:
    formats = ("coco", "kins", "sbd", "cityscapes")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", help="YAML file of a run; measures its validation set")
    parser.add_argument("--annotations", help="labels: JSON file, or folder")
    parser.add_argument("--images", help="folder of the images")
    parser.add_argument("--format", choices=formats, default="coco", help="form of the labels")
    parser.add_argument("--outline", choices=("amodal", "visible"), default="amodal")
    parser.add_argument("--split-file", help="JSON object of lists of file names, or .txt list")
    parser.add_argument("--split", help="key in the split file")
    parser.add_argument("--hold-out", type=int, default=0, help="measure every n-th image only")
    parser.add_argument("--protocol", choices=formats, help="rules; default those of the format")
    parser.add_argument("--boundary", action="store_true", help="measure boundary AP as well")
    parser.add_argument(
        "--recall-over",
        choices=("all", "detected"),
        default="all",
        help="images that count; the published evaluation leaves out those without a detection",
    )
    parser.add_argument("--score-digits", type=int, help="round scores (published: 2)")
    parser.add_argument("--weights", type=Path, default=SHIPPED_WEIGHTS)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--max-instances", type=int, default=100)
    parser.add_argument("--score", type=float, default=0.0)
    parser.add_argument(
        "--nms-iou", type=float, help="1 for none; default as published: 0.7 for COCO's weights"
    )
    parser.add_argument(
        "--long-side", type=int, help="network's long side, px; default the run's, or 512"
    )
    parser.add_argument("--short-side", type=int, default=0, help="network's short side, px")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    return parser


def _source(arguments: argparse.Namespace) -> tuple[DataConfig, int]:
    """The set to measure and the long side, px, from a run's settings or the command line."""
    if arguments.config:
        if arguments.annotations or arguments.images:
            raise ValueError("give --config, or --annotations and --images, not both")
        config = read_train_config(arguments.config)
        if config.validation is None:
            raise ValueError(f"config {arguments.config!r} has no validation set")
        return config.validation, config.augment.trained_side
    if not arguments.annotations or not arguments.images:
        raise ValueError("give --annotations and --images, or --config")
    source = DataConfig(
        annotations=arguments.annotations,
        images=arguments.images,
        format=arguments.format,
        outline=arguments.outline,
        split_file=arguments.split_file,
        split=arguments.split,
        hold_out=arguments.hold_out,
    )
    return source, 512


def _measure(arguments: argparse.Namespace) -> tuple[ProtocolSettings, list[StageScores]]:
    source, side = _source(arguments)
    rules = ProtocolSettings(
        protocol=arguments.protocol or source.format,
        boundary=arguments.boundary,
        images=arguments.recall_over,
        score_digits=arguments.score_digits,
    )
    predictor = Predictor.from_checkpoint(arguments.weights, device=arguments.device)
    config = predictor.info.config
    names, published_nms = config.class_names, 0.7 if config.placement == "coco" else 1.0
    predictor.settings = PredictorSettings(
        score_threshold=arguments.score,
        max_instances=arguments.max_instances,
        nms_iou=published_nms if arguments.nms_iou is None else arguments.nms_iou,
        short_side=arguments.short_side,
        long_side=side if arguments.long_side is None else arguments.long_side,
    )
    data, content = load_labels(source, names, held_out=source.hold_out > 0)
    for line in data.problems.summary():
        print(f"labels: {line}", file=sys.stderr)
    scores = evaluate_stages(
        predictor,
        data,
        restrict_ground_truth(content, data),
        groups={name: tuple(m) for name, m in SUBSETS.items() if set(m) & set(names)},
        progress=tqdm(data.images, unit="image"),
        protocol=rules,
        annotations=Path(source.annotations),
    )
    return rules, scores


def table(scores: list[StageScores]) -> str:
    """A Markdown table of AP and IoU by stage and group of classes."""
    groups = list(scores[0].given_boxes_iou)
    lines = [
        "| stage | classes | mask AP | AP50 | AP75 | mask AP / box AP | AP50 / box AP50 "
        "| IoU in true boxes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for group in groups:
        prefix = "" if group == "all" else f"{group}/"
        for row in scores:
            mask = [row.precision[f"{prefix}mask/{name}"] for name in ("AP", "AP50", "AP75")]
            box = [row.precision[f"{prefix}box/{name}"] for name in ("AP", "AP50")]
            ratios = [m / b if b else math.nan for m, b in zip(mask, box, strict=False)]
            values = [*mask, *ratios, row.given_boxes_iou[group]]
            cells = " | ".join(f"{value:.3f}" for value in values)
            lines.append(f"| {row.stage} | {group} | {cells} |")
        box = [scores[-1].precision[f"{prefix}box/{name}"] for name in ("AP", "AP50", "AP75")]
        cells = " | ".join(f"{value:.3f}" for value in box)
        lines.append(f"| (box AP) | {group} | {cells} | | | |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())

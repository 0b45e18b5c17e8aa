"""Measures weights on a labelled data set, stage by stage, by the data set's own rules.

e2ec evaluate RUN measures a run's folder on its validation set.
e2ec evaluate --annotations instances.json --images folder [--split-file splits.json
--split val2017] or --config run.yaml (its validation set) writes a table to the screen and, with
--output, JSON beside it. --format and --protocol are coco, kins, sbd or cityscapes.

Exit status: 0 all was measured; 1 images were left out; 2 nothing could be measured.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from e2ec_core.commands.data_options import USAGE, add_data_options, read_data_options
from e2ec_core.commands.failures import left_out
from e2ec_core.commands.loading import load_predictor
from e2ec_core.commands.model_options import SCORE, ModelOptions, take_run
from e2ec_core.commands.options import CommandLine
from e2ec_core.commands.outputs import OVERWRITE, require_writable, write_file
from e2ec_core.config import PlacementRule
from e2ec_core.data.class_names import DatasetName
from e2ec_core.data.formats import rules_of
from e2ec_core.evaluation import SUBSETS
from e2ec_core.evaluation.ground_truth import ground_truth
from e2ec_core.evaluation.protocols import ProtocolSettings
from e2ec_core.evaluation.report import stage_table
from e2ec_core.evaluation.run import Evaluation, StageScores, evaluate_stages
from e2ec_core.inference.postprocess import PUBLISHED_NMS_IOU
from e2ec_core.inference.torch_predictor import TorchPredictor
from e2ec_core.learning.config import DataConfig, TrainConfig
from e2ec_core.learning.source import load_data
from e2ec_core.predictor_settings import PredictorSettings


def main(words: Sequence[str]) -> int:
    """Measures one set; returns the exit status."""
    line = CommandLine("evaluate", __doc__, usage=USAGE, aliases=SCORE)
    add_data_options(line)
    line.add("--protocol", type=DatasetName, help="rules; default those of the format")
    line.add("--boundary", action="store_true", help="measure boundary AP as well")
    line.add(
        "--recall_over",
        type=Literal["all", "detected"],
        default="all",
        help="images that count; the published evaluation leaves out those without a detection",
    )
    line.add("--score_digits", type=int, help="round scores (published: 2)")
    line.add_settings(ModelOptions)
    line.add_settings(
        PredictorSettings,
        skip=("stage", "nms_iou", "long_side", "classes"),
        defaults={"score_threshold": 0.0, "max_instances": 100, "short_side": 0},
    )
    line.add("--nms_iou", type=float, help="1: none; default as published, 0.7 for COCO's weights")
    line.add("--long_side", type=int, help="network's long side, px; default the run's, or 512")
    line.add("--output", type=Path, help="JSON file to write")
    line.add("--overwrite", action="store_true", help=OVERWRITE)
    run, words = take_run(words)
    if run:
        words = ["--config", str(run / "config.yaml"), "--weights", str(run), *words]
    options = line.parse(words)
    if options.score_digits is not None and options.score_digits < 0:
        raise ValueError(f"score_digits is {options.score_digits}; give 0 or more")
    source, side = _source(read_data_options(line, options))
    if options.output:
        inputs = [source.annotations, options.weights, options.config]
        require_writable(options.output, overwrite=options.overwrite, inputs=inputs)
    rules = ProtocolSettings(
        protocol=options.protocol or rules_of(source.format),
        boundary=options.boundary,
        images=options.recall_over,
        score_digits=options.score_digits,
    )
    settings = line.build(
        PredictorSettings,
        nms_iou=1.0 if options.nms_iou is None else options.nms_iou,
        long_side=side if options.long_side is None else options.long_side,
    )
    model = line.build(ModelOptions)
    if model.weights is None and model.backend == "auto":
        model = dataclasses.replace(model, backend="torch")
    predictor = load_predictor(model, settings)
    if not isinstance(predictor, TorchPredictor):
        raise ValueError(
            "an ONNX file gives no stages in given boxes; measure the .safetensors file it was "
            "exported from"
        )
    predictor.settings = _as_published(settings, predictor.info.config.placement, options)
    measured, lost = measure(predictor, source, rules)
    scores = measured.stages
    precision = [row.precision for row in scores]
    print(stage_table([row.stage for row in scores], precision, rules.protocol))
    if rules.protocol == "coco":
        print("\n" + table(scores))
    if options.output:
        rows = _without_nan([dataclasses.asdict(row) for row in scores])
        write_file(options.output, (json.dumps(rows, indent=1) + "\n").encode())
    if measured.left_out:
        print(f"evaluate: {left_out(measured.left_out, measured.images)}", file=sys.stderr)
    return int(lost or bool(measured.left_out))


def _as_published(
    settings: PredictorSettings, placement: PlacementRule, options: Any
) -> PredictorSettings:
    """Converted weights are measured as they were published, where no option says otherwise."""
    changes: dict[str, Any] = {}
    if placement == "coco" and options.nms_iou is None:
        changes["nms_iou"] = PUBLISHED_NMS_IOU
    if placement != "fit" and options.long_side is None and not options.short_side:
        standard = PredictorSettings()  # with which the model's own scale is kept
        changes |= {"short_side": standard.short_side, "long_side": standard.long_side}
    return dataclasses.replace(settings, **changes)


def _source(given: TrainConfig | DataConfig) -> tuple[DataConfig, int]:
    """The set to measure and the network's long side, px."""
    if isinstance(given, DataConfig):
        return given, PredictorSettings().long_side
    if given.validation is None:
        raise ValueError("the run has no validation set; give --annotations and --images")
    return given.validation, given.augment.trained_side


def measure(
    predictor: TorchPredictor, source: DataConfig, rules: ProtocolSettings
) -> tuple[Evaluation, bool]:
    """Measures every stage on one set; also says whether images were left out of it."""
    names = predictor.info.config.class_names
    data = load_data(source, names, held_out=source.hold_out > 0)
    for line in data.report():
        print(f"labels: {line}", file=sys.stderr)
    measured = evaluate_stages(
        predictor,
        data,
        ground_truth(data),
        groups={name: tuple(m) for name, m in SUBSETS.items() if set(m) & set(names)},
        progress=tqdm(data.images, unit="image"),
        protocol=rules,
        annotations=Path(source.annotations),
    )
    return measured, data.problems.lost_images > 0


def _without_nan(value: Any) -> Any:
    """Gives numbers that do not exist as null, since JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def table(scores: list[StageScores]) -> str:
    """Makes a Markdown table of AP and IoU by stage and group of classes."""
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

"""Puts a trained run's weights into the file that ships, with its model card inside and beside it.

e2ec release runs/lite_coco/lite_coco.safetensors weights/e2ec_lite.safetensors --overwrite
    --card weights/card.yaml --evaluation benchmarks/lite_coco.json
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from e2ec_core.checkpoint import load_state, read_checkpoint, save_checkpoint
from e2ec_core.commands.options import CommandLine
from e2ec_core.commands.outputs import OVERWRITE, require_writable
from e2ec_core.model.build import build_model


def main(words: Sequence[str]) -> int:
    """Writes one weights file; returns the exit status."""
    line = CommandLine(
        "release", __doc__, usage="SOURCE DESTINATION --card FILE --evaluation FILE"
    )
    line.add("source", type=Path, help="weights of the run")
    line.add("destination", type=Path, help="weights file to write")
    line.add("--card", type=Path, required=True, help="YAML of the model card's texts")
    line.add("--evaluation", type=Path, required=True, help="JSON that e2ec evaluate wrote")
    line.add("--overwrite", action="store_true", help=OVERWRITE)
    options = line.parse(words)
    inputs = [options.source, options.card, options.evaluation]
    require_writable(options.destination, overwrite=options.overwrite, inputs=inputs)
    info, state = read_checkpoint(options.source)
    card = _read_mapping(options.card)
    numbers = _read_evaluation(options.evaluation)
    model = build_model(info.config)
    load_state(model, state, str(options.source))
    save_checkpoint(options.destination, model, info.config, card=card | {"measured": numbers})
    size = options.destination.stat().st_size
    parameters = sum(value.numel() for value in model.parameters())
    print(f"wrote {options.destination}: {parameters:,} parameters, {size / 1e6:.1f} MB")
    return 0


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        card = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"card {str(path)!r} is not YAML: {error}") from error
    if not isinstance(card, dict):
        raise ValueError(f"card {str(path)!r} must be a mapping of texts")
    known: dict[str, Any] = json.loads(json.dumps(card, default=str))  # dates become texts
    return known


def _read_evaluation(path: Path) -> dict[str, dict[str, float]]:
    try:
        return measured(json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"evaluation {str(path)!r} is not what `e2ec evaluate --output` writes: {error!r}"
        ) from error


def measured(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Collects mask AP, box AP and IoU in true boxes of every stage.

    Args:
        rows: what `e2ec evaluate --output` wrote.
    """
    result = {}
    for row in rows:
        precision = row["precision"]
        values = {key: round(value, 4) for key, value in precision.items() if _kept(key, value)}
        values |= {
            f"{group}/IoU in true boxes": round(value, 4)
            for group, value in row["given_boxes_iou"].items()
            if value is not None
        }
        result[row["stage"]] = values
    return result


def _kept(key: str, value: float | None) -> bool:
    return value is not None and key.rsplit("/", 1)[1] in ("AP", "AP50", "AP75")

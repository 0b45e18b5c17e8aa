"""Puts a trained run's weights into the file that ships, with its model card inside and beside it.

python training/release.py runs/lite_coco/model.safetensors weights/e2ec_lite.safetensors
    --card weights/card.yaml --evaluation benchmarks/lite_coco.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from e2ec_core.checkpoint import load_state, read_checkpoint, save_checkpoint
from e2ec_core.model.build import build_model


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="weights of the run")
    parser.add_argument("destination", type=Path, help="weights file to write")
    parser.add_argument("--card", type=Path, required=True, help="YAML of the model card's texts")
    parser.add_argument("--evaluation", type=Path, required=True, help="JSON of evaluate.py")
    arguments = parser.parse_args()
    try:
        info, state = read_checkpoint(arguments.source)
        card = yaml.safe_load(arguments.card.read_text())
        rows = json.loads(arguments.evaluation.read_text())
    except (ValueError, OSError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 2
    model = build_model(info.config)
    load_state(model, state, arguments.source)
    card["measured"] = measured(rows)
    save_checkpoint(arguments.destination, model, info.config, card=card)
    size = arguments.destination.stat().st_size
    parameters = sum(value.numel() for value in model.parameters())
    print(f"wrote {arguments.destination}: {parameters:,} parameters, {size / 1e6:.1f} MB")
    return 0


def measured(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mask AP, box AP and IoU in true boxes of every stage, from the rows of evaluate.py."""
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


if __name__ == "__main__":
    raise SystemExit(main())

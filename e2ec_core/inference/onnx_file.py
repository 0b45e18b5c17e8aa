"""What an exported ONNX file holds beside the network: names of its values, config and card.

Inputs: `images` uint8 [B, H, W, 3] RGB, sides multiples of 32; `max_instances` int64, 1 to 200;
`score_threshold` float32; `class_mask` bool [C], the classes to look for; and what to compute,
each bool: `deform` (from initial to coarse contours), `evolve` (from coarse to final ones) and, if
the model has both outlines, `amodal`.

Outputs, where K is the number of instances that reach the threshold in the image that has the most
(at least one, so that scores must be compared as well): `contours` float32 [B, K, N, 2] (x, y) in
input px, of the stage asked for; `scores` float32 [B, K]; `class_ids` int64 [B, K]; `finite` bool
[B]; `boxes` float32 [B, K, 4] xyxy in input px, if the model has boxes; `contours_amodal`, as
`contours`, if it has both outlines. Points count from the image's top-left corner; with
label_origin `centre` from the centre of its first pixel.
"""

from __future__ import annotations

import json

from e2ec_core.checkpoint_info import CheckpointError, CheckpointInfo
from e2ec_core.config import model_config, to_dict

FORMAT = "e2ec-onnx/3"

INPUTS = ("images", "max_instances", "score_threshold", "class_mask")
"""Inputs of every file; the branches are inputs as well."""
CONTOURS = "contours"
DETECTIONS = ("scores", "class_ids", "finite")
BOXES = "boxes"
AMODAL = "contours_amodal"
"""Equal to the contours where it is not asked for; of models with both outlines."""


def to_metadata(info: CheckpointInfo) -> dict[str, str]:
    """The metadata of a file that is exported from the weights that `info` describes."""
    return {
        "format": FORMAT,
        "config": json.dumps(to_dict(info.config)),
        "card": json.dumps(info.card),
        "weights_sha256": info.sha256,
    }


def from_metadata(name: str, metadata: dict[str, str]) -> CheckpointInfo:
    """What an exported file says of itself.

    Args:
        name: file name without its ending.
        metadata: of the file.

    Raises:
        CheckpointError: it was not written by `e2ec export`, or its config is not valid.
    """
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"ONNX file {name!r} has format {metadata.get('format')!r}, not {FORMAT!r}; "
            "make one with `e2ec export`"
        )
    try:
        config = model_config(json.loads(metadata["config"]))
        card = json.loads(metadata["card"])
        return CheckpointInfo(
            name=name, config=config, card=card, sha256=metadata["weights_sha256"]
        )
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise CheckpointError(f"ONNX file {name!r} has a bad config: {reason}") from None

"""Converts a published E2EC checkpoint into a weights file of this project."""

from __future__ import annotations

import argparse
import sys
from typing import get_args

from e2ec_core.checkpoint import CheckpointError
from e2ec_core.convert import TERMS, convert_checkpoint
from e2ec_core.data.class_names import DatasetName


def main() -> int:
    """Parse, convert, report."""
    parser = argparse.ArgumentParser(description=f"Convert a published checkpoint ({TERMS}).")
    parser.add_argument("source", help="published .pth file")
    parser.add_argument("destination", help=".safetensors file to write")
    parser.add_argument("--dataset", required=True, choices=get_args(DatasetName))
    parser.add_argument(
        "--class-names", help="comma-separated, in channel order, for a model with other classes"
    )
    options = parser.parse_args()
    names = tuple(options.class_names.split(",")) if options.class_names else None
    try:
        config = convert_checkpoint(
            options.source, options.destination, dataset=options.dataset, class_names=names
        )
    except (CheckpointError, OSError) as error:
        print(f"convert_checkpoint: {error}", file=sys.stderr)
        return 1
    print(
        f"wrote {options.destination}: {len(config.class_names)} classes, "
        f"{config.contour_vertices} vertices, {config.evolutions} evolutions"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

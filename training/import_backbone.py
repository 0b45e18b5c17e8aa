"""Makes a start for `e2ec_dla34` of DLA-34 trained on ImageNet, as the paper has it.

The file is yours to bring, e.g. model.safetensors of timm's dla34.in1k:

python training/import_backbone.py model.safetensors weights/dla34.safetensors
python training/train.py --config config/training/kins.yaml \\
    --start weights/dla34.safetensors --start_part backbone
"""

from __future__ import annotations

import argparse
import sys

from e2ec_core.checkpoint import CheckpointError
from e2ec_core.convert import convert_backbone


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help=".safetensors or PyTorch file of DLA-34")
    parser.add_argument("destination", help=".safetensors file to write")
    parser.add_argument(
        "--keep-channels",
        action="store_true",
        help="as published: feed BGR to a first layer that was trained on RGB",
    )
    options = parser.parse_args()
    try:
        count = convert_backbone(
            options.source, options.destination, flip_channels=not options.keep_channels
        )
    except (CheckpointError, OSError) as error:
        print(f"import_backbone: {error}", file=sys.stderr)
        return 1
    print(f"wrote {options.destination}: {count:,} parameters")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

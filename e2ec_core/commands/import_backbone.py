"""Makes a start for `e2ec_dla34` of DLA-34 trained on ImageNet, as the paper has it.

The file is yours to bring, e.g. model.safetensors of timm's dla34.in1k:

e2ec import-backbone model.safetensors weights/dla34.safetensors
e2ec train --config config/training/kins.yaml \\
    --start weights/dla34.safetensors --start_part backbone
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from e2ec_core.commands.options import CommandLine
from e2ec_core.commands.outputs import OVERWRITE, require_writable
from e2ec_core.convert import convert_backbone


def main(words: Sequence[str]) -> int:
    """Converts one file; returns the exit status."""
    line = CommandLine("import-backbone", __doc__, usage="SOURCE DESTINATION")
    line.add("source", type=Path, help=".safetensors or PyTorch file of DLA-34")
    line.add("destination", type=Path, help=".safetensors file to write")
    line.add(
        "--keep_channels",
        action="store_true",
        help="as published: feed BGR to a first layer that was trained on RGB",
    )
    line.add("--overwrite", action="store_true", help=OVERWRITE)
    options = line.parse(words)
    require_writable(options.destination, overwrite=options.overwrite, inputs=[options.source])
    count = convert_backbone(
        options.source, options.destination, flip_channels=not options.keep_channels
    )
    print(f"wrote {options.destination}: {count:,} parameters")
    return 0

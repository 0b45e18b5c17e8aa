"""Converts a published E2EC checkpoint into a weights file of this project.

e2ec convert model_kitti.pth e2ec_kins.safetensors --dataset kins

Tensors and plain values alone are read from a .pth file. With PyTorch before 2.10, a file made for
that can run code all the same (CVE-2026-24747): convert only files of people you trust there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from e2ec_core.commands.options import CommandLine
from e2ec_core.commands.outputs import OVERWRITE, require_writable
from e2ec_core.convert import TERMS, convert_checkpoint
from e2ec_core.data.class_names import DatasetName


def main(words: Sequence[str]) -> int:
    """Converts one file; returns the exit status."""
    about = f"{__doc__}\nThe published weights: {TERMS}."
    line = CommandLine("convert", about, usage="SOURCE DESTINATION --dataset NAME")
    line.add("source", type=Path, help="published .pth file")
    line.add("destination", type=Path, help=".safetensors file to write")
    line.add("--dataset", type=DatasetName, required=True, help="what the model was trained on")
    line.add("--class_names", type=str, help="comma-separated, in channel order, if not its own")
    line.add("--overwrite", action="store_true", help=OVERWRITE)
    options = line.parse(words)
    names = tuple(options.class_names.split(",")) if options.class_names else None
    require_writable(options.destination, overwrite=options.overwrite, inputs=[options.source])
    config = convert_checkpoint(
        options.source, options.destination, dataset=options.dataset, class_names=names
    )
    print(
        f"wrote {options.destination}: {len(config.class_names)} classes, "
        f"{config.contour_vertices} vertices, {config.evolutions} evolutions"
    )
    return 0

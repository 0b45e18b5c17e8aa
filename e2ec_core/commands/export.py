"""Exports weights as an ONNX file that runs without PyTorch: e2ec export WEIGHTS OUTPUT

The file takes images of any size and goes wherever weights do: e2ec predict --weights OUTPUT.
Before it is written, its contours are compared with PyTorch's on --images, or on drawn street
scenes, at several sizes. Needs the packages onnx, onnxscript and onnxruntime.

Exit status: 0 the file is written; 2 it is not: contours differ by more than --tolerance, the
weights cannot be exported, or a package is missing.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from e2ec_core.commands.options import CommandLine
from e2ec_core.commands.outputs import OVERWRITE, require_writable, write_file
from e2ec_core.image_files import read_image
from e2ec_core.predictor_settings import PredictorSettings

SIDES = (256, 352, 512)
"""Long sides at which the file is compared, px."""


def main(words: Sequence[str]) -> int:
    """Exports one file; returns the exit status."""
    line = CommandLine("export", __doc__, usage="WEIGHTS OUTPUT [options]")
    line.add("weights", type=Path, help="weights file (.safetensors) or folder of a run")
    line.add("output", type=Path, help=".onnx file to write")
    line.add("--images", nargs="*", type=Path, default=[], help="images to compare contours on")
    line.add("--tolerance", type=float, default=0.01, help="greatest distance of vertices, px")
    line.add("--overwrite", action="store_true", help=OVERWRITE)
    options = line.parse(words)
    if options.output.suffix != ".onnx":
        raise ValueError(f"output is {str(options.output)!r}; give a name that ends with .onnx")
    require_writable(options.output, overwrite=options.overwrite, inputs=[options.weights])
    images = [read_image(path, upright=True) for path in options.images] or _scenes()

    # Imported late, so that --help and wrong options do not wait for PyTorch.
    import onnxruntime  # noqa: F401  (missing packages are named before the export)
    import onnxscript  # noqa: F401

    from e2ec_core.inference.onnx_export import export_onnx
    from e2ec_core.inference.torch_predictor import load_torch_predictor

    predictor = load_torch_predictor(options.weights, device="cpu")
    content = export_onnx(predictor.model, predictor.info)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / options.output.name
        path.write_bytes(content)
        distance, count = compare(options.weights, path, images)
    if not distance <= options.tolerance:
        raise ValueError(
            f"contours of the ONNX file lie up to {distance:.4f} px from PyTorch's, more than "
            f"{options.tolerance} px; nothing is written"
        )
    write_file(options.output, content)
    print(
        f"wrote {options.output}: {len(content) / 1e6:.1f} MB; {count} contours lie within "
        f"{distance:.4f} px of PyTorch's"
    )
    return 0


def compare(
    weights: Path, exported: Path, images: Sequence[NDArray[np.uint8]]
) -> tuple[float, int]:
    """Compares an exported file with the weights it was made from, at several sizes.

    Args:
        weights: safetensors file.
        exported: ONNX file.
        images: uint8 [H, W, 3], RGB.

    Returns:
        the greatest distance of vertices, source px, and the number of contours compared.
    """
    from e2ec_core.inference import Predictor
    from e2ec_core.inference.agreement import greatest_distance

    eager, other = (Predictor.from_checkpoint(path, device="cpu") for path in (weights, exported))
    distance, count = 0.0, 0
    for side in SIDES:
        amodal = eager.info.config.both_outlines
        settings = PredictorSettings(short_side=0, long_side=side, amodal=amodal)
        for classes in ((), eager.info.config.class_names[:1]):
            eager.settings = other.settings = dataclasses.replace(settings, classes=classes)
            for image in images:
                expected, found = eager(image).contours, other(image).contours
                distance = max(distance, greatest_distance(expected, found))
                count += len(expected)
    return distance, count


def _scenes() -> list[NDArray[np.uint8]]:
    from street_scenes import make_scene

    return [make_scene(seed, 512, 384).image_rgb for seed in range(3)]

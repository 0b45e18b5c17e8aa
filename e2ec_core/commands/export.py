"""Exports weights as an ONNX file that runs without PyTorch: e2ec export WEIGHTS OUTPUT

The file takes one image of any size, or of one with --size, and goes wherever weights do:
e2ec predict --weights OUTPUT. An engine of TensorRT fits the GPU and the version it was built by
alone, so --format tensorrt writes the ONNX file from which the backend tensorrt builds one at its
first start and keeps it (docs/jetson.md). OpenVINO reads neither the file's branches nor its
circular padding. Before it is written, its contours are compared with PyTorch's on --images, or on
drawn street scenes, at several sizes. Needs the packages onnx, onnxscript and onnxruntime.

Exit status: 0 the file is written; 2 it is not: contours differ by more than --tolerance, the
weights cannot be exported, or a package is missing.
"""

from __future__ import annotations

import itertools
import logging
import statistics
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from e2ec_core.commands.options import CommandLine
from e2ec_core.commands.outputs import OVERWRITE, require_writable, write_file
from e2ec_core.contours import Contours
from e2ec_core.image_files import read_image
from e2ec_core.inference.agreement import greatest_distance, mean_distances
from e2ec_core.predictor_settings import PredictorSettings

SIDES = (256, 352, 512)
"""Long sides at which the file is compared, px."""
MOST = 200
"""Most instances, as of `max_instances`."""


def main(words: Sequence[str]) -> int:
    """Exports one file; returns the exit status."""
    line = CommandLine("export", __doc__, usage="WEIGHTS OUTPUT [options]")
    line.add("weights", type=Path, help="weights file (.safetensors) or folder of a run")
    line.add("output", type=Path, help=".onnx file to write")
    line.add(
        "--format",
        type=Literal["onnx", "tensorrt"],
        default="onnx",
        help="tensorrt: an ONNX file of fixed --size and --instances, which it needs to know",
    )
    line.add("--images", nargs="*", type=Path, default=[], help="images to compare contours on")
    line.add("--tolerance", type=float, default=0.01, help="greatest distance of vertices, px")
    line.add("--overwrite", action="store_true", help=OVERWRITE)
    line.add("--size", help="HEIGHTxWIDTH of the input, px, e.g. 384x1280; default any size")
    line.add(
        "--instances", type=int, default=0, help="fixed number of contours; default those found"
    )
    line.add(
        "--batches",
        action="store_true",
        help="take any number of images at once, as with the node's batch_wait: for GPUs, a CPU "
        "is faster with one after the other",
    )
    line.add("--opset", type=int, default=20, help="version of ONNX's operators, 18 to 23")
    line.add(
        "--precision",
        type=Literal["fp32", "int8"],
        default="fp32",
        help="int8: of the region encoder, with ranges from --images; contours differ by more "
        "than --tolerance, so their mean distance is only reported",
    )
    options = line.parse(words)
    if options.output.suffix != ".onnx":
        raise ValueError(f"output is {str(options.output)!r}; give a name that ends with .onnx")
    size = _size(options.size)
    if not 0 <= options.instances <= MOST:
        raise ValueError(f"instances is {options.instances}; give 1 to {MOST}, 0: any")
    if options.format == "tensorrt" and (not size or not options.instances or options.batches):
        raise ValueError(
            "format is 'tensorrt', which needs to know sizes: give --size and --instances, and "
            "not --batches"
        )
    if not 18 <= options.opset <= 23:
        raise ValueError(f"opset is {options.opset}; give 18 to 23")
    require_writable(options.output, overwrite=options.overwrite, inputs=[options.weights])
    images = [read_image(path, upright=True) for path in options.images] or _scenes()

    # Imported late, so that --help and wrong options do not wait for PyTorch.
    import onnxruntime  # noqa: F401  (missing packages are named before the export)
    import onnxscript  # noqa: F401

    from e2ec_core.inference.onnx_export import export_onnx
    from e2ec_core.inference.torch_predictor import load_torch_predictor

    predictor = load_torch_predictor(options.weights, device="cpu")
    with _without_remarks():
        content = export_onnx(
            predictor.model,
            predictor.info,
            size=size,
            batches=options.batches,
            slots=options.instances,
            opset=options.opset,
            int8=images if options.precision == "int8" else (),
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / options.output.name
        path.write_bytes(content)
        pairs = compare(options.weights, path, images, options.instances)
    if options.precision == "fp32":
        distance = max(greatest_distance(*pair) for pair in pairs)
        if not distance <= options.tolerance:
            raise ValueError(
                f"contours of the ONNX file lie up to {distance:.4f} px from PyTorch's, more than "
                f"{options.tolerance} px; nothing is written"
            )
        found = f"lie within {distance:.4f} px of PyTorch's"
    else:
        distance = statistics.median(d for pair in pairs for d in mean_distances(*pair))
        found = f"were compared, half of them lie within {distance:.2f} px of PyTorch's"
    write_file(options.output, content)
    count = sum(len(expected) for expected, _ in pairs)
    print(f"wrote {options.output}: {len(content) / 1e6:.1f} MB; {count} contours {found}")
    if options.format == "tensorrt":
        print("backend tensorrt builds its engine from it at the first start, which takes minutes")
    return 0


def compare(
    weights: Path, exported: Path, images: Sequence[NDArray[np.uint8]], instances: int = 0
) -> list[tuple[Contours, Contours]]:
    """Contours by PyTorch and by an exported file, of the same inputs of several sizes.

    Each image and its mirror image are a batch.

    Args:
        weights: safetensors file.
        exported: ONNX file.
        images: uint8 [H, W, 3], RGB.
        instances: the file's fixed number of contours, if it has one.
    """
    from e2ec_core.inference import Predictor

    eager, other = (Predictor.from_checkpoint(path, device="cpu") for path in (weights, exported))
    pairs = []
    for side, image in itertools.product(SIDES, images):
        for classes in ((), eager.info.config.class_names[:1]):
            settings = PredictorSettings(
                short_side=0,
                long_side=side,
                max_instances=instances or PredictorSettings.max_instances,
                amodal=eager.info.config.both_outlines,
                classes=classes,
            )
            placed, placement = other.prepare(image, settings)
            both = np.stack([placed, placed[:, ::-1]])
            outputs = (each.infer(both, settings) for each in (eager, other))
            for pair in zip(*outputs, strict=True):
                expected, found = (
                    eager.collect(output, placement, settings, settings.stage)[0]
                    for output in pair
                )
                pairs.append((expected, found))
    return pairs


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Drops the exporters' warnings, which are about packages and code that are not the user's."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    numbers = text.split("x")
    if len(numbers) != 2 or not all(n.isdigit() and int(n) and int(n) % 32 == 0 for n in numbers):
        raise ValueError(f"size is {text!r}; give HEIGHTxWIDTH in multiples of 32, e.g. 384x1280")
    return int(numbers[0]), int(numbers[1])


def _scenes() -> list[NDArray[np.uint8]]:
    from street_scenes import make_scene

    return [make_scene(seed, 512, 384).image_rgb for seed in range(3)]

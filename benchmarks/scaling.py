"""Time and memory against the image's size, the number of contours and the batch.

python benchmarks/scaling.py [--runs 8] [--threads 1]

`e2ec_lite` in ONNX Runtime by size and number of contours, and in PyTorch by batch. Every point
has a process of its own, so that its peak memory is its own. A line is fitted to each curve; where
the points lie on it, the cost is linear. Writes scaling.md and, with matplotlib, scaling.png.
Takes about three minutes.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from backends import processor

HERE = Path(__file__).resolve()
REPO = HERE.parents[1]
SIZES = ((192, 256), (256, 384), (352, 512), (384, 768), (512, 768), (512, 1024), (768, 1024))
INSTANCES = (1, 10, 20, 40, 60, 80)
BATCHES = (1, 2, 3, 4, 6, 8)
SIZE, FEW = (352, 512), 10
"""What the other curves keep."""


class Point(NamedTuple):
    """One point of a curve: where it is, CPU time in ms, peak memory in MB."""

    at: float
    time: float
    memory: float


class Curve(NamedTuple):
    """What grows, its unit, and the cases: (at, height, width, instances, batch)."""

    title: str
    unit: str
    cases: tuple[tuple[float, int, int, int, int], ...]


CURVES = (
    Curve(
        f"image size, ONNX Runtime, {FEW} contours",
        "megapixels",
        tuple((h * w / 1e6, h, w, FEW, 1) for h, w in SIZES),
    ),
    Curve(
        f"contours, ONNX Runtime, {SIZE[0]} x {SIZE[1]}",
        "contours",
        tuple((n, *SIZE, n, 1) for n in INSTANCES),
    ),
    Curve(
        f"batch, PyTorch, {SIZE[0]} x {SIZE[1]}, {FEW} contours",
        "images",
        tuple((n, *SIZE, FEW, n) for n in BATCHES),
    ),
)


def network(
    backend: str, height: int, width: int, instances: int, batch: int
) -> Callable[[], Any]:
    """What is timed: the predictor for one image, the model for a batch."""
    from e2ec_core.inference import Predictor, PredictorSettings
    from street_scenes import make_scene

    image = make_scene(7, width, height).image_rgb
    if backend == "onnxruntime":
        settings = PredictorSettings(
            short_side=height,
            long_side=width,
            score_threshold=0.0,
            nms_iou=1.0,
            max_instances=instances,
        )
        threads = int(os.environ["OMP_NUM_THREADS"])
        predictor = Predictor.from_pretrained(
            device="cpu", backend="onnxruntime", settings=settings, threads=threads
        )
        return lambda: predictor(image)
    import torch

    from e2ec_core.inference.torch_predictor import load_torch_predictor

    weights = REPO / "weights" / "e2ec_lite.safetensors"
    model = load_torch_predictor(weights, device="cpu").model
    images = torch.from_numpy(image).permute(2, 0, 1)[None].float().expand(batch, -1, -1, -1)
    images = images.contiguous(memory_format=torch.channels_last)

    def infer() -> object:
        with torch.inference_mode():
            return model(images, max_instances=instances)

    return infer


def measure(backend: str, case: list[int], runs: int) -> tuple[float, float]:
    """CPU milliseconds (median) and peak memory in MB, in this process."""
    infer = network(backend, *case)
    times = []
    for _ in range(2 + runs):
        started = time.process_time()
        infer()
        times.append(1000 * (time.process_time() - started))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return statistics.median(times[2:]), peak


def run(options: argparse.Namespace, curve: Curve) -> list[Point]:
    """The points of a curve, each from a process of its own."""
    environment = os.environ | {
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": str(options.threads),
        "PYTHONPATH": os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")]),
    }
    points = []
    for at, *case in curve.cases:
        words = [str(HERE), "--runs", str(options.runs), "--case", *map(str, case)]
        words += ["--backend", "torch" if curve.unit == "images" else "onnxruntime"]
        reply = subprocess.run(
            [sys.executable, *words],
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        points.append(Point(at, *json.loads(reply.stdout.splitlines()[-1])))
        print(curve.title, points[-1], flush=True)
    return points


def line(points: list[Point], value: str) -> tuple[float, float, float]:
    """Start and slope of the line through the points, and their greatest share of distance."""
    at = np.array([p.at for p in points])
    values = np.array([getattr(p, value) for p in points])
    slope, start = np.polyfit(at, values, 1)
    fitted = start + slope * at
    return float(start), float(slope), float(np.abs(values / fitted - 1).max())


def report(curves: dict[Curve, list[Point]], threads: int) -> str:
    """The tables in Markdown."""
    lines = [
        "# Scaling",
        "",
        f"`e2ec_lite` on {processor()}, {threads} thread(s): CPU time of one call (median) and "
        "peak memory of its process, which holds the library as well. Written by "
        "`python benchmarks/scaling.py`.",
        "",
        "![Time and memory](scaling.png)",
    ]
    for curve, points in curves.items():
        time_line, memory_line = (line(points, value) for value in ("time", "memory"))
        lines += [
            "",
            f"## By {curve.title}",
            "",
            f"time = {time_line[0]:.1f} + {time_line[1]:.2f} ms for each of the {curve.unit}, "
            f"within {100 * time_line[2]:.0f} %; memory = {memory_line[0]:.0f} + "
            f"{memory_line[1]:.1f} MB, within {100 * memory_line[2]:.0f} %.",
            "",
            f"| {curve.unit} | CPU time, ms | peak memory, MB |",
            "|---|---|---|",
            *(f"| {p.at:.4g} | {p.time:.1f} | {p.memory:.0f} |" for p in points),
        ]
    return "\n".join(lines) + "\n"


def plot(curves: dict[Curve, list[Point]], path: Path) -> None:
    """Two rows of panels: time and memory, with the fitted lines."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, len(curves), figsize=(11, 6), squeeze=False)
    for column, (curve, points) in enumerate(curves.items()):
        for row, (value, unit) in enumerate((("time", "CPU time, ms"), ("memory", "MB"))):
            panel = panels[row][column]
            start, slope, _ = line(points, value)
            at = [p.at for p in points]
            panel.plot(at, [getattr(p, value) for p in points], "o", color="#1f5fa8")
            panel.plot([0, max(at)], [start, start + slope * max(at)], "-", color="#999999")
            panel.set(xlabel=curve.unit, ylabel=unit, xlim=(0, None), ylim=(0, None))
            if row == 0:
                panel.set_title(curve.title, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=70)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=8, help="of each point")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=HERE.with_suffix(".md"))
    parser.add_argument("--case", type=int, nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--backend", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.backend, options.case, options.runs)))
        return
    curves = {curve: run(options, curve) for curve in CURVES}
    options.output.write_text(report(curves, options.threads))
    if importlib.util.find_spec("matplotlib"):
        plot(curves, options.output.with_suffix(".png"))
    else:
        print("no plot: pip install matplotlib")


if __name__ == "__main__":
    main()

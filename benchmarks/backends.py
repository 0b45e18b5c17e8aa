"""Time of one image in eager PyTorch and in ONNX Runtime, with the same weights, in one run.

e2ec export weights/e2ec_lite.safetensors e2ec_lite.onnx
python benchmarks/backends.py e2ec_lite.onnx [--weights weights/e2ec_lite.safetensors]

Images are synthetic street scenes of the network's size; with score threshold 0, contours grow in
as many slots as the case says. The cases take turns image by image, so that other processes slow
them alike. Every size and number of threads has a process of its own. Writes backends.md.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve()
REPO = HERE.parents[1]
SIZES = ((352, 512), (384, 1280))
"""Height and width of the image, px."""
EAGER, RUNTIME = "eager PyTorch", "ONNX Runtime"
CASES = ((EAGER, 32), (EAGER, 10), (RUNTIME, 32), (RUNTIME, 10))
"""Backend and number of instances; the others are compared with the first."""
THREADS = (1, 2)
WARM_UP = 2


def measure(options: argparse.Namespace) -> list[list[float]]:
    """Milliseconds of each run of each case, in this process."""
    from e2ec_core.inference import Predictor, PredictorSettings
    from street_scenes import make_scene

    height, width, threads = options.process
    files = {EAGER: options.weights, RUNTIME: options.onnx}
    predictors = {
        backend: Predictor.from_checkpoint(path, device="cpu", threads=threads)
        for backend, path in files.items()
    }
    settings = PredictorSettings(
        short_side=height, long_side=width, score_threshold=0.0, nms_iou=1.0
    )
    image = make_scene(7, width, height).image_rgb
    times: list[list[float]] = [[] for _ in CASES]
    for _ in range(WARM_UP + options.runs):
        for (backend, instances), row in zip(CASES, times, strict=True):
            changed = replace(settings, max_instances=instances)
            predictors[backend].settings = changed
            started = time.perf_counter()
            predictors[backend](image)
            row.append(1000 * (time.perf_counter() - started))
    return [row[WARM_UP:] for row in times]


def run(options: argparse.Namespace, *numbers: int) -> list[list[float]]:
    """The same in a process of its own; numbers are height, width and threads."""
    environment = os.environ | {
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": str(numbers[2]),
        "PYTHONPATH": os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")]),
    }
    words = [options.onnx, "--weights", options.weights, "--runs", options.runs]
    reply = subprocess.run(
        [sys.executable, str(HERE), *map(str, words), "--process", *map(str, numbers)],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    times: list[list[float]] = json.loads(reply.stdout.splitlines()[-1])
    return times


def processor() -> str:
    """Name and number of the CPUs."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} CPUs"


Found = dict[tuple[tuple[int, int], int], list[list[float]]]
"""Times of the cases by size and threads."""


def report(found: Found, load: float) -> str:
    """The table in Markdown."""
    torch, runtime = (importlib.metadata.version(name) for name in ("torch", "onnxruntime"))
    lines = [
        "# Backends",
        "",
        "One image of `e2ec_lite` in float32, from the array to the contours: ms, least (median), "
        "and x the median share of the time that eager PyTorch with 32 instances took in the same "
        "turn. By default, eager PyTorch fills 32 slots whatever it finds; ONNX Runtime grows "
        "contours for the instances found alone. Threads wait passively. Written by "
        f"`python benchmarks/backends.py` on {processor()}, PyTorch {torch}, ONNX Runtime "
        f"{runtime}; other processes kept the load average at {load:.1f}.",
        "",
        "| size | backend | instances | " + " | ".join(f"{n} thread(s)" for n in THREADS) + " |",
        "|---" * (3 + len(THREADS)) + "|",
    ]
    for size, (index, (backend, instances)) in itertools.product(SIZES, enumerate(CASES)):
        cells = []
        for threads in THREADS:
            rows = found[size, threads]
            share = statistics.median(
                own / first for own, first in zip(rows[index], rows[0], strict=True)
            )
            median = statistics.median(rows[index])
            cells.append(f"{min(rows[index]):.0f} ({median:.0f}), x {share:.2f}")
        name = f"{size[0]} x {size[1]} | {backend} | {instances}"
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("onnx", type=Path, help="file of `e2ec export`")
    default = REPO / "weights" / "e2ec_lite.safetensors"
    parser.add_argument("--weights", type=Path, default=default, help="what it was made from")
    parser.add_argument("--runs", type=int, default=15, help="of each case")
    parser.add_argument("--output", type=Path, default=HERE.with_suffix(".md"))
    parser.add_argument("--process", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.process:
        print(json.dumps(measure(options)))
        return
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    found: Found = {}
    for size, threads in itertools.product(SIZES, THREADS):
        found[size, threads] = run(options, *size, threads)
        least = [f"{min(row):.0f} ms" for row in found[size, threads]]
        print(size, threads, *zip(CASES, least, strict=True), flush=True)
    options.output.write_text(report(found, load))
    print(options.output.read_text())


if __name__ == "__main__":
    main()

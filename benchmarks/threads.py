"""How other busy processes slow an inference, by backend, threads, and how threads wait.

python benchmarks/threads.py [--seconds 8] measures the shipped model on one synthetic image, alone
and beside one and two processes that do the same without a pause, and writes threads.md. It takes
about five minutes; nothing else should run meanwhile.
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
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CASES = {
    "PyTorch, ACTIVE": ("torch", "ACTIVE"),
    "PyTorch, PASSIVE": ("torch", "PASSIVE"),
    "ONNX Runtime": ("onnxruntime", "PASSIVE"),
}
"""Backend and OMP_WAIT_POLICY; ONNX Runtime's threads always sleep."""
THREADS = (1, 2)
OTHERS = (0, 1, 2)
IMAGE = (1242, 375)
"""Width and height of the image, px; KITTI's."""

Row = dict[str, float]
"""Milliseconds: `median` and `p90`."""


def infer(seconds: float, threads: int, backend: str) -> Row:
    """Runs inferences in this process for some seconds, after a warm-up."""
    from e2ec_core.inference import Predictor
    from street_scenes import make_scene

    predictor = Predictor.from_pretrained(device="cpu", backend=backend, threads=threads)  # type: ignore[arg-type]
    image = make_scene(7, *IMAGE).image_rgb
    for _ in range(3):
        predictor(image)
    print("ready", flush=True)
    times, end, parent = [], time.monotonic() + seconds, os.getppid()
    while time.monotonic() < end and os.getppid() == parent:  # ends with the main process
        started = time.perf_counter()
        predictor(image)
        times.append(1000 * (time.perf_counter() - started))
    return {"median": statistics.median(times), "p90": sorted(times)[int(0.9 * len(times))]}


def start(seconds: float, threads: int, case: str) -> subprocess.Popen[str]:
    """Starts a process that infers, and returns when it is warm."""
    backend, policy = CASES[case]
    words = ["--infer", str(threads), "--seconds", str(seconds), "--backend", backend]
    child = subprocess.Popen(
        [sys.executable, __file__, *words],
        env=os.environ | {"OMP_WAIT_POLICY": policy, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def measure(seconds: float, threads: int, case: str, others: int) -> Row:
    """Latency of one process beside busy others with the same settings."""
    with ExitStack() as stack:
        for _ in range(others):
            child = start(3600, threads, case)
            stack.callback(child.wait)
            stack.callback(child.kill)
        measured = start(seconds, threads, case)
        row: Row = json.loads(measured.communicate()[0])
    return row


def processor() -> str:
    """Name and number of the CPUs."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} CPUs"


def slowdown(alone: Row, beside: Row, threads: int, others: int) -> float:
    """The median's growth over that of a fair share of the CPUs."""
    wanted = threads * (1 + others)
    fair = max(1.0, wanted / (os.cpu_count() or 1))
    return beside["median"] / (alone["median"] * fair)


def report(rows: dict[tuple[str, int, int], Row]) -> str:
    """The table in Markdown."""
    torch, runtime = (importlib.metadata.version(name) for name in ("torch", "onnxruntime"))
    lines = [
        "# Threads beside other busy processes",
        "",
        f"Latency of one inference of `e2ec_lite` on an image of {IMAGE[0]} x {IMAGE[1]} px, ms: "
        "median (90th percentile), and x the median over what a fair share of the CPUs would "
        "give. The other processes do the same with the same settings. Written by "
        f"`python benchmarks/threads.py` on {processor()}, PyTorch {torch}, ONNX Runtime "
        f"{runtime}.",
        "",
        "| backend, OMP_WAIT_POLICY | threads | alone | beside one | beside two |",
        "|---|---|---|---|---|",
    ]
    for case, threads in itertools.product(CASES, THREADS):
        cells = []
        for others in OTHERS:
            row, alone = rows[case, threads, others], rows[case, threads, 0]
            cell = "{median:.0f} ({p90:.0f})".format(**row)
            share = f", x {slowdown(alone, row, threads, others):.2f}" if others else ""
            cells.append(cell + share)
        lines.append(f"| {case} | {threads} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="measured in each case")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    parser.add_argument("--infer", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--backend", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.infer:
        print(json.dumps(infer(options.seconds, options.infer, options.backend)))
        return
    rows = {}
    for case, threads, others in itertools.product(CASES, THREADS, OTHERS):
        rows[case, threads, others] = measure(options.seconds, threads, case, others)
        print(case, threads, others, rows[case, threads, others], flush=True)
    options.output.write_text(report(rows))


if __name__ == "__main__":
    main()

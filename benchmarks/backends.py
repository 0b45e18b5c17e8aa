"""Time of one image in eager PyTorch and in ONNX Runtime, with the same weights, in one run.

python benchmarks/backends.py [MODEL.onnx] [--weights MODEL.safetensors] [--int8 FILE]
    [--rival yolo.onnx]

The default is the model that ships. `--int8` takes a file of `e2ec export --precision int8`;
`--rival` any other ONNX file, which gets random pixels in its first input, of the case's size
where its own is free. Images of ours are synthetic street scenes of the network's size; with score
threshold 0, contours grow in as many slots as the case says. The cases take turns image by image,
so that other processes slow them alike. Every size and number of threads has a process of its
own. Writes backends.md. On a machine that does other things as well, compare the CPU times.
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
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve()
REPO = HERE.parents[1]
SIZES = ((352, 512), (384, 1280))
"""Height and width of the image, px."""
THREADS = (1, 2)
WARM_UP = 2


class Run(NamedTuple):
    """Milliseconds of one image."""

    wall: float
    cpu: float


Case = tuple[str, str]
"""Backend, and number of instances."""
Found = dict[Case, list[Run]]


def cases(options: argparse.Namespace) -> dict[Case, Callable[[Any], object]]:
    """What is timed, as functions of an image; the first one is what others are compared with."""
    from e2ec_core.inference import Predictor, PredictorSettings

    height, width, threads = options.process
    settings = PredictorSettings(
        short_side=height, long_side=width, score_threshold=0.0, nms_iou=1.0
    )
    files = {"eager PyTorch": options.weights, "ONNX Runtime": options.onnx}
    if options.int8:
        files["ONNX Runtime, int8"] = options.int8
    found: dict[Case, Callable[[Any], object]] = {}
    for name, path in files.items():
        for instances in (32, 10):  # each its own, as PyTorch's remembers the image before
            found[name, str(instances)] = Predictor.from_checkpoint(
                path,
                device="cpu",
                threads=threads,
                settings=replace(settings, max_instances=instances),
            )
    for path in options.rival:
        found[path.stem, "-"] = rival(path, height, width, threads)
    return found


def rival(path: Path, height: int, width: int, threads: int) -> Callable[[Any], object]:
    """Another network, on random pixels."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    first, *others = session.get_inputs()
    if others:
        raise SystemExit(f"{path} has {1 + len(others)} inputs; a rival must have one, its image")
    free = {4: (1, 3, height, width), 3: (height, width, 3)}[len(first.shape)]
    shape = [n if isinstance(n, int) else own for n, own in zip(first.shape, free, strict=True)]
    pixels = np.random.default_rng(0).random(shape)
    kind = {"tensor(uint8)": np.uint8, "tensor(float16)": np.float16}.get(first.type, np.float32)
    given = {first.name: (255 * pixels if kind == np.uint8 else pixels).astype(kind)}
    return lambda _: session.run(None, given)


def measure(options: argparse.Namespace) -> list[tuple[Case, list[Run]]]:
    """Every run of each case, in this process."""
    from street_scenes import make_scene

    height, width, _ = options.process
    image = make_scene(7, width, height).image_rgb
    todo = cases(options)
    rows: Found = {case: [] for case in todo}
    for _ in range(WARM_UP + options.runs):
        for case, infer in todo.items():
            wall, cpu = time.perf_counter(), time.process_time()
            infer(image)
            rows[case].append(
                Run(1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu))
            )
    return [(case, row[WARM_UP:]) for case, row in rows.items()]


def run(options: argparse.Namespace, *numbers: int) -> Found:
    """The same in a process of its own; numbers are height, width and threads."""
    environment = os.environ | {
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": str(numbers[2]),
        "PYTHONPATH": os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")]),
    }
    words = [options.onnx, "--weights", options.weights, "--runs", options.runs]
    words += [word for path in options.rival for word in ("--rival", path)]
    words += ["--int8", options.int8] if options.int8 else []
    reply = subprocess.run(
        [sys.executable, str(HERE), *map(str, words), "--process", *map(str, numbers)],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    rows = json.loads(reply.stdout.splitlines()[-1])
    return {tuple(case): [Run(*values) for values in row] for case, row in rows}


def processor() -> str:
    """Name and number of the CPUs."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} CPUs"


TRIED = """
## Tried and left out

- OpenVINO 2026.4 in place of ONNX Runtime: it reads neither the file's branches nor circular
  padding. The same graph with both rewritten, 1 thread, CPU time in ms (ONNX Runtime): 51 (49) at
  352 x 512 with ten objects, 89 (90) at 384 x 1280, 148 (137) with 32 objects; fixed shapes change
  nothing; 428 MB of memory (335), 180 MB of package.
- 8 bits in all 2-D convolutions: mask AP .294 in place of .326; the detector gains 3 %. In the
  region encoder alone (`e2ec export --precision int8`, the rows above) it is .325.
- glibc's malloc thresholds: no effect, ONNX Runtime causes no page faults once it is warm; in
  PyTorch 5 % less CPU time with ten objects at 384 x 1280, 8 % with 32, for memory that is never
  given back.
"""


def report(found: dict[tuple[tuple[int, int], int], Found], load: float) -> str:
    """The table in Markdown."""
    torch, runtime = (importlib.metadata.version(name) for name in ("torch", "onnxruntime"))
    lines = [
        "# Backends",
        "",
        "One image of `e2ec_lite`, from the array to the contours, in float32 where nothing else "
        "is said. ms: least (median, 99th percentile), CPU: median CPU time of all threads, ms, "
        "and x the median share of it that eager PyTorch with 32 instances took in the same turn. "
        "ONNX Runtime grows contours for the instances found alone, eager PyTorch for 16, 32, "
        "64, ... Threads wait passively. Written by `python benchmarks/backends.py` on "
        f"{processor()}, PyTorch {torch}, ONNX Runtime {runtime}; other processes kept the load "
        f"average at {load:.1f}.",
        "",
        "| size | backend | instances | " + " | ".join(f"{n} thread(s)" for n in THREADS) + " |",
        "|---" * (3 + len(THREADS)) + "|",
    ]
    some = next(iter(found.values()))
    for size, case in itertools.product(SIZES, some):
        cells = [_cell(found[size, threads], case) for threads in THREADS]
        lines.append(f"| {size[0]} x {size[1]} | {' | '.join([*case, *cells])} |")
    return "\n".join(lines) + "\n" + TRIED


def _cell(rows: Found, case: Case) -> str:
    walls = sorted(each.wall for each in rows[case])
    last = walls[min(len(walls) - 1, int(0.99 * len(walls)))]
    cpu = statistics.median(each.cpu for each in rows[case])
    first = next(iter(rows.values()))
    share = statistics.median(a.cpu / b.cpu for a, b in zip(rows[case], first, strict=True))
    median = statistics.median(walls)
    return f"{walls[0]:.0f} ({median:.0f}, {last:.0f}), CPU {cpu:.0f}, x {share:.2f}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    weights = REPO / "weights" / "e2ec_lite"
    onnx = weights.with_suffix(".onnx")
    parser.add_argument("onnx", type=Path, nargs="?", default=onnx, help="file of `e2ec export`")
    default = weights.with_suffix(".safetensors")
    parser.add_argument("--weights", type=Path, default=default, help="what it was made from")
    parser.add_argument("--int8", type=Path, help="the same, quantised")
    parser.add_argument("--rival", type=Path, action="append", default=[], help="another network")
    parser.add_argument("--runs", type=int, default=20, help="of each case")
    parser.add_argument("--output", type=Path, default=HERE.with_suffix(".md"))
    parser.add_argument("--process", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.process:
        print(json.dumps(measure(options)))
        return
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    found = {}
    for size, threads in itertools.product(SIZES, THREADS):
        found[size, threads] = run(options, *size, threads)
        for case in found[size, threads]:
            print(size, threads, *case, _cell(found[size, threads], case), flush=True)
    options.output.write_text(report(found, load))


if __name__ == "__main__":
    main()

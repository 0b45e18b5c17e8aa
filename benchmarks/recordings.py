"""Frames a second of `e2ec predict` on a video: one process, and one and two workers on Ray.

tools/with_ros python benchmarks/recordings.py [--frames 512]

The video is the synthetic drive. Frames count from the time at which every worker has finished a
part; what is before, the start of processes and models, is told apart. Writes recordings.md.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from e2ec_core.commands.predict_job import PART_FRAMES
from street_scenes import Drive

SETUPS = {  # name: (workers on Ray, threads of each)
    "one process, all cores": (0, 0),
    "one process, 1 thread": (0, 1),
    "Ray, 1 worker, 1 thread": (1, 1),
    "Ray, 2 workers, 1 thread each": (2, 1),
}
CLUSTER = (
    "import ray; head = ray.init(num_cpus={}, include_dashboard=False, log_to_driver=False);"
    "print(head.address_info['gcs_address'], flush=True); input()"
)


def write_drive(path: Path, frames: int) -> tuple[int, int]:
    """Writes the video; returns its (width, height)."""
    drive = Drive(0, fps=10.0)
    size = drive.width, drive.height
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, size)
    for index in range(frames):
        writer.write(np.ascontiguousarray(drive.frame(index).image_rgb[..., ::-1]))
    writer.release()
    return size


@contextmanager
def cluster(workers: int) -> Iterator[list[str]]:
    """A Ray of this machine; gives the options that use it, none without workers."""
    if not workers:
        yield []
        return
    words = [sys.executable, "-c", CLUSTER.format(workers)]
    head = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert head.stdin is not None
    assert head.stdout is not None
    try:
        yield ["--cluster", head.stdout.readline().strip()]
    finally:
        head.communicate("\n")


def measure(film: Path, workers: int, threads: int, output: Path) -> tuple[float, float]:
    """Seconds to the first parts, and frames a second from there on.

    Raises:
        RuntimeError: the command failed.
    """
    words = ["predict", str(film), "--device", "cpu", "--threads", str(threads)]
    words += ["--write", "jsonl", "--output", str(output)]
    with cluster(workers) as options:
        begun = time.monotonic()
        run = subprocess.Popen([sys.executable, "-m", "e2ec_core.commands", *words, *options])
        done: list[float] = []
        while run.poll() is None:
            parts = len(list((output / ".e2ec_predict").glob("part-*")))
            done += [time.monotonic()] * (parts - len(done))
            time.sleep(0.02)
    if run.returncode:
        raise RuntimeError(f"e2ec {' '.join(words)} ended with {run.returncode}")
    first = max(workers, 1)
    frames = (len(done) - first) * PART_FRAMES
    return done[first - 1] - begun, frames / (done[-1] - done[first - 1])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=512)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder, "drive.mp4")
        width, height = write_drive(film, options.frames)
        for number, (name, (workers, threads)) in enumerate(SETUPS.items()):
            start, rate = measure(film, workers, threads, Path(folder, str(number)))
            rows.append(f"| {name} | {rate:.1f} | {start:.0f} |")
            print(rows[-1], flush=True)
    load = os.getloadavg()[0]
    lines = [
        "# Frames a second of e2ec predict",
        "",
        f"A video of {options.frames} frames of {width} x {height} px (the synthetic drive), the "
        f"model that ships in ONNX Runtime, {os.cpu_count()} CPUs, load of the machine at the end "
        f"{load:.0f}. Frames count once every worker has finished a part of {PART_FRAMES}; the "
        "time until then, with the start of processes and models, is the last column. Written by "
        "`python benchmarks/recordings.py`.",
        "",
        "| | frames/s | start, s |",
        "|---|---|---|",
        *rows,
    ]
    options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""Seconds from the start of the node's process to its loaded model, and from SIGINT to its end.

tools/with_ros python benchmarks/node_start.py [--runs 5]

The backends take turns. Writes node_start.md.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

BACKENDS = ("onnxruntime", "torch")
APART = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": "61"}


def start_and_end(backend: str) -> tuple[float, float]:
    """Seconds of one process.

    Raises:
        RuntimeError: the node ended before its model was loaded.
    """
    parameters = ("-p", "autostart:=true", "-p", f"backend:={backend}")
    started = time.monotonic()
    node = subprocess.Popen(
        [sys.executable, "-m", "e2ec_ros.node", "--ros-args", *parameters],
        env=os.environ | APART,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert node.stderr is not None
    if not any("loaded" in line for line in node.stderr):
        raise RuntimeError(f"the node ended with {node.wait()} and loaded nothing")
    up = time.monotonic() - started
    time.sleep(1)
    stopped = time.monotonic()
    node.send_signal(signal.SIGINT)
    node.wait()
    return up, time.monotonic() - stopped


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in BACKENDS}
    for _ in range(options.runs):
        for name in BACKENDS:
            times[name].append(start_and_end(name))
    lines = [
        "# Start and end of the node",
        "",
        "Seconds from the start of the process to the loaded and warmed up model, and from SIGINT "
        f"to the end of the process: median of {options.runs}, {os.cpu_count()} CPUs. Written by "
        "`python benchmarks/node_start.py`.",
        "",
        "| backend | start | end |",
        "|---|---|---|",
    ]
    for name, pairs in times.items():
        start, end = (statistics.median(values) for values in zip(*pairs, strict=True))
        lines.append(f"| {name} | {start:.2f} | {end:.2f} |")
    options.output.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

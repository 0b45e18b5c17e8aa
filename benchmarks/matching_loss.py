"""Time and memory of the dynamic matching loss, against its definition with all points at once.

python benchmarks/matching_loss.py

512 contours of 128 vertices: the published definition measures the distance of every vertex to
the 1280 points of its target's edges, a table of [512, 1280, 128] floats. Forward and backward;
the two take turns, and each has a process of its own for its memory. Writes matching_loss.md.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from plain_training import matching_loss
from torch import Tensor

from e2ec_core.learning.losses import dynamic_matching_loss

HERE = Path(__file__).resolve()
OURS, PLAIN = "ours", "all points at once"
INSTANCES, VERTICES = 512, 128


def contours(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Previous and predicted contours and their targets [n, N, 2], and key vertices [n, N]."""
    torch.manual_seed(0)
    angle = torch.arange(VERTICES) * (2 * torch.pi / VERTICES)
    ring = torch.stack([angle.sin(), angle.cos()], -1)
    target = 300 + (20 + 100 * torch.rand(INSTANCES, 1, 1)) * ring
    target = target + torch.randn_like(target)
    previous, predicted = (target + 4 * torch.randn_like(target) for _ in range(2))
    keys = torch.rand(INSTANCES, VERTICES) < 0.1
    return tuple(t.to(device) for t in (previous, predicted, target, keys))  # type: ignore[return-value]


def step(name: str, given: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """The loss, after its gradient was taken."""
    previous, predicted, target, keys = given
    predicted = predicted.detach().requires_grad_()
    if name == PLAIN:
        loss = matching_loss(previous, predicted, target, keys)
    else:
        valid = torch.ones(1, INSTANCES, dtype=torch.bool, device=target.device)
        batch = (t[None] for t in (previous, predicted, target, keys))
        loss = dynamic_matching_loss(*batch, valid)
    loss.backward()
    return loss.detach()


def peak(name: str, device: torch.device) -> float:
    """Megabytes that one step takes beyond what was there before."""
    given = contours(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(name, given)
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    before = most_resident()
    step(name, given)
    return most_resident() - before


def most_resident() -> float:
    """Megabytes of memory that this process has had at most (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=HERE.with_suffix(".md"))
    parser.add_argument("--peak", choices=(OURS, PLAIN), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if options.peak:
        print(peak(options.peak, device))
        return
    given = contours(device)
    values = {name: float(step(name, given)) for name in (PLAIN, OURS)}
    times: dict[str, list[tuple[float, float]]] = {PLAIN: [], OURS: []}
    for _ in range(options.runs):
        for name, spent in times.items():
            wall, busy = time.perf_counter(), time.process_time()
            step(name, given)
            if device.type == "cuda":
                torch.cuda.synchronize()
            spent.append((time.perf_counter() - wall, time.process_time() - busy))
    title = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    lines = [
        "# Dynamic matching loss",
        "",
        f"{INSTANCES} contours of {VERTICES} vertices, float32, forward and backward, on {title} "
        f"with {options.threads} threads, PyTorch {torch.__version__}. Written by `python "
        f"benchmarks/{HERE.name}`.",
        "",
        "| | value | median ms | CPU ms | x faster | peak MB |",
        "|---|---|---|---|---|---|",
    ]
    for name, spent in times.items():
        wall, busy = 1000 * np.median(spent, axis=0)
        ratio = statistics.median(
            first[0] / own[0] for first, own in zip(times[PLAIN], spent, strict=True)
        )
        command = [sys.executable, str(HERE), "--threads", "1", "--peak", name]
        memory = float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        lines.append(
            f"| {name} | {values[name]:.6f} | {wall:.0f} | {busy:.0f} | {ratio:.1f} "
            f"| {memory:.0f} |"
        )
    options.output.write_text("\n".join(lines) + "\n")
    print(options.output.read_text())


if __name__ == "__main__":
    main()

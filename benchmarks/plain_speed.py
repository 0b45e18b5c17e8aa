"""Time of `e2ec_dla34` against the plain rendering of its published inference, in one run.

python benchmarks/plain_speed.py --onnx [--weights FILE.safetensors] [--threads 2]

Both get the same images and weights (without --weights, seeded ones) and give a contour for every
slot: the plain rendering has 100 for each image, as published, and once 32; ours has 32.
The cases take turns, so that other processes slow them alike. On a CPU one size is timed, on CUDA
more, each with batches too. Writes plain_speed.md.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from backends import processor
from plain_model import find, plain_weights
from torch import Tensor, nn

from e2ec_core.checkpoint import CheckpointInfo, load_state, read_checkpoint
from e2ec_core.config import ModelConfig
from e2ec_core.inference.onnx_export import export_onnx
from e2ec_core.inference.onnx_predictor import inputs_for
from e2ec_core.model.build import build_model
from e2ec_core.model.e2ec import E2EC
from e2ec_core.model.published.deform_conv import DeformConv
from e2ec_core.model.published.folding import fold_norms, halve_weights
from e2ec_core.predictor_settings import PredictorSettings

HERE = Path(__file__).resolve()
CPU_CASES = ((1, 512, 512),)
CUDA_CASES = ((1, 512, 512), (1, 768, 2496), (32, 512, 512))
"""Images, height and width."""
SLOTS = 32
PLAIN = "plain, K = 100"
BOUND_MS = {("H100", 1, 512, 512): 0.18, ("H100", 1, 768, 2496): 0.96}
"""Least time by counted work in float16, K = 32, by part of the GPU's name and case."""
Step = Callable[[], object]


def load_model(weights: Path | None, classes: int) -> tuple[E2EC, CheckpointInfo]:
    """The model of a checkpoint, or a seeded one."""
    if weights is None:
        return seeded_model(classes)
    info, state = read_checkpoint(weights)
    model = build_model(info.config)
    load_state(model, state, str(weights))
    return model, info


def seeded_model(classes: int) -> tuple[E2EC, CheckpointInfo]:
    """A model whose deformable convolutions read off the grid, by a cell or so."""
    torch.manual_seed(0)
    names = tuple(f"class {i}" for i in range(classes))
    config = ModelConfig(preset="e2ec_dla34", class_names=names)
    model = build_model(config)
    for module in model.modules():
        if isinstance(module, DeformConv):
            nn.init.normal_(module.offset_mask.weight, std=0.5 / module.weight[0].numel() ** 0.5)
    return model, CheckpointInfo(name="seeded", config=config)


def cpu_steps(
    model: E2EC, config: ModelConfig, images: Tensor, onnx: bytes | None, threads: int
) -> dict[str, Step]:
    """Ours on a CPU, by name."""
    halved = copy.deepcopy(model)
    halve_weights(halved, torch.bfloat16)

    def bf16() -> object:
        with torch.autocast("cpu", torch.bfloat16):
            return halved(images, max_instances=SLOTS)

    steps: dict[str, Step] = {"PyTorch": lambda: model(images, max_instances=SLOTS)}
    steps["PyTorch, bf16"] = bf16
    if onnx is None:
        return steps
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    settings = PredictorSettings(max_instances=SLOTS, score_threshold=0.0)
    placed = images.permute(0, 2, 3, 1).byte().numpy()
    names = [value.name for value in session.get_inputs()]
    inputs = inputs_for(config, placed, settings, names)
    steps["ONNX Runtime"] = lambda: session.run(["contours", "scores", "class_ids"], inputs)
    return steps


def cuda_steps(model: E2EC, images: Tensor) -> dict[str, Step]:
    """Ours on a GPU, by name: as it is, in float16, and that as a captured graph."""
    halved = copy.deepcopy(model)
    halve_weights(halved, torch.float16)

    def half() -> object:
        with torch.autocast("cuda", torch.float16, cache_enabled=False):
            return halved(images, max_instances=SLOTS)

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            half()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        half()
    return {
        "PyTorch": lambda: model(images, max_instances=SLOTS),
        "PyTorch, fp16": half,
        "PyTorch, fp16, CUDA graph": graph.replay,
    }


def measure(steps: dict[str, Step], device: torch.device, runs: int) -> dict[str, np.ndarray]:
    """Milliseconds [runs, 2] of every step: of the clock, and of all CPU threads together."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    warm_up = 2 if device.type == "cpu" else 50
    for turn in range(warm_up + runs):
        for name, step in steps.items():
            wall, busy = time.perf_counter(), time.process_time()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn >= warm_up:
                spent = (time.perf_counter() - wall, time.process_time() - busy)
                times[name].append(spent)
    return {name: 1000 * np.array(rows) for name, rows in times.items()}


def rows(case: tuple[int, int, int], times: dict[str, np.ndarray], device: str) -> list[str]:
    """Lines of the table."""
    batch, height, width = case
    bounds = [v for (name, *what), v in BOUND_MS.items() if name in device and tuple(what) == case]
    lines = []
    for name, spent in times.items():
        wall, busy = spent[:, 0], np.median(spent[:, 1])
        ratio = statistics.median(times[PLAIN][:, 0] / wall)
        cells = [f"{batch} x {height} x {width}", name, _rounded(np.median(wall))]
        cells += [_rounded(np.percentile(wall, 99)), f"{ratio:.2f}"]
        if device == "cpu":
            cells += [f"{busy:.0f}", f"{np.median(times[PLAIN][:, 1]) / busy:.2f}"]
        else:
            cells += [f"{1000 * batch / np.median(wall):.0f}"]
            cells += [f"{bounds[0] / np.median(wall):.0%}" if bounds else "-"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _rounded(milliseconds: float) -> str:
    return f"{milliseconds:.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, help="of preset e2ec_dla34")
    parser.add_argument("--onnx", action="store_true", help="ONNX Runtime too (CPU only)")
    parser.add_argument("--classes", type=int, default=20, help="of seeded weights")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, help="of each case (CPU 10, CUDA 200)")
    parser.add_argument("--output", type=Path, default=HERE.with_suffix(".md"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = device.type == "cuda"
    model, info = load_model(options.weights, options.classes)
    plain_state = plain_weights(model.eval(), device)
    fold_norms(model)  # as the predictor does
    onnx = export_onnx(model, info) if options.onnx and not on_gpu else None
    model.to(device).to(memory_format=torch.channels_last)
    name = torch.cuda.get_device_name() if on_gpu else "cpu"
    lines = []
    for batch, height, width in CUDA_CASES if on_gpu else CPU_CASES:
        torch.manual_seed(1)
        shape = (batch, 3, height, width)
        images = torch.randint(0, 256, shape).float().to(device)
        ours = images.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            steps: dict[str, Step] = {
                PLAIN: lambda given=images: find(plain_state, given, threshold=0.0),
                "plain, K = 32": lambda given=images: find(
                    plain_state, given, slots=SLOTS, threshold=0.0
                ),
            }
            if on_gpu:
                steps |= cuda_steps(model, ours)
            else:
                steps |= cpu_steps(model, info.config, ours, onnx, options.threads)
            runs = options.runs or (200 if on_gpu else 10)
            times = measure(steps, device, runs)
        lines += rows((batch, height, width), times, name)
        print(*lines, sep="\n", flush=True)
    more = "images/s | share of the lower bound" if on_gpu else "CPU ms | x less CPU time"
    head = f"| images | | median ms | p99 ms | x faster | {more} |"
    commit = subprocess.run(
        ["git", "-C", str(HERE.parent), "describe", "--always", "--dirty"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.strip()
    place = f"{name}, CUDA {torch.version.cuda}" if on_gpu else processor()
    load = "" if on_gpu else f" Load average {max(os.getloadavg()):.0f}."
    text = [
        "# `e2ec_dla34` against a plain rendering of the published inference",
        "",
        "From images to contours in float32 except where it says otherwise; ours with K = "
        f"{SLOTS}. Ratios against `{PLAIN}` are medians over the turns. Commit {commit}, "
        f"{place}, {options.threads} CPU threads, PyTorch {torch.__version__}, Python "
        f"{platform.python_version()}, weights "
        f"{options.weights.name if options.weights else 'seeded'}.{load} Written by "
        f"`python benchmarks/{HERE.name} {' '.join(sys.argv[1:])}`.".replace(" `.", "`."),
        "",
        head,
        "|---" * (head.count("|") - 1) + "|",
        *lines,
    ]
    options.output.write_text("\n".join(text) + "\n")
    print(options.output.read_text())


if __name__ == "__main__":
    main()

"""What the node's live settings cost on a CPU: CPU time of an inference against the defaults.

tools/with_ros python benchmarks/cpu_settings.py [--runs 15]

The model that ships, in ONNX Runtime with one thread, on synthetic streets of 640 x 480 px.
The settings take turns, so that whatever else the computer does meets all of them. Writes
cpu_settings.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from e2ec_core.inference import Predictor, PredictorSettings
from e2ec_core.settings import settings_of
from e2ec_core.shipped_weights import shipped_weights
from street_scenes import make_scene

PRESET = Path(__file__).resolve().parent.parent / "config/presets/cpu.yaml"
SEEDS = (7, 8, 9)
SIZE = (640, 480)
"""Width and height of the images, px."""
CHANGES = (
    {"short_side": 320, "long_side": 416},
    {"short_side": 256, "long_side": 352},
    {"max_instances": 16},
    {"max_instances": 8},
    {"score_threshold": 0.5},
    {"stage": "coarse"},
    {"stage": "initial"},
    {"amodal": True},
)


def settings_to_compare() -> dict[str, PredictorSettings]:
    """The settings by what they change; the defaults are first."""
    preset = yaml.safe_load(PRESET.read_text())["/**"]["ros__parameters"]
    live = {name: preset[name] for name in settings_of(PredictorSettings) if name in preset}
    compared = {"defaults": PredictorSettings(), "`params:=cpu`": PredictorSettings(**live)}
    for change in CHANGES:
        words = ", ".join(f"`{name}: {value}`" for name, value in change.items())
        compared[words.replace("True", "true")] = PredictorSettings(**change)
    return compared


def cpu_time(predictor: Predictor, image: NDArray[np.uint8]) -> tuple[float, int]:
    """Seconds of all threads for one image, and how many contours it has."""
    started = time.process_time()
    found = len(predictor(image).contours.scores)
    return time.process_time() - started, found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    weights = shipped_weights("onnxruntime", device="cpu", precision="fp32")
    predictor = Predictor.from_checkpoint(weights, device="cpu", backend="onnxruntime", threads=1)
    compared = settings_to_compare()
    images = [make_scene(seed, *SIZE).image_rgb for seed in SEEDS]
    times: dict[str, list[tuple[float, int]]] = {name: [] for name in compared}
    for turn in range(options.runs + 1):
        for image in images:
            for name, settings in compared.items():
                predictor.settings = settings
                measured = cpu_time(predictor, image)
                if turn:  # the first turn warms up
                    times[name].append(measured)
    lines = [
        "# Settings on a CPU",
        "",
        f"CPU time of one inference of `e2ec_lite` in ONNX Runtime, one thread, on {len(images)} "
        f"synthetic streets of {SIZE[0]} x {SIZE[1]} px: median share of what the defaults took "
        "for the same image in the same turn, and contours found, mean. Written by "
        f"`python benchmarks/cpu_settings.py` ({options.runs} runs).",
        "",
        "| settings | share of the time | contours |",
        "|---|---|---|",
    ]
    base = [seconds for seconds, _ in times["defaults"]]
    for name, values in times.items():
        share = statistics.median(v / b for (v, _), b in zip(values, base, strict=True))
        lines.append(f"| {name} | {share:.2f} | {statistics.mean(n for _, n in values):.0f} |")
    options.output.write_text("\n".join([*lines, ""]))
    print("\n".join(lines))


if __name__ == "__main__":
    main()

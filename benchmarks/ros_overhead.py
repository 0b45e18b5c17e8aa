"""What messages cost: contours of this package, nested points, one mask image for each object.

tools/with_ros python benchmarks/ros_overhead.py [--seconds 4]

One process writes the instances of an image 30 times a second, another one reads them, over real
DDS, with and without the DDS profile that ships. The last table is the node's own: what it adds to
the bare inference. Compiles `peer_msgs` (half a minute) the first time, takes under four minutes
more, and writes ros_overhead.md; nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import node_overhead
import numpy as np
import peer_messages
import rclpy
from message_stream import PATIENCE, RATE, Row
from peer_messages import CAMERA, FLAT, MASKS, NESTED
from threads import processor

from e2ec_core.inference import Predictor, PredictorSettings
from e2ec_ros.demo.domains import own_domain
from e2ec_ros.distro import dds_environment
from street_scenes import make_scene

HERE = Path(__file__).resolve()
SIZES = ((375, 1242), (1080, 1920))
"""Height and width of the camera's image, px."""
FORMS = (FLAT, NESTED, MASKS, CAMERA)
INSTANCES = 30
DEFAULT, SHIPPED = "default", "shipped"
"""The DDS profile: that of the middleware, or `config/fastdds_shm.xml`."""

TEXT = """\
# Cost of messages

{instances} instances of 64 vertices, found by `e2ec_lite` in a synthetic street, {rate:g} times a
second from one process to another over DDS: as `InstanceContourArray`; as a list of point messages
for each object, as yolo_ros has them (float64; here with class, score, box and outline alone); as
a full-size `mono8` image for each object, as ultralytics_ros has them (without boxes; drawing the
masks is not counted). All are one message an image, reliable, depth 10. The camera's own `rgb8`
image, best effort, stands beside them.

Milliseconds: *build*, *publish*, *take* and *to arrays* are CPU time of the thread that does it,
medians; *latency* at p50 / p95 / p99, from contours in one process to arrays in the other, grows
with other load. *Sent*: messages that the writer was in time for, of {frames}; *lost*: sent ones
that did not arrive. CPU of writer / reader: share of one core, all threads. *DDS profile*: that of
the middleware, or `config/fastdds_shm.xml`.

Written by `python benchmarks/ros_overhead.py` on {processor}, Python {python}, {versions}, commit
{commit}; load average of the last five minutes: {load:.1f}.

| image | message | DDS profile | KB | build | publish | take | to arrays | latency \
| sent | lost | CPU, % |
|---|---|---|---|---|---|---|---|---|---|---|---|
{rows}

{node}
"""


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    size: tuple[int, int]
    form: str
    profile: str


def cases() -> Iterator[Case]:
    """All rows, in the table's order."""
    for size in SIZES:
        for form in FORMS:
            for profile in (DEFAULT, SHIPPED):
                yield Case(size, form, profile)


def find_instances(size: tuple[int, int], folder: Path) -> Path:
    """Writes what the shipped model finds in a synthetic street: `INSTANCES` contours."""
    settings = PredictorSettings(score_threshold=0.0, nms_iou=1.0, max_instances=INSTANCES)
    predictor = Predictor.from_pretrained(device="cpu", settings=settings)
    found = predictor(make_scene(7, size[1], size[0]).image_rgb).contours
    path = folder / f"{size[0]}.npz"
    np.savez(
        path,
        vertices=found.vertices,
        scores=found.scores,
        class_ids=found.class_ids,
        image_size=size,
        names=predictor.info.config.class_names,
    )
    return path


def measure(case: Case, path: Path, seconds: float, environment: dict[str, str]) -> list[Row]:
    """What the writer and the reader measured.

    Raises:
        RuntimeError: one of them ended with an error.
    """
    profile = dds_environment()
    given = {name: value for name, value in environment.items() if name not in profile}
    if case.profile == SHIPPED:
        given |= profile
    script = str(HERE.with_name("message_stream.py"))
    words = [sys.executable, script, case.form, str(path), str(seconds)]
    children = [
        subprocess.Popen([*words, role], env=given, stdout=subprocess.PIPE, text=True)
        for role in ("write", "read")
    ]
    outputs = [child.communicate(timeout=3 * PATIENCE)[0] for child in children]
    if any(child.returncode for child in children):
        raise RuntimeError(f"{case}: a process ended with an error, see above")
    return [json.loads(output) for output in outputs]


def report(rows: dict[Case, list[Row]], node: Row, seconds: float) -> str:
    """The tables in Markdown."""
    packages = ("rclpy", "numpy", "onnxruntime")
    return TEXT.format(
        instances=INSTANCES,
        rate=RATE,
        frames=round(RATE * seconds),
        processor=processor(),
        python=platform.python_version(),
        versions=", ".join(
            [
                rclpy.get_rmw_implementation_identifier(),
                *(f"{name} {importlib.metadata.version(name)}" for name in packages),
            ]
        ),
        commit=commit(),
        load=os.getloadavg()[1],
        rows="\n".join(line(case, *measured) for case, measured in rows.items()),
        node=node_overhead.report(node),
    )


def line(case: Case, writer: Row, reader: Row) -> str:
    """A row of the table."""
    latency = " / ".join(map(duration, reader.get("latency", [None])))
    cells = (
        f"{case.size[1]} x {case.size[0]}",
        case.form,
        case.profile,
        f"{writer['bytes'] / 1000:,.0f}",
        duration(writer["build"]),
        duration(writer["publish"]),
        duration(reader.get("take")),
        duration(reader.get("arrays")),
        latency,
        writer["sent"],
        writer["sent"] - reader["arrived"],
        f"{100 * writer['cpu']:.0f} / {100 * reader['cpu']:.0f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def duration(value: float | None) -> str:
    """Milliseconds with two digits or more; a dash for none."""
    return "-" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def commit() -> str:
    """The commit that was measured, marked if files have changed since."""
    words = ["git", "-C", str(HERE.parent), "describe", "--always", "--dirty", "--abbrev=10"]
    return subprocess.run(words, capture_output=True, text=True).stdout.strip() or "unknown"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="measured in each case")
    parser.add_argument("--output", type=Path, default=HERE.with_suffix(".md"))
    options = parser.parse_args()
    rows = {}
    with own_domain() as domain, tempfile.TemporaryDirectory() as folder:
        alone = {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        environment = {**os.environ, **peer_messages.build(), **alone, "ROS_LOG_DIR": folder}
        files = {size: find_instances(size, Path(folder)) for size in SIZES}
        for case in cases():
            rows[case] = measure(case, files[case.size], options.seconds, environment)
            print(line(case, *rows[case]), flush=True)
        node = node_overhead.measure({**environment, **dds_environment()})
    options.output.write_text(report(rows, node, options.seconds))


if __name__ == "__main__":
    main()

"""Several cameras on one node, with and without batches, against a node for each.

tools/with_ros python benchmarks/cameras.py [--seconds 20] plays one synthetic image on three
topics at different rates to real nodes with the shipped model, and writes cameras.md. It takes
about five minutes; nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image

from e2ec_ros.demo.children import ChildProcess
from e2ec_ros.demo.domains import own_domain
from e2ec_ros.distro import dds_environment
from e2ec_ros.images import fill_image
from e2ec_ros.msg import InstanceContourArray
from e2ec_ros.outputs import CONTOURS_QOS
from street_scenes import make_scene

CAMERAS = ("front", "left", "rear")
RATES = ((30.0, 30.0, 30.0), (30.0, 30.0, 1.0))
"""Images per second of each camera, Hz."""
IMAGE = (640, 480)
"""Width and height of the images, px."""
SHARED = ["-p", f"cameras:=[{', '.join(CAMERAS)}]"]
NODES = {
    "one": {"/e2ec": SHARED},
    "one, batches": {"/e2ec": [*SHARED, "-p", "batch_wait:=0.02"]},
    "three": {f"/{camera}/e2ec": ["-r", f"__ns:=/{camera}"] for camera in CAMERAS},
}
"""Arguments of the nodes of each case, by their names."""
SETTLE = 5.0
"""Time before the measurement, s."""

Rows = dict[str, dict[str, float]]


class Cameras(Node):
    """Publishes an image on each camera's topic and keeps the contours that come back."""

    def __init__(self, rates: tuple[float, ...]) -> None:
        super().__init__("cameras")
        self.heard: dict[str, list[InstanceContourArray]] = {camera: [] for camera in CAMERAS}
        pixels = make_scene(7, *IMAGE).image_rgb
        for camera, rate in zip(CAMERAS, rates, strict=True):
            publisher = self.create_publisher(Image, f"/{camera}/image", 1)
            message = fill_image(Image(), pixels)
            self.create_timer(1 / rate, lambda p=publisher, m=message: p.publish(m))
            self.create_subscription(
                InstanceContourArray,
                f"/{camera}/e2ec/contours",
                self.heard[camera].append,
                CONTOURS_QOS,
            )


def bring_up(node: Node, name: str) -> None:
    """Configures and activates a segmentation node."""
    client = node.create_client(ChangeState, f"{name}/change_state")
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        assert client.wait_for_service(60.0), name
        request = ChangeState.Request(transition=Transition(id=transition))
        answer = client.call_async(request)
        while not answer.done():
            time.sleep(0.05)
        assert answer.result().success, name


def memory(child: ChildProcess) -> float:
    """The proportional resident memory of a process, MB."""
    rollup = Path(f"/proc/{child.process.pid}/smaps_rollup").read_text()
    (line,) = (line for line in rollup.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) / 1024


def cpu_time(child: ChildProcess) -> float:
    """The CPU time that a process has used, s."""
    fields = Path(f"/proc/{child.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(
    environment: Mapping[str, str], case: str, rates: tuple[float, ...], seconds: float
) -> Rows:
    """Rates and latencies by camera, and the memory of all nodes together."""
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        player = Cameras(rates)
        stack.callback(player.destroy_node)
        executor = SingleThreadedExecutor()
        executor.add_node(player)
        threading.Thread(target=executor.spin, daemon=True).start()
        stack.callback(executor.shutdown)
        children = []
        for name, arguments in NODES[case].items():
            log = Path(folder, name.replace("/", "_"))
            child = ChildProcess("e2ec_ros.node", ["--ros-args", *arguments], log, environment)
            children.append(stack.enter_context(child))
            bring_up(player, name)
        time.sleep(SETTLE)
        for heard in player.heard.values():
            heard.clear()
        before = sum(map(cpu_time, children))
        time.sleep(seconds)
        used = sum(map(cpu_time, children)) - before
        rows: Rows = {}
        for camera, heard in player.heard.items():
            totals = [message.timing.total for message in heard]
            rows[camera] = {
                "rate": len(heard) / seconds,
                "median": 1000 * statistics.median(totals),
                "longest": 1000 * max(totals),
            }
        rate = sum(row["rate"] for row in rows.values())
        # The time of a batch is measured once, so equal digits tell one.
        batches = {
            message.timing.inference for heard in player.heard.values() for message in heard
        }
        rows["all"] = {
            "batch": rate * seconds / len(batches),
            "rate": rate,
            "cpu": 1000 * used / seconds / rate,
            "memory": sum(memory(child) for child in children),
        }
        return rows


def report(results: Mapping[tuple[str, tuple[float, ...]], Rows]) -> str:
    """The table in Markdown."""
    lines = [
        "# Three cameras",
        "",
        f"`e2ec_lite`, three cameras with images of {IMAGE[0]} x {IMAGE[1]} px, one node for all "
        "(`cameras`), also with batches (`batch_wait` .02 s), against a node for each; images "
        "with contours per second by camera, images in a batch, latency from the arrival of an "
        "image to its contours (median / longest), CPU time of the nodes for each image with "
        "contours, memory of all nodes. Other busy processes shift rates and latencies; three "
        "nodes then get more of the CPUs than one. "
        f"Written by `python benchmarks/cameras.py` with {os.cpu_count()} CPUs.",
        "",
        "| images come at, Hz | nodes | contours, Hz | together | in a batch | latency, ms "
        "| CPU, ms | MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (case, rates), rows in results.items():
        rate = " / ".join(f"{rows[camera]['rate']:.2f}" for camera in CAMERAS)
        latency = ", ".join(
            f"{rows[camera]['median']:.0f} / {rows[camera]['longest']:.0f}" for camera in CAMERAS
        )
        together = rows["all"]
        lines.append(
            f"| {' / '.join(f'{r:g}' for r in rates)} | {case} | {rate} | {together['rate']:.2f} "
            f"| {together['batch']:.2f} | {latency} | {together['cpu']:.0f} "
            f"| {together['memory']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="measured in each case")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    results = {}
    with own_domain() as domain:
        os.environ |= {
            "ROS_DOMAIN_ID": str(domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            **dds_environment(),
        }
        rclpy.init(args=[])
        for rates in RATES:
            for case in NODES:
                results[case, rates] = measure(os.environ, case, rates, options.seconds)
                print(case, rates, results[case, rates], flush=True)
        rclpy.try_shutdown()
    options.output.write_text(report(results))


if __name__ == "__main__":
    main()

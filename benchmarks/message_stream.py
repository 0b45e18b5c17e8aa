"""One process that publishes messages at 30 Hz, and one that takes them.

Part of benchmarks/ros_overhead.py: python message_stream.py FORM FILE SECONDS write|read prints
what it measured as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import peer_messages
import rclpy
from peer_messages import Form
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.serialization import serialize_message
from std_msgs.msg import Header

from e2ec_core.contours import Contours

RATE = 30.0
WARM_UP = 15
"""Messages that are not counted."""
PATIENCE = 60.0
TOPIC = "/instances"

Row = dict[str, Any]


def load_form(name: str, path: Path) -> Form:
    """The form of message, filled with the contours of a file."""
    found = np.load(path)
    height, width = found["image_size"].tolist()
    contours = Contours(
        vertices=found["vertices"],
        scores=found["scores"],
        class_ids=found["class_ids"],
        stage="final",
        image_size=(height, width),
    )
    return peer_messages.form(name, contours, tuple(found["names"].tolist()))


def write(node: Node, form: Form, seconds: float) -> Row:
    """Publishes `RATE` messages a second; what cannot be sent in time is left out.

    Returns:
        CPU time to `build` and `publish` a message (ms, medians), messages `sent`, `bytes` of
        one, and `cpu`, the process's share of one core.
    """
    publisher = node.create_publisher(form.kind, TOPIC, form.qos)
    deadline = time.monotonic() + PATIENCE
    while not publisher.get_subscription_count() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)  # for the reader to meet the writer too
    times, start, used = [], time.perf_counter(), cpu_time()
    for tick in range(WARM_UP + round(RATE * seconds)):
        late = time.perf_counter() - start - tick / RATE
        if late > 1 / RATE:
            continue
        time.sleep(max(0.0, -late))
        if tick <= WARM_UP:
            used = cpu_time()
        stamp, begun = time.monotonic_ns(), time.thread_time()
        message = form.write()
        built = time.thread_time()
        message.header = Header(frame_id=str(tick))
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
        handed = time.thread_time()
        publisher.publish(message)
        if tick >= WARM_UP:
            times.append((built - begun, time.thread_time() - handed))
    used, wall = cpu_time() - used, time.perf_counter() - start - WARM_UP / RATE
    time.sleep(1.0)  # for what is on its way
    build, publish = 1000 * np.median(times, axis=0)
    size = len(serialize_message(form.write()))
    return {
        "build": build,
        "publish": publish,
        "sent": len(times),
        "bytes": size,
        "cpu": used / wall,
    }


def read(node: Node, form: Form) -> Row:
    """Takes messages until their publisher is gone.

    Returns:
        messages that `arrived` and `cpu`; of those that did, the CPU time to `take` one and to
        have its numbers as `arrays` (ms, medians), and the time from before it was built to then
        (`latency`: p50, p95, p99).
    """
    subscription = node.create_subscription(form.kind, TOPIC, lambda _: None, form.qos)
    wait_set = rclpy_implementation.WaitSet(1, 0, 0, 0, 0, 0, node.context.handle)
    times, used, begun = [], cpu_time(), time.monotonic()
    ended, deadline, met = begun, begun + PATIENCE, False
    while time.monotonic() < deadline:
        wait_set.clear_entities()
        wait_set.add_subscription(subscription.handle)
        wait_set.wait(300_000_000)
        started = time.thread_time()
        taken = subscription.handle.take_message(subscription.msg_type, False)
        if taken is None:
            here = node.count_publishers(TOPIC) > 0
            if met and not here:
                break
            met = met or here
            continue
        message, got = taken[0], time.thread_time()
        form.read(message)
        done, ended = time.thread_time(), time.monotonic()
        stamp = message.header.stamp
        latency = time.monotonic_ns() - stamp.sec * 10**9 - stamp.nanosec
        if int(message.header.frame_id) >= WARM_UP:
            times.append((got - started, done - got, latency / 1e9))
        else:
            used, begun = cpu_time(), time.monotonic()
    if not times:
        return {"arrived": 0, "cpu": (cpu_time() - used) / (time.monotonic() - begun)}
    took, arrays, latencies = 1000 * np.array(times).T
    return {
        "take": np.median(took),
        "arrays": np.median(arrays),
        "latency": np.percentile(latencies, (50, 95, 99)).tolist(),
        "arrived": len(times),
        "cpu": (cpu_time() - used) / (ended - begun),
    }


def cpu_time() -> float:
    """Of this process, s."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Command line."""
    name, path, seconds, role = sys.argv[1:]
    form = load_form(name, Path(path))
    rclpy.init(args=[])
    node = rclpy.create_node(f"{role}_messages")
    print(json.dumps(write(node, form, float(seconds)) if role == "write" else read(node, form)))
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()

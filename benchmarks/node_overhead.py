"""What the node adds to the bare inference, and how it answers while images come too fast.

Part of benchmarks/ros_overhead.py. A process runs the real node with two clocks in it, around the
predictor and around all that is done with an image; another one is the camera and the reader.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image

from e2ec_core.inference import Predictor
from e2ec_ros.images import encode_jpeg, fill_image
from e2ec_ros.msg import InstanceContourArray
from e2ec_ros.node import SegmentationNode
from e2ec_ros.outputs import CONTOURS_QOS
from e2ec_ros.pipeline import Pipeline
from e2ec_ros.running import run_node
from street_scenes import make_scene

TRANSPORTS = ("raw", "compressed")
IMAGE = (1242, 375)
"""Width and height of the image, px; KITTI's."""
SETTINGS = {"autostart": True, "max_instances": 30, "score_threshold": 0.0, "nms_iou": 1.0}
WARM_UP, IMAGES = 5, 40
FAST, SECONDS = 30.0, 8.0
"""Images per second of the second part, and its duration."""
PATIENCE = 60.0

TEXT = """\
## The node

`e2ec_lite`, {instances} instances in an image of {width} x {height} px, one image after the other.
*Added*: what the node does with an image beside the call of the predictor: reading the image's
message, building the contours' message, publishing it to a reader in another process; ms, of
{images} images. Other load delays it; its CPU time stays.

| images | predictor, p50 | added, p50 | p95 | CPU time added, p50 |
|---|---|---|---|---|
{rows}

The same `bgr8` images at {fast:g} Hz: {rate:.1f} contours a second; from the arrival of an image
to its contours {latency[0]:.0f} ms at p50 and {latency[1]:.0f} ms at p95, with an inference of
{busy:.0f} ms (median); `get_state` is answered within {answer[0]:.1f} ms at p50 and
{answer[1]:.1f} ms at p95."""

Row = dict[str, Any]
Seconds = tuple[float, float]


def timed(function: Callable[..., Any], times: list[Seconds]) -> Callable[..., Any]:
    """The function, which also appends its seconds, and those of CPU time of its thread."""

    def call(*words: Any, **named: Any) -> Any:
        started = time.perf_counter(), time.thread_time()
        try:
            return function(*words, **named)
        finally:
            times.append((time.perf_counter() - started[0], time.thread_time() - started[1]))

    return call


def serve(transport: str) -> Row:
    """Runs the node until SIGINT; milliseconds of inference and of all else, image by image."""
    whole: list[Seconds] = []
    bare: list[Seconds] = []
    settings = {**SETTINGS, "image_transport": transport}
    parameters = [Parameter(name, value=value) for name, value in settings.items()]
    Pipeline.process = timed(Pipeline.process, whole)  # type: ignore[method-assign]
    Predictor.__call__ = timed(Predictor.__call__, bare)  # type: ignore[method-assign]
    run_node(lambda: SegmentationNode(parameters), [])
    chosen = slice(WARM_UP, WARM_UP + IMAGES)
    inferences = np.array(bare[-len(whole) :])[chosen]  # the first ones were configure's
    added = np.array(whole)[chosen] - inferences
    return {
        "inference": 1000 * np.median(inferences[:, 0]),
        "added": (1000 * np.percentile(added[:, 0], (50, 95))).tolist(),
        "cpu": 1000 * np.median(added[:, 1]),
    }


class Camera:
    """Publishes an image to the node and hears its contours."""

    def __init__(self, transport: str) -> None:
        self.node = rclpy.create_node("camera")
        pixels = make_scene(7, *IMAGE).image_rgb
        self.heard: list[InstanceContourArray] = []
        self.message: Image | CompressedImage
        if transport == "raw":
            self.message = fill_image(Image(), pixels[..., ::-1])
            self.message.encoding = "bgr8"
            self.publisher = self.node.create_publisher(Image, "/image", 1)
        else:
            data = encode_jpeg(pixels, 95)
            self.message = CompressedImage(format="bgr8; jpeg compressed bgr8", data=data)
            self.publisher = self.node.create_publisher(CompressedImage, "/image/compressed", 1)
        self.node.create_subscription(
            InstanceContourArray, "/e2ec/contours", self.heard.append, CONTOURS_QOS
        )
        self.state = self.node.create_client(GetState, "/e2ec/get_state")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin)
        self._thread.start()

    def close(self) -> None:
        """Ends its thread."""
        self._executor.shutdown()
        self._thread.join()

    def wait(self, condition: Callable[[], object]) -> None:
        """Waits until the condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"waited {PATIENCE:g} s in vain for the node")
            time.sleep(0.002)

    def one_by_one(self) -> None:
        """Sends every image when the contours of the one before are there."""
        self.wait(self.publisher.get_subscription_count)
        self.wait(lambda: self.node.count_publishers("/e2ec/contours"))
        for count in range(1, WARM_UP + IMAGES + 1):
            time.sleep(0.03)
            self.publisher.publish(self.message)
            self.wait(lambda count=count: len(self.heard) >= count)

    def too_fast(self) -> Row:
        """Sends `FAST` images a second and asks for the node's state ten times a second."""
        self.heard.clear()
        start = time.monotonic()
        timer = self.node.create_timer(1 / FAST, lambda: self.publisher.publish(self.message))
        answers = []
        while time.monotonic() < start + SECONDS:
            asked = time.perf_counter()
            done = threading.Event()
            answer = self.state.call_async(GetState.Request())
            answer.add_done_callback(lambda _, done=done: done.set())
            assert done.wait(PATIENCE)
            answers.append(1000 * (time.perf_counter() - asked))
            time.sleep(0.1)
        rate = len(self.heard) / (time.monotonic() - start)
        self.node.destroy_timer(timer)
        timings = [message.timing for message in self.heard[2:]]
        inference = 1000 * np.median([one.preprocess + one.inference for one in timings])
        latency = 1000 * np.percentile([one.total for one in timings], (50, 95))
        return {
            "rate": rate,
            "busy": inference,
            "latency": latency.tolist(),
            "answer": np.percentile(answers, (50, 95)).tolist(),
        }


def measure(environment: dict[str, str]) -> Row:
    """Milliseconds for each transport, and of the node that gets images too fast."""
    rows: Row = {}
    for transport in TRANSPORTS:
        words = [sys.executable, __file__, transport]
        node, camera = (
            subprocess.Popen([*words, role], env=environment, stdout=subprocess.PIPE, text=True)
            for role in ("node", "camera")
        )
        seen = camera.communicate(timeout=2 * PATIENCE)[0]
        node.send_signal(signal.SIGINT)
        rows[transport] = json.loads(node.communicate(timeout=PATIENCE)[0])
        if transport == "raw":
            rows["fast"] = json.loads(seen)
        print(transport, rows[transport], seen, flush=True)
    return rows


def report(rows: Row) -> str:
    """The table in Markdown."""
    titles = zip(TRANSPORTS, ("`bgr8`", "JPEG, 95 %"), strict=True)
    fast = rows["fast"]
    return TEXT.format(
        instances=SETTINGS["max_instances"],
        width=IMAGE[0],
        height=IMAGE[1],
        images=IMAGES,
        rows="\n".join(
            "| {} | {inference:.0f} | {:.2f} | {:.2f} | {cpu:.2f} |".format(
                title, *rows[name]["added"], **rows[name]
            )
            for name, title in titles
        ),
        fast=FAST,
        rate=fast["rate"],
        latency=fast["latency"],
        busy=fast["busy"],
        answer=fast["answer"],
    )


if __name__ == "__main__":
    kind, role = sys.argv[1:]
    if role == "node":
        print(json.dumps(serve(kind)))
    else:
        rclpy.init(args=[])
        camera = Camera(kind)
        try:
            camera.one_by_one()
            print(json.dumps(camera.too_fast() if kind == "raw" else {}))
        finally:
            camera.close()
            rclpy.try_shutdown()

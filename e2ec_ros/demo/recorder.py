"""Listens to the segmentation node, counts, and writes what it sees to files."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from lifecycle_msgs.srv import ChangeState
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import Image

from e2ec_core.image_messages import RgbImage, to_rgb
from e2ec_ros.msg import InferenceTiming, InstanceContourArray

# Deep enough for a recorder that is busy writing a picture.
RECORDER_QOS = QoSProfile(depth=30, reliability=QoSReliabilityPolicy.RELIABLE)
STAGES = ("queue", "preprocess", "inference", "postprocess", "total")


@dataclass
class Record:
    """What was seen so far.

    Attributes:
        frames_in: images that cameras published, by their own count.
        frames_out: contour messages.
        overlays: overlay images.
        dropped: frames that the node discarded for newer ones.
        instances: class name to number of instances over all frames.
        durations: per frame, [len(STAGES)] s.
    """

    frames_in: int = 0
    frames_out: int = 0
    overlays: int = 0
    dropped: int = 0
    instances: Counter[str] = field(default_factory=Counter)
    durations: list[list[float]] = field(default_factory=list)

    def add(self, message: InstanceContourArray) -> None:
        """Counts one contour message."""
        timing: InferenceTiming = message.timing
        self.frames_out += 1
        self.dropped += timing.dropped
        self.instances.update(instance.class_name for instance in message.instances)
        self.durations.append([getattr(timing, stage) for stage in STAGES])

    def table(self) -> str:
        """All of it for people, with latencies in ms."""
        counts = {
            "frames in": self.frames_in,
            "frames out": self.frames_out,
            "dropped": self.dropped,
            "lost on the way": self.frames_in - self.frames_out - self.dropped,
        }
        lines = [f"{name:<22}{count:>8}" for name, count in counts.items()]
        lines += ["", f"{'instances':<22}{sum(self.instances.values()):>8}"]
        lines += [f"  {name:<20}{count:>8}" for name, count in self.instances.most_common()]
        lines += ["", f"{'latency (ms)':<22}{'p50':>8}{'p99':>8}"]
        if self.durations:
            p50, p99 = np.percentile(np.array(self.durations) * 1e3, [50, 99], axis=0)
            lines += [
                f"  {stage:<20}{middle:>8.1f}{high:>8.1f}"
                for stage, middle, high in zip(STAGES, p50, p99, strict=True)
            ]
        return "\n".join(lines)


class VideoFile:
    """A video of one size; pictures of other sizes are scaled to fit and framed in black.

    The first picture opens the file and sets the size.

    Args:
        stem: path without ending; .mp4, or .avi where OpenCV cannot write that.
        rate: pictures per second.
        reserve: bytes that stay free on the disk. OpenCV does not tell of a full disk, and the
            end of the file, without which nothing plays it, needs room.
    """

    def __init__(self, stem: Path, rate: float, *, reserve: int = 32_000_000) -> None:
        self._stem, self._rate, self.reserve = stem, rate, reserve
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self.path: Path | None = None

    def write(self, image_rgb: RgbImage, times: int = 1) -> None:
        """Adds a picture, shown for `times` frames.

        Raises:
            OSError: the disk is full; the video is finished and holds what came before.
        """
        if shutil.disk_usage(self._stem.parent).free < self.reserve:
            self.close()
            raise OSError(
                f"the disk of {str(self._stem.parent)!r} is full: less than "
                f"{self.reserve / 1e6:.0f} MB are free; make room or give another folder"
            )
        if self._writer is None:
            height, width = (2 * (side // 2) for side in image_rgb.shape[:2])  # codecs want even
            self._size = (width, height)
            self._writer = self._open()
        frame = cv2.cvtColor(fit(image_rgb, self._size), cv2.COLOR_RGB2BGR)
        for _ in range(times):
            self._writer.write(frame)

    def close(self) -> None:
        """Finishes the file."""
        if self._writer is not None:
            self._writer.release()

    def _open(self) -> cv2.VideoWriter:
        for ending, code in ((".mp4", "mp4v"), (".avi", "MJPG")):
            self.path = self._stem.with_suffix(ending)
            fourcc = cv2.VideoWriter.fourcc(*code)
            writer = cv2.VideoWriter(str(self.path), fourcc, self._rate, self._size)
            if writer.isOpened():
                return writer
        raise ValueError(f"OpenCV can write neither mp4 nor avi to {str(self._stem.parent)!r}")


def fit(image_rgb: RgbImage, size: tuple[int, int]) -> RgbImage:
    """Scales a picture into (width, height), keeping its shape, on black."""
    width, height = size
    if image_rgb.shape[:2] == (height, width):
        return image_rgb
    scale = min(width / image_rgb.shape[1], height / image_rgb.shape[0])
    inner = (round(image_rgb.shape[1] * scale), round(image_rgb.shape[0] * scale))
    canvas: NDArray[np.uint8] = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    scaled = cv2.resize(image_rgb, inner, interpolation=cv2.INTER_AREA)
    canvas[top : top + inner[1], left : left + inner[0]] = scaled
    return canvas


class Recorder(Node):
    """Subscribes to everything of interest and drives the node's lifecycle."""

    def __init__(self, on_overlay: Callable[[int, RgbImage], None]) -> None:
        """Subscribes.

        Args:
            on_overlay: called with the index of an overlay, from 0, and its pixels.
        """
        super().__init__("demo")
        self.record = Record()
        self._on_overlay = on_overlay
        self._spinner = SingleThreadedExecutor()
        self._spinner.add_node(self)
        self._transition: Any = self.create_client(ChangeState, "/e2ec/change_state")
        self._subscriptions_kept = [
            self.create_subscription(kind, topic, callback, RECORDER_QOS)
            for kind, topic, callback in (
                (InstanceContourArray, "/e2ec/contours", self._on_contours),
                (Image, "/e2ec/overlay/image", self._on_overlay_image),
            )
        ]

    def spin_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Handles messages until the condition holds, at most `timeout` s; whether it held."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                return False
            try:
                self._spinner.spin_once(timeout_sec=0.05)
            except Exception as error:
                if self.context.ok():
                    raise
                # A signal in the middle of a step: whatever rclpy says then means this.
                raise ExternalShutdownException from error
        return True

    def wait_for_contours(self, timeout: float, alive: Callable[[], bool]) -> bool:
        """Waits for one more contour message, at most `timeout` s and while `alive` holds."""
        before = self.record.frames_out
        return self.spin_until(lambda: self.record.frames_out > before or not alive(), timeout)

    def change_state(self, transition: int, timeout: float, alive: Callable[[], bool]) -> bool:
        """Asks the node for a lifecycle transition.

        Args:
            transition: id of `lifecycle_msgs/Transition`.
            timeout: longest wait, s.
            alive: whether the node's process still runs; waiting ends when it does not.

        Returns:
            whether the node did it.
        """
        self.spin_until(lambda: self._transition.service_is_ready() or not alive(), timeout)
        if not self._transition.service_is_ready():
            return False
        request = ChangeState.Request()
        request.transition.id = transition
        answer = self._transition.call_async(request)
        self.spin_until(lambda: answer.done() or not alive(), timeout)
        result = answer.result() if answer.done() else None
        return result is not None and result.success

    def _on_contours(self, message: InstanceContourArray) -> None:
        self.record.add(message)

    def _on_overlay_image(self, message: Image) -> None:
        index = self.record.overlays
        self.record.overlays += 1
        self._on_overlay(index, to_rgb(message))

"""The demo: a camera node and the segmentation node on real ROS 2, recorded to video and pictures.

Both run as processes of their own and talk over DDS on this machine only. The camera holds each
image back until the contours of the one before came, so that a slow machine loses none.
"""

from __future__ import annotations

if __name__ == "__main__":
    from e2ec_core.opencv import prepare_opencv

    prepare_opencv()

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import rclpy
from lifecycle_msgs.msg import Transition
from rclpy.executors import ExternalShutdownException

from e2ec_core.image_messages import RgbImage
from e2ec_ros.demo.children import ChildProcess
from e2ec_ros.demo.domains import own_domain
from e2ec_ros.demo.recorder import Recorder, VideoFile
from e2ec_ros.distro import dds_environment
from e2ec_ros.playback.camera_node import PUBLISHED
from e2ec_ros.playback.sources import PHOTOGRAPHS, Source, open_source

REPORT = "e2ec_demo.txt"  # its table; also tells a folder of the demo from others
DEFAULT_INPUTS = ("synthetic", "photographs")
DRIVE_FRAMES = 60
PICTURES = 6  # pictures kept of a long source
START_TIMEOUT = 300.0  # s for the node to load its model, on a slow disk or a busy machine
STALL_TIMEOUT = 120.0  # s without any new message
LARGEST_VIDEO_RATE = 30.0  # Hz
PICTURE_TIME = 1.5  # s that a still stays in the video


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One source to play.

    Attributes:
        text: how the camera node knows it.
        source: the same, opened here for its rate and length.
        frames: how many images to play, 0 for all.
    """

    text: str
    source: Source
    frames: int

    @property
    def length(self) -> int | None:
        """Number of images, None when unknown."""
        lengths = [count for count in (self.frames, self.source.length) if count]
        return min(lengths, default=None)

    def picture_name(self, index: int) -> str | None:
        """File name of the picture to keep of an image, None for those not kept."""
        if self.text == "photographs":
            return f"photo_{Path(PHOTOGRAPHS[index]).stem}.png"
        every = max(1, (self.length or 25 * PICTURES) // PICTURES)
        name = "drive" if self.text == "synthetic" else Path(self.text).stem
        return f"{name}_{index:04d}.png" if index % every == every // 2 else None


@dataclass
class Pictures:
    """Writes overlays to the video and the chosen ones to PNG files."""

    folder: Path
    video: VideoFile
    video_rate: float
    chapter: Chapter | None = None
    first_index: int = 0
    written: list[str] = field(default_factory=list)

    def start(self, chapter: Chapter, first_index: int) -> None:
        """The overlays from `first_index` on belong to this chapter."""
        self.chapter, self.first_index = chapter, first_index

    def __call__(self, index: int, image_rgb: RgbImage) -> None:
        assert self.chapter is not None
        rate = self.chapter.source.rate
        still = rate < 2.0
        self.video.write(image_rgb, round(self.video_rate * PICTURE_TIME) if still else 1)
        name = self.chapter.picture_name(index - self.first_index)
        if name is not None:
            path = self.folder / name
            if not cv2.imwrite(str(path), cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR)):
                raise ValueError(f"cannot write {str(path)!r}")
            self.written.append(name)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="e2ec_ros.demo", description=__doc__)
    parser.add_argument(
        "--input", help="image, folder of images, video or rosbag2; default: a built-in drive"
    )
    parser.add_argument("--output", default="demo_output", help="folder for what it writes")
    parser.add_argument(
        "--overwrite", action="store_true", help="write into a folder with files of others"
    )
    parser.add_argument("--frames", type=int, default=0, help="play at most so many images")
    parser.add_argument("--weights", default="", help="other weights than those that ship")
    parser.add_argument("--score-threshold", type=float, default=0.3)
    options = parser.parse_args(arguments)
    if options.frames < 0:
        raise ValueError(f"--frames is {options.frames}; give 0 for all, or more")
    return options


def open_chapters(options: argparse.Namespace) -> list[Chapter]:
    """Opens the sources here first: bad input is told before anything is started."""
    texts = [options.input] if options.input else list(DEFAULT_INPUTS)
    chapters = []
    for text in texts:
        frames = options.frames or (DRIVE_FRAMES if text == "synthetic" else 0)
        chapters.append(Chapter(text=text, source=open_source(text), frames=frames))
    return chapters


def environment(domain: int) -> dict[str, str]:
    """The given domain, this machine only, images through shared memory."""
    return {
        **os.environ,
        **dds_environment(),
        "ROS_DOMAIN_ID": str(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "PYTHONUNBUFFERED": "1",
    }


def play(options: argparse.Namespace) -> None:
    """Runs the whole demo.

    Raises:
        ValueError: bad input, or a process that could not do its part; one line.
    """
    chapters = open_chapters(options)
    played, folder = Path(options.input or "").resolve(), Path(options.output)
    if options.input and played.exists() and folder.resolve() in (played, *played.parents):
        raise ValueError(f"{options.input!r} lies in the folder of the results; give --output")
    make_folder(folder, overwrite=options.overwrite)
    rate = min(max(chapter.source.rate for chapter in chapters), LARGEST_VIDEO_RATE)
    rate = rate if rate >= 2.0 else 10.0
    with ExitStack() as stack:
        os.environ.update(environment(stack.enter_context(own_domain())))
        rclpy.init(args=[])
        stack.callback(rclpy.try_shutdown)
        video = VideoFile(folder / "overlay", rate)
        stack.callback(video.close)
        pictures = Pictures(folder, video, rate)
        recorder = Recorder(pictures)
        stack.callback(recorder.destroy_node)
        node = stack.enter_context(start_node(options, folder))
        bring_up(recorder, node)
        for chapter in chapters:
            pictures.start(chapter, recorder.record.overlays)
            play_chapter(chapter, recorder, node, folder)
    report(recorder, pictures, folder)


def make_folder(folder: Path, *, overwrite: bool) -> Path:
    """Makes the folder for the results; those of an earlier demo are replaced.

    Raises:
        ValueError: it cannot be made, or holds files that no demo wrote.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not (folder / REPORT).is_file() and not overwrite:
            raise ValueError(
                f"folder {str(folder)!r} holds files that no demo wrote; "
                "give another --output, or --overwrite"
            )
        (folder / REPORT).write_text("This demo did not come to its end.\n")
    except OSError as error:
        raise ValueError(f"cannot make the folder {str(folder)!r}: {error.strerror}") from error
    return folder


def start_node(options: argparse.Namespace, folder: Path) -> ChildProcess:
    """Starts the segmentation node."""
    arguments = ["--ros-args", "-r", "image:=/camera/image"]
    arguments += ["-p", f"score_threshold:={options.score_threshold}"]
    if options.weights:
        arguments += ["-p", f"weights:={options.weights}"]
    return ChildProcess("e2ec_ros.node", arguments, folder / "node.log", os.environ)


def bring_up(recorder: Recorder, node: ChildProcess) -> None:
    """Takes the node to active; ValueError with its own words when it fails."""
    for label, transition in (
        ("loading the model", Transition.TRANSITION_CONFIGURE),
        ("activating", Transition.TRANSITION_ACTIVATE),
    ):
        say(f"segmentation node: {label}")
        if not recorder.change_state(transition, START_TIMEOUT, lambda: node.running):
            raise ValueError(f"the segmentation node failed while {label}: {node.last_words()}")


def play_chapter(chapter: Chapter, recorder: Recorder, node: ChildProcess, folder: Path) -> None:
    """Plays one source to its end and waits for its last overlay."""
    say(f"playing {chapter.source.description}")
    arguments = ["--ros-args", "-r", "image:=/camera/image", "-p", f"source:={chapter.text}"]
    arguments += ["-p", f"max_frames:={chapter.frames}", "-p", "wait_for_subscriber:=true"]
    arguments += ["-p", "wait_for_contours:=/e2ec/contours"]
    log = folder / f"camera_{Path(chapter.text).stem}.log"
    first = recorder.record.frames_out
    with ChildProcess("e2ec_ros.playback.camera_node", arguments, log, os.environ) as camera:
        watch(chapter, recorder, node, camera, first)
        # It ends with 1 also if it had to skip images; then it counts those that it published.
        if camera.process.returncode and PUBLISHED not in log.read_text(errors="replace"):
            raise ValueError(f"the camera failed: {camera.last_words()}")
        if camera.process.returncode:
            say(camera.last_words())
    record = recorder.record
    # Not by a subscription: that misses what comes before DDS has matched it with a new camera.
    record.frames_in += int(camera.said_after(PUBLISHED))
    recorder.spin_until(lambda: record.overlays >= record.frames_out, timeout=5.0)
    if record.frames_out == first:
        raise ValueError(f"no contours came for {chapter.text}: {node.last_words()}")


def watch(
    chapter: Chapter, recorder: Recorder, node: ChildProcess, camera: ChildProcess, first: int
) -> None:
    """Shows progress until the camera ends."""
    progress = ImageCount(chapter.length)
    while True:
        moved = recorder.wait_for_contours(STALL_TIMEOUT, lambda: camera.running)
        progress.show(recorder.record.frames_out - first)
        if not camera.running:
            progress.end()
            return
        if not node.running:
            raise ValueError(f"the segmentation node ended: {node.last_words()}")
        if not moved:
            raise ValueError(f"no contours for {STALL_TIMEOUT:.0f} s: {node.last_words()}")


class ImageCount:
    """A line that counts on a terminal; a line now and then elsewhere."""

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._started = self._shown_at = time.monotonic()
        self._last = 0

    def show(self, done: int) -> None:
        """Shows the count."""
        self._last = done
        now = time.monotonic()
        period = 0.1 if sys.stdout.isatty() else 5.0
        if now - self._shown_at >= period and done != self._total:
            self._shown_at = now
            self._print("\r" if sys.stdout.isatty() else "\n")

    def end(self) -> None:
        """Shows the last count."""
        self._print("\n")

    def _print(self, end: str) -> None:
        seconds = max(time.monotonic() - self._started, 1e-9)
        total = f" of {self._total}" if self._total else ""
        text = f"  {self._last}{total} images, {self._last / seconds:.1f} per second"
        print(f"{text:<60}", end=end, flush=True)


def report(recorder: Recorder, pictures: Pictures, folder: Path) -> None:
    """The closing table and where the files lie."""
    table = recorder.record.table()
    (folder / REPORT).write_text(table + "\n")
    print(f"\n{table}\n")
    video = pictures.video.path
    files = [REPORT, *([video.name] if video else [])]
    print(f"written to {folder.resolve()}:")
    print("  " + ", ".join([*files, *pictures.written]))


def say(text: str) -> None:
    """One line of progress."""
    print(text, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo. Returns 0, 1 after bad input or a failure, 130 when interrupted."""
    try:
        play(parse(arguments))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        print("\ninterrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

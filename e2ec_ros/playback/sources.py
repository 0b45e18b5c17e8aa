"""What the camera can play: files, cameras, streams, bags, built-in scenes. Needs no rclpy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from e2ec_core.image_files import IMAGE_ENDINGS, list_images, read_image
from e2ec_core.recordings.bag_files import is_bag
from e2ec_core.recordings.bags import BagImage, open_bag
from e2ec_core.recordings.recording import kind_of, open_film
from e2ec_core.value_range import FULL, ValueRange
from e2ec_ros.parameters import CameraParameters
from e2ec_ros.playback.live import is_live, open_live
from e2ec_ros.playback.source_types import STILL_RATE, Source, SourceImage

# Photographs that scikit-image ships: a person, a cat, a cup and a motorcycle.
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png")
DRIVE_RATE = 10.0  # Hz
PLAYABLE = (
    "an image, a folder of images, a video, a rosbag2, a camera (/dev/video0 or 0), a stream "
    "(rtsp://, http://), synthetic or photographs"
)


def open_source(
    text: str,
    *,
    bag_topic: str = "",
    seed: int = CameraParameters.seed,
    values: ValueRange = FULL,
) -> Source:
    """Opens what `text` names and reads its first image, so that errors come early.

    Args:
        text: `synthetic`, `photographs`, a camera (`/dev/video0`, `camera:0`, `0`), the address of
            a stream, or the path of an image, a folder of images, a video file or a bag (its
            folder, or its .mcap, .db3 or .bag file).
        bag_topic: image topic of a bag; empty for the first one that can be shown.
        seed: of the synthetic drive.
        values: how images with 16 bits are shown.

    Raises:
        ValueError: it does not exist or cannot be read; one line that names it.
    """
    if text == "synthetic":
        return _synthetic(seed)
    if text == "photographs":
        return _photographs()
    if is_live(text):
        return open_live(text)
    path = Path(text).expanduser()
    try:
        exists = path.exists()
    except OSError:  # e.g. a name that is too long, or a folder that may not be read
        exists = False
    if not exists or not text:
        reason = "is no kind of address" if re.match(r"\w+://", text) else "does not exist"
        raise ValueError(f"{text!r} {reason}; give {PLAYABLE}")
    if bag_topic and not is_bag(path):
        raise ValueError(f"bag_topic is {bag_topic!r}, but {text!r} is no bag; leave it empty")
    if is_bag(path):
        return _bag(path, bag_topic, values)
    if path.is_dir():
        return _folder(path, values)
    if path.suffix.lower() not in IMAGE_ENDINGS or kind_of(path) == "video":
        return _video(path, values)
    read_image(path, upright=True, values=values)
    return _files([path], f"image {path}", values)


def _folder(path: Path, values: ValueRange) -> Source:
    files, others = list_images(path)
    if not files:
        raise ValueError(
            f"folder {str(path)!r} holds no images ({', '.join(sorted(IMAGE_ENDINGS))})"
        )
    images = (_from_file(file, values) for file in files)
    first = next(images)
    if isinstance(first, ValueError) and all(isinstance(i, ValueError) for i in images):
        raise ValueError(f"folder {str(path)!r}: none of {len(files)} images can be read: {first}")
    left_out = f"; {len(others)} other files left out" if others else ""
    return _files(files, f"{len(files)} images in {path}{left_out}", values)


def _video(path: Path, values: ValueRange) -> Source:
    try:
        video = open_film(path, values)
    except ValueError as error:
        raise ValueError(
            f"{str(path)!r} is neither an image ({', '.join(sorted(IMAGE_ENDINGS))}) nor a video "
            "that OpenCV can decode, nor a rosbag2"
        ) from error

    def images() -> Iterator[SourceImage | ValueError]:
        for index, frame in enumerate(video.frames()):
            if isinstance(frame, ValueError):
                yield frame
            else:
                yield SourceImage(rgb=frame, name=f"{path.stem}_{index:05d}")

    return Source(description=f"video {path}", rate=video.rate, length=video.length, images=images)


def _bag(path: Path, topic: str, values: ValueRange) -> Source:
    bag = open_bag(path, topic, values)

    def images() -> Iterator[SourceImage | ValueError]:
        for index, image in enumerate(bag.images()):
            if isinstance(image, BagImage):
                yield SourceImage(
                    rgb=image.rgb,
                    name=f"{path.stem}_{index:05d}",
                    frame_id=image.frame_id,
                    camera_info=image.camera_info,
                    stamp=image.stamp or image.received,
                )
            else:
                yield image

    return Source(
        description=f"bag {path}, {bag.topic} ({bag.encoding}){bag.note}",
        rate=bag.rate or STILL_RATE,
        length=bag.length,
        images=images,
    )


def _photographs() -> Source:
    try:
        from skimage.data import data_dir
    except ImportError as error:
        raise ValueError(
            "the photographs come with scikit-image: pip install scikit-image"
        ) from error
    files = [Path(data_dir, name) for name in PHOTOGRAPHS]
    return _files(files, f"{len(files)} photographs of scikit-image", FULL)


def _files(files: list[Path], description: str, values: ValueRange) -> Source:
    return Source(
        description=description,
        rate=STILL_RATE,
        length=len(files),
        images=lambda: (_from_file(file, values) for file in files),
    )


def _from_file(path: Path, values: ValueRange) -> SourceImage | ValueError:
    try:
        rgb = read_image(path, upright=True, values=values)
        return SourceImage(rgb=rgb, name=path.stem)
    except ValueError as error:
        return error


def _synthetic(seed: int) -> Source:
    try:
        from street_scenes import Drive
    except ImportError as error:
        raise ValueError(
            "the synthetic drive needs the package street_scenes beside this one"
        ) from error

    drive = Drive(seed, fps=DRIVE_RATE)

    def frames() -> Iterator[SourceImage]:
        for index in count():
            scene = drive.frame(index)
            k = scene.camera.matrix
            yield SourceImage(
                rgb=scene.image_rgb,
                name=f"drive_{index:04d}",
                intrinsics=(float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2])),
            )

    return Source(
        description=f"synthetic drive {seed}, {drive.width}x{drive.height} px",
        rate=drive.fps,
        length=None,
        images=frames,
    )

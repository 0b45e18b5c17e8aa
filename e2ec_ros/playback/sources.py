"""What the camera can play: images, folders, videos, bags, built-in scenes. Needs no rclpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from e2ec_ros.images import RgbImage, to_rgb
from e2ec_ros.parameters import CameraParameters

IMAGE_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm"})
BAG_ENDINGS = frozenset({".mcap", ".db3"})
# Photographs that scikit-image ships: a person, a cat, a cup and a motorcycle.
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png")
STILL_RATE = 1.0  # Hz, for images that are not a film
DRIVE_RATE = 10.0  # Hz
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


@dataclass(frozen=True, kw_only=True)
class SourceImage:
    """One image to publish.

    Attributes:
        rgb: uint8 [height, width, 3].
        name: short, for messages and file names.
        intrinsics: (fx, fy, cx, cy) in px, None when unknown.
        frame_id: of the recording, None when there is none.
        camera_info: a recorded CameraInfo-like message, None when there is none.
    """

    rgb: RgbImage
    name: str
    intrinsics: tuple[float, float, float, float] | None = None
    frame_id: str | None = None
    camera_info: Any = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """Something to play.

    Attributes:
        description: one line for people.
        rate: its own rate, Hz.
        length: number of images; None when endless or unknown.
        images: starts at the first image on every call. A ValueError from the iterator means one
            unreadable image; it has ended then.
    """

    description: str
    rate: float
    length: int | None
    images: Callable[[], Iterator[SourceImage]]


def open_source(text: str, *, bag_topic: str = "", seed: int = CameraParameters.seed) -> Source:
    """Opens what `text` names and reads its first image, so that errors come early.

    Args:
        text: `synthetic`, `photographs`, or the path of an image, a folder of images, a video
            file or a rosbag2 (its folder, or its .mcap or .db3 file).
        bag_topic: image topic of a bag; empty for its first one.
        seed: of the synthetic drive.

    Raises:
        ValueError: it does not exist or cannot be read; one line that names it.
    """
    if text == "synthetic":
        return _synthetic(seed)
    if text == "photographs":
        return _photographs()
    path = Path(text).expanduser()
    if not path.exists():
        raise ValueError(
            f"{text!r} does not exist; give an image, a folder of images, a video, a rosbag2, "
            "or synthetic or photographs"
        )
    if path.suffix.lower() in BAG_ENDINGS or (path / "metadata.yaml").is_file():
        return _bag(path, bag_topic)
    if path.is_dir():
        return _folder(path)
    return _still(path) if path.suffix.lower() in IMAGE_ENDINGS else _video(path)


def read_image(path: Path) -> RgbImage:
    """Reads an image file as uint8 [height, width, 3], RGB; ValueError when it cannot."""
    # Not cv2.imread: it writes warnings of its own and cannot tell why it failed.
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise ValueError(f"image {str(path)!r} cannot be read: {error.strerror}") from error
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if pixels is None:
        raise ValueError(f"image {str(path)!r} is not a picture that OpenCV can decode")
    return _rgb(pixels)


def _rgb(pixels_bgr: NDArray[Any]) -> RgbImage:
    return np.asarray(cv2.cvtColor(pixels_bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _still(path: Path) -> Source:
    return _files([path], f"image {path}")


def _folder(path: Path) -> Source:
    files = sorted(item for item in path.iterdir() if item.suffix.lower() in IMAGE_ENDINGS)
    if not files:
        raise ValueError(
            f"folder {str(path)!r} holds no images ({', '.join(sorted(IMAGE_ENDINGS))})"
        )
    return _files(files, f"{len(files)} images in {path}")


def _photographs() -> Source:
    try:
        from skimage.data import data_dir
    except ImportError as error:
        raise ValueError(
            "the photographs come with scikit-image: pip install scikit-image"
        ) from error
    files = [Path(data_dir, name) for name in PHOTOGRAPHS]
    return _files(files, f"{len(files)} photographs of scikit-image")


def _files(files: list[Path], description: str) -> Source:
    read_image(files[0])
    # A generator would end at its first unreadable file; map goes on behind it.
    return Source(
        description=description,
        rate=STILL_RATE,
        length=len(files),
        images=lambda: map(_from_file, files),
    )


def _from_file(path: Path) -> SourceImage:
    return SourceImage(rgb=read_image(path), name=path.stem)


def _synthetic(seed: int) -> Source:
    from street_scenes import Drive

    drive = Drive(seed, fps=DRIVE_RATE)

    def frame(index: int) -> SourceImage:
        scene = drive.frame(index)
        k = scene.camera.matrix
        return SourceImage(
            rgb=scene.image_rgb,
            name=f"drive_{index:04d}",
            intrinsics=(float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2])),
        )

    return Source(
        description=f"synthetic drive {seed}, {drive.width}x{drive.height} px",
        rate=drive.fps,
        length=None,
        images=lambda: map(frame, count()),
    )


def _video(path: Path) -> Source:
    capture = cv2.VideoCapture(str(path))
    readable = capture.isOpened() and capture.read()[0]
    rate, length = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    if not readable:
        raise ValueError(
            f"{str(path)!r} is neither an image ({', '.join(sorted(IMAGE_ENDINGS))}) nor a video "
            "that OpenCV can decode, nor a rosbag2"
        )

    def images() -> Iterator[SourceImage]:
        film = cv2.VideoCapture(str(path))
        try:
            for index in count():
                read, pixels = film.read()
                if not read:
                    return
                yield SourceImage(rgb=_rgb(pixels), name=f"{path.stem}_{index:05d}")
        finally:
            film.release()

    return Source(
        description=f"video {path}",
        rate=rate if 0.0 < rate < 1000.0 else 25.0,
        length=length if length > 0 else None,  # what the file says; not always the truth
        images=images,
    )


def _bag(path: Path, topic: str) -> Source:
    try:
        from rosbags.highlevel import AnyReader
    except ImportError as error:
        raise ValueError("reading bags needs rosbags: pip install rosbags") from error
    try:
        with AnyReader([path]) as reader:
            topics = [item.topic for item in reader.connections if item.msgtype in IMAGE_TYPES]
            chosen = _choose_topic(path, topics, topic)
            length = reader.topics[chosen].msgcount
            seconds = reader.duration / 1e9
    except ValueError:
        raise
    except Exception as error:  # rosbags raises types of every storage and of its own
        reason = " ".join(str(error).split())  # some span lines
        raise ValueError(f"bag {str(path)!r} cannot be read: {reason}") from error
    if length == 0:
        raise ValueError(f"bag {str(path)!r} has no image on {chosen}")
    return Source(
        description=f"bag {path}, {chosen}",
        rate=min(max((length - 1) / seconds, 0.1), 1000.0) if seconds > 0 else STILL_RATE,
        length=length,
        images=lambda: _bag_images(path, chosen),
    )


def _choose_topic(path: Path, topics: list[str], wanted: str) -> str:
    if not topics:
        raise ValueError(f"bag {str(path)!r} has no topic of {' or '.join(IMAGE_TYPES)}")
    if wanted and wanted not in topics:
        raise ValueError(
            f"bag {str(path)!r} has no image topic {wanted!r}; it has {', '.join(topics)}"
        )
    return wanted or topics[0]


def _bag_images(path: Path, topic: str) -> Iterator[SourceImage]:
    """The images of one topic, each with the latest CameraInfo beside it."""
    from rosbags.highlevel import AnyReader

    folder = topic.removesuffix("/compressed").rsplit("/", 1)[0]
    info: Any = None
    with AnyReader([path]) as reader:
        wanted = [c for c in reader.connections if c.topic in (topic, f"{folder}/camera_info")]
        index = 0
        for connection, _, data in reader.messages(connections=wanted):
            message: Any = reader.deserialize(data, connection.msgtype)
            if connection.topic != topic:
                info = message
                continue
            yield SourceImage(
                rgb=to_rgb(message),
                name=f"{path.stem}_{index:05d}",
                frame_id=message.header.frame_id,
                camera_info=info,
            )
            index += 1

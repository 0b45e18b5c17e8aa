"""Data sets that are kept on disk, ready for use, and shared by all processes of a machine."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from e2ec_core.data.dataset import CocoDataset
from e2ec_core.data.file_names import find_file
from e2ec_core.data.packed import (
    Buffer,
    PackedImages,
    open_buffer,
    pack_images,
    pack_texts,
    unpack_texts,
)
from e2ec_core.data.problems import Problems

LEAST_BYTES = 10_000_000
"""Labels smaller than this are read anew each time; that takes seconds."""

_log = logging.getLogger(__name__)


def remember(
    build: Callable[[], CocoDataset], labels: Path, images: Path, *settings: Any
) -> CocoDataset:
    """Takes a data set from the cache, or builds and stores it; its images are packed.

    What is stored counts as long as the labels' content, the settings, this package's code, and
    the size and time of each image file are the same. A damaged file or a folder that cannot be
    written is no error.

    Args:
        build: reads the data set.
        labels: file or folder of the labels.
        images: folder of the image files.
        settings: all that the data set depends on besides; their `repr` counts.
    """
    if not labels.exists() or label_bytes(labels) < LEAST_BYTES:
        return _packed(build())
    key = _key(labels, images, settings)
    folder = cache_folder()
    path = folder / f"{key}.labels"
    with _alone(path):
        data = _load(path, images)
        if data is not None:
            return data
        data = build()
        content = _pack(data)
        try:
            _write(path, content)
            return _unpack(open_buffer(path))
        except (OSError, ValueError) as error:
            _log.warning("the labels cannot be cached in %s: %s", folder, error)
    return _unpack(Buffer(content))


def cache_folder() -> Path:
    """The folder of cached labels: `e2ec/labels` in XDG_CACHE_HOME, else in ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(home) / "e2ec" / "labels"


def label_bytes(labels: Path) -> int:
    """Size of a label file, or of all files of a folder."""
    files = labels.rglob("*") if labels.is_dir() else [labels]
    return sum(file.stat().st_size for file in files if file.is_file())


def _key(labels: Path, images: Path, settings: Sequence[Any]) -> str:
    digest = hashlib.blake2b(repr((str(images.resolve()), settings)).encode(), digest_size=16)
    code = Path(__file__).parents[1]
    readers = ("learning/source.py", "image_files.py", "image_headers.py")
    names = ("data/*.py", "geometry/*.py", *readers)
    for file in sorted(file for name in names for file in code.glob(name)):
        digest.update(file.read_bytes())
    if labels.is_dir():
        for file in sorted(labels.rglob("*")):
            state = file.stat()
            digest.update(repr((str(file), state.st_size, state.st_mtime_ns)).encode())
    else:
        with labels.open("rb") as stream:
            while block := stream.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Lets one process at a time build what belongs into a file; the others find it there."""
    with contextlib.ExitStack() as stack:
        try:
            import fcntl

            path.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(path.with_suffix(".lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        except (ImportError, OSError):
            pass  # without a lock each process builds it
        yield


def _load(path: Path, images: Path) -> CocoDataset | None:
    try:
        buffer = open_buffer(path)
        buffer.check()
        if not _files_are_the_same(buffer, images):
            _log.info("image files have changed since their labels were cached")
            return None
        return _unpack(buffer)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("cached labels %s are not used: %s", path, error)
        return None


def _files_are_the_same(buffer: Buffer, folder: Path) -> bool:
    """Whether each image file is found in the same place, with the same size and time."""
    names, paths = unpack_texts(buffer.arrays, "file_name"), unpack_texts(buffer.arrays, "file")
    states = buffer.arrays["file_state"].tolist()
    for name, path, state in zip(names, paths, states, strict=True):
        if path != str(folder / name):  # missing, or found elsewhere
            found = find_file(name, folder)[0]
            if str(found or "") != path:
                return False
        if _state(path) != state:
            return False
    return True


def _state(path: str) -> list[int]:
    """Size in bytes and time of change in ns of a file; -1 where it is missing."""
    try:
        state = os.stat(path)
    except OSError:
        return [-1, -1]
    return [state.st_size, state.st_mtime_ns]


def _packed(data: CocoDataset) -> CocoDataset:
    """The same data set with its images in one buffer."""
    return dataclasses.replace(data, images=PackedImages(Buffer(pack_images(data.images))))


def _pack(data: CocoDataset) -> bytes:
    paths = [str(file.path or "") for file in data.files]
    more = {
        **pack_texts("file_name", [file.name for file in data.files]),
        **pack_texts("file", paths),
        "file_state": np.array([_state(path) for path in paths], np.int64).reshape(-1, 2),
    }
    notes = {
        "class_names": data.class_names,
        "category_ids": data.category_ids,
        "problems": dict(data.problems),
        "examples": data.problems.examples,
    }
    return pack_images(data.images, more, notes)


def _unpack(buffer: Buffer) -> CocoDataset:
    problems = Problems()
    problems.update(buffer.notes["problems"])
    problems.examples.update(buffer.notes["examples"])
    return CocoDataset(
        PackedImages(buffer),
        tuple(buffer.notes["class_names"]),
        tuple(buffer.notes["category_ids"]),
        problems,
    )


def _write(path: Path, content: bytes) -> None:
    """Writes a file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

"""How programs of this project keep OpenCV quiet and within limits. Imports no OpenCV itself."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

MAX_PIXELS = 2**28
"""Images with more pixels are refused before they are decoded; RGB of this size takes 805 MB."""

_SETTINGS = {
    "OPENCV_LOG_LEVEL": "OFF",
    "OPENCV_FFMPEG_LOGLEVEL": "-8",
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(MAX_PIXELS),
}
_CODECS = re.compile(
    rb"^(libpng |Corrupt JPEG|Premature end of JPEG|Invalid (JPEG|SOS)|Inconsistent progression|"
    rb"Unsupported (JPEG|marker)|Unknown Adobe|Warning: unknown JFIF).*\n?",
    re.MULTILINE,
)
_LOCK = threading.Lock()


def prepare_opencv() -> None:
    """Lets OpenCV log nothing and refuse images that are too large, whatever their format.

    Programs of this project call it before cv2 is imported; their own lines say what is wrong.
    The library leaves the programs that import it alone. What the user has set stays.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


@contextmanager
def quiet_codecs() -> Iterator[None]:
    """Drops the lines that libjpeg and libpng print, where OpenCV's log is off.

    What others print meanwhile comes afterwards.
    """
    quiet = os.environ.get("OPENCV_LOG_LEVEL") == "OFF" and sys.stderr is not None
    if not quiet or not hasattr(os, "memfd_create"):
        yield
        return
    with _LOCK, os.fdopen(os.memfd_create("stderr"), "r+b", 0) as held:
        terminal = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            held.seek(0)
            if others := _CODECS.sub(b"", held.read()):
                os.write(terminal, others)
            os.close(terminal)

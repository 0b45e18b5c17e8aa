"""What went wrong, in one line for the user."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence

from tqdm import tqdm

_NAMED = 5
"""Most files that the last line of a command names."""

# Package on PyPI by module, where it is an extra or has another name.
_PACKAGES = {
    "cv2": "opencv-python-headless",
    "torch": "torch safetensors",
    "safetensors": "torch safetensors",
    "yaml": "PyYAML",
    "jsonargparse": "jsonargparse docstring-parser",
    "pycocotools": "pycocotools shapely",
    "shapely": "pycocotools shapely",
    "faster_coco_eval": "faster-coco-eval",
    "ray": "'ray[data]'",
}

_NO_MEMORY = ("out of memory", "not enough memory", "insufficient memory", "failed to allocate")


def reason(error: BaseException) -> str | None:
    """Says an error of the user's input or machine in one line; None for a fault of the program.

    Files, values, missing packages, memory and disk are the user's to mend.
    """
    if isinstance(error, ImportError):
        module = (error.name or "").partition(".")[0]
        if not module or module.startswith("e2ec"):
            return str(error) if not module else None
        return f"{module} is not installed: pip install {_PACKAGES.get(module, module)}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"no space left on the disk{_place(error)}; free some and run it again"
    if _is_memory(error):
        return "not enough memory; give smaller images, batches or sizes"
    if isinstance(error, (ValueError, OSError)) or type(error).__module__ == "cv2":
        return " ".join(str(error).split()) or type(error).__name__
    return None


def complain(command: str, line: str) -> None:
    """Says what is wrong on stderr, above a progress bar if there is one."""
    tqdm.write(f"{command}: {line}", file=sys.stderr)


def printable(path: object) -> str:
    """A path for a line that people read: as it is, or quoted where it would break the line."""
    return str(path) if str(path).isprintable() else repr(str(path))


def left_out(names: Sequence[str], total: int) -> str:
    """Counts what was left out, and names the first few."""
    more = ", ..." if len(names) > _NAMED else ""
    return f"{len(names)} of {total} left out: {', '.join(names[:_NAMED])}{more}"


def _place(error: OSError) -> str:
    return f" for {str(error.filename)!r}" if error.filename else ""


def _is_memory(error: BaseException) -> bool:
    """Knows PyTorch's and OpenCV's errors too, which are no MemoryError."""
    if isinstance(error, RuntimeError) or type(error).__module__ == "cv2":
        text = str(error).lower()
        return any(words in text for words in _NO_MEMORY)
    return isinstance(error, MemoryError)

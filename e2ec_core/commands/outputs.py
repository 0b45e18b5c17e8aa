"""Where commands may write: never over an input, over a result only when asked to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

OVERWRITE = "replace results that exist; inputs are never replaced"
"""Help of every `--overwrite`."""


class NotWritten(OSError):
    """A result cannot be written: no right to, or no space left."""


def require_writable(
    *targets: Path, overwrite: bool, inputs: Iterable[str | Path | None] = ()
) -> None:
    """Checks that files may be written, and makes their folders.

    Args:
        targets: the files to write.
        overwrite: whether they may exist.
        inputs: files that are read, perhaps under other names (links); None stands for none.

    Raises:
        ValueError: a file is an input, or exists and must not be replaced.
        NotWritten: a folder cannot be made.
    """
    existing = [target for target in targets if target.exists()]
    read = {_identity(Path(path)) for path in inputs if path} - {None} if existing else set()
    for target in existing:
        if target.is_dir():
            raise ValueError(f"{str(target)!r} is a folder; give the name of a file")
        if _identity(target) in read:
            raise ValueError(f"{str(target)!r} is an input, which is never replaced; give another")
    if existing and not overwrite:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise ValueError(f"{str(existing[0])!r}{more} exists; give --overwrite, or another place")
    for folder in {target.parent for target in targets}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NotWritten(f"folder {str(folder)!r} cannot be made: {error.strerror}") from error


def write_file(target: Path, content: bytes) -> None:
    """Writes a file as a whole or not at all.

    Raises:
        NotWritten: names the file and why.
    """
    partial = target.with_name(f".{target.name}.part")
    try:
        partial.write_bytes(content)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise NotWritten(f"{str(target)!r} cannot be written: {error.strerror}") from error


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and number of a file, equal for all its names; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino

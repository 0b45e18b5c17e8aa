"""What a run of `e2ec predict` keeps on the disk until it is finished, so that it can go on.

A file is written under another name, brought to the disk and renamed: what is there is whole.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from e2ec_core.commands.outputs import NotWritten
from e2ec_core.commands.predict_job import Job, difference
from e2ec_core.commands.predict_paths import FOLDER
from e2ec_core.recordings.rows import Row

_KEYS = {"format", "inputs", "model", "settings", "parts", "finished"}
"""Of a manifest, without which nothing can be told."""


class RunState:
    """Manifest and parts of a run in the folder of its results.

    Args:
        output: folder of the results.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self._folder = output / FOLDER
        self._manifest = self._folder / "manifest.json"
        self._scratch = self._folder / "scratch"

    def begin(self, job: Job) -> None:
        """Begins a run; one that is there is forgotten.

        Raises:
            NotWritten: the folder cannot be written to.
        """
        with _told(self._folder):
            shutil.rmtree(self._folder, ignore_errors=True)
            self._scratch.mkdir(parents=True)
        manifest = job.manifest() | {"parts": len(job.parts), "finished": None}
        self.write_json(self._manifest, manifest)

    def go_on(self, job: Job) -> bool:
        """Goes on with the run that is there; returns whether there is one.

        Raises:
            ValueError: it has another job.
            NotWritten: the folder cannot be written to.
        """
        there = self._read_manifest()
        if there is None:
            return False
        told = {key: value for key, value in there.items() if key != "finished"}
        asked = job.manifest() | {"parts": len(job.parts)}
        if other := difference(asked, told):
            raise ValueError(
                f"the run in {str(self.output)!r} cannot go on: {other}; "
                "give what it was begun with, or --overwrite in place of --resume"
            )
        shutil.rmtree(self._scratch, ignore_errors=True)  # of a process that was killed
        if there["model"] != asked["model"]:  # the same weights at another place
            self.write_json(self._manifest, there | {"model": asked["model"]})
        return True

    def require_finished(self) -> None:
        """Raises ValueError if an unfinished run is there that has done something."""
        there = self._read_manifest()
        if there is not None and there["finished"] is None and self.done:
            raise ValueError(
                f"an unfinished run is in {str(self.output)!r}, {len(self.done)} of "
                f"{there['parts']} parts are done; give --resume to go on, --overwrite to begin "
                "anew, or another --output"
            )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other processes of this machine out of the run.

        Raises:
            ValueError: another process works on it.
        """
        import fcntl

        with _told(self.output):
            self.output.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.output, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(
                    f"another e2ec predict writes to {str(self.output)!r}; give another --output"
                ) from None
            except OSError:  # a file system without locks
                pass
            yield
        finally:
            os.close(handle)

    @property
    def there(self) -> bool:
        """Whether there is a run, finished or not."""
        return self._read_manifest() is not None

    @property
    def job(self) -> Job:
        """The job of the manifest."""
        manifest = self._read_manifest()
        if manifest is None:
            raise ValueError(f"no run is in {str(self.output)!r}")
        return Job.of(manifest)

    @property
    def summary(self) -> dict[str, Any]:
        """What `finish` was given; empty before."""
        return (self._read_manifest() or {}).get("finished") or {}

    @property
    def done(self) -> set[int]:
        """Numbers of the parts that are done."""
        return {int(file.stem[5:]) for file in self._folder.glob("part-*.jsonl")}

    def write_part(self, number: int, summary: list[dict[str, Any]], rows: Iterable[Row]) -> None:
        """Writes one part: its summary, and the rows of its frames, each a line of JSON."""
        lines = "".join(f"{json.dumps(line)}\n" for line in (summary, *rows))
        self.write(self._part(number), lines.encode())

    def forget(self, number: int) -> None:
        """Has a part done again."""
        self._part(number).unlink()

    def told(self, number: int) -> list[dict[str, Any]]:
        """The summary of a part: for each of its recordings frames, found classes, errors.

        Raises:
            ValueError: the file of the part is damaged.
        """
        part = self._part(number)
        with _whole(part), part.open(encoding="utf-8") as file:
            told = json.loads(file.readline())
            lines = sum(one["frames"] + len(one["errors"]) for one in told)
            if not told or lines != sum(1 for _ in file):
                raise ValueError("lines are missing")
            return told

    def rows(self, number: int) -> list[Row]:
        """The rows of a part.

        Raises:
            ValueError: the file of the part is damaged.
        """
        with _whole(self._part(number)):
            return [json.loads(line) for line in self.lines_of(number)]

    def lines_of(self, number: int) -> Iterator[str]:
        """The rows of a part as text."""
        with self._part(number).open(encoding="utf-8") as file:
            file.readline()
            yield from file

    def write(self, target: Path, content: bytes) -> None:
        """Writes a file as a whole or not at all.

        Raises:
            NotWritten: names the file and why.
        """
        self.make(target, lambda scratch: scratch.write_bytes(content))

    def write_json(self, target: Path, content: Any) -> None:
        """Writes a small JSON file as a whole or not at all."""
        self.write(target, json.dumps(content, indent=1).encode())

    def make(self, target: Path, write: Callable[[Path], Any]) -> None:
        """Puts what `write` leaves at the path it is given, a file or a folder, at `target`.

        Raises:
            NotWritten: names the target and why.
        """
        own = self._scratch / uuid.uuid4().hex
        scratch = own / target.name
        with _told(target):
            try:
                own.mkdir(parents=True)
                write(scratch)
                for path in (scratch, *(scratch.iterdir() if scratch.is_dir() else ())):
                    _sync(path)
                target.parent.mkdir(parents=True, exist_ok=True)
                if target.is_dir():  # a bag that is replaced
                    target.rename(own / "replaced")
                scratch.replace(target)
                _sync(target.parent)
            finally:
                shutil.rmtree(own, ignore_errors=True)

    def once(self, name: str, target: str, make: Callable[[], None]) -> None:
        """Makes a result unless a run before did, and it is still there."""
        mark = self._folder / f"result-{name}"
        if not mark.exists() or not (self.output / target).exists():
            make()
            self.write(mark, b"")

    def finish(self, summary: dict[str, Any]) -> None:
        """Marks the run as finished."""
        manifest = self._read_manifest()
        assert manifest is not None
        self.write_json(self._manifest, manifest | {"finished": summary})

    def clean(self, *, keep_manifest: bool) -> None:
        """Removes what a finished run needs no more; with its manifest it is known as done."""
        for path in self._folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path != self._manifest:
                path.unlink()
        if not keep_manifest:
            shutil.rmtree(self._folder)

    def _part(self, number: int) -> Path:
        return self._folder / f"part-{number:07d}.jsonl"

    def _read_manifest(self) -> dict[str, Any] | None:
        with _whole(self._manifest):
            try:
                manifest = json.loads(self._manifest.read_bytes())
            except (FileNotFoundError, NotADirectoryError):
                return None
            if missing := _KEYS - set(manifest):
                raise KeyError(missing)
            return manifest


@contextmanager
def _told(target: Path) -> Iterator[None]:
    """Makes errors of the disk say which result could not be written."""
    try:
        yield
    except NotWritten:
        raise
    except OSError as error:
        why = error.strerror or error
        raise NotWritten(f"{str(target)!r} cannot be written: {why}") from error


@contextmanager
def _whole(file: Path) -> Iterator[None]:
    """Makes errors of a file's content name the file and the way out."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{str(file)!r} is damaged; give --overwrite, without --resume, to begin anew"
        ) from error


def _sync(path: Path) -> None:
    """Brings a file or the entries of a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

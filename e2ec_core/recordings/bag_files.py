"""Opens the files of a bag, also where some are missing, damaged or were not closed."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path, PurePath
from shlex import quote
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from e2ec_core.image_files import natural_key
from e2ec_core.recordings.bag_topics import IMAGE_TYPES, one_line
from e2ec_core.recordings.unclosed_mcap import UnclosedMcap, is_unclosed

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader

BAG_ENDINGS = frozenset({".mcap", ".db3", ".bag"})
_LOGS = ("-wal", "-journal")  # of SQLite, beside a file that was not closed


class OpenBag(NamedTuple):
    """An open bag."""

    reader: AnyReader
    faults: list[str]
    """What is wrong with which of its files."""
    counts: dict[str, int]
    """How many images were recorded by topic, as far as the bag says."""


def is_bag(path: Path) -> bool:
    """Whether a path is a bag file, or a folder that holds some."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or bool(_bag_files(path))
    return path.suffix.lower() in BAG_ENDINGS


def open_reader(path: Path) -> OpenBag:
    """Opens a bag as far as it can be read; whoever calls closes the reader.

    Raises:
        ValueError: no file of it can be read.
    """
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise ValueError("reading bags needs rosbags: pip install rosbags") from error
    types = get_typestore(Stores.LATEST)  # for bags that hold no definitions

    def opened(paths: list[Path]) -> AnyReader:
        reader = AnyReader(paths, default_typestore=types)
        reader.open()
        return reader

    there = [path] if path.is_file() else _bag_files(path)
    reason = ""
    if not any(_logs(file) for file in there):
        try:
            whole = path.is_file() or (path / "metadata.yaml").is_file()
            reader = opened([path] if whole else there)
            told = [(c.topic, c.msgtype, c.msgcount) for c in reader.connections]
            return OpenBag(reader, [], _image_counts(told))
        except Exception as error:
            reason = f"bag {str(path)!r} cannot be read: {one_line(error)}"
    # Without its metadata.yaml, and the files as far as they go.
    names, told = _metadata(path)
    missing = [path / name for name in names if not (path / name).exists()]
    faults = [f"{str(file)!r} is missing" for file in missing]
    files = []
    with ExitStack() as copies:
        for file in there:
            try:
                readable = file
                if _logs(file):
                    folder = copies.enter_context(TemporaryDirectory(prefix="e2ec_bag_"))
                    readable = _with_logs(file, Path(folder))
                elif is_unclosed(file):
                    readable = UnclosedMcap(file)
                opened([readable]).close()
            except Exception as error:
                faults.append(f"{str(file)!r} cannot be read: {one_line(error)}{_remedy(file)}")
                continue
            files.append(readable)
            if isinstance(readable, UnclosedMcap):
                faults.append(f"{str(file)!r} was not closed, so its last messages are lost")
        if not files:
            raise ValueError(faults[0] if faults else reason)
        reader = opened(files)
        assert reader.stack is not None
        reader.stack.callback(copies.pop_all().close)
    return OpenBag(reader, faults, _image_counts(told))


def _bag_files(folder: Path) -> list[Path]:
    files = (f for f in folder.iterdir() if f.suffix.lower() in BAG_ENDINGS and f.name[0] != ".")
    return sorted(files, key=natural_key)


def _metadata(path: Path) -> tuple[list[str], list[tuple[str, str, int]]]:
    """Names of the files; topic, type and number of messages. Empty where nothing tells."""
    from ruamel.yaml import YAML  # of rosbags

    try:
        content: Any = YAML(typ="safe").load((path / "metadata.yaml").read_text())
        told = content["rosbag2_bagfile_information"]
        names = [PurePath(name).name for name in told["relative_file_paths"]]
        topics = [
            (one["topic_metadata"]["name"], one["topic_metadata"]["type"], one["message_count"])
            for one in told["topics_with_message_count"]
        ]
    except Exception:  # no file, or whatever it holds
        return [], []
    return names, topics


def _image_counts(told: list[tuple[str, str, int]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for topic, kind, count in told:
        if kind in IMAGE_TYPES and count:
            counts[topic] += count
    return counts


def _logs(file: Path) -> list[Path]:
    """What SQLite has written beside a file and not yet into it."""
    logs = [file.with_name(file.name + ending) for ending in _LOGS if file.suffix == ".db3"]
    return [log for log in logs if log.is_file() and log.stat().st_size]


def _with_logs(file: Path, folder: Path) -> Path:
    """A copy of a file into which its logs are written; rosbags passes them over."""
    for one in (file, *_logs(file)):
        copyfile(one, folder / one.name)
    with closing(sqlite3.connect(folder / file.name)) as database:
        database.execute("PRAGMA journal_mode = DELETE").fetchall()
    return folder / file.name


def _remedy(file: Path) -> str:
    """What to do about a file that cannot be read."""
    if file.suffix != ".db3":
        return ""
    mended = file.with_name(f"{file.stem}_mended.db3")
    command = f"sqlite3 {quote(str(file))} .recover | sqlite3 {quote(str(mended))}"
    return f"; copy it again, or try: {command}"

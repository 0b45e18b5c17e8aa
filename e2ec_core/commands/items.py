"""From what the user names (images, folders, videos, bags, lists) to files and their results."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from urllib.parse import unquote, urlsplit

from e2ec_core.image_files import IMAGE_ENDINGS, list_images, natural_key
from e2ec_core.recordings.bag_files import BAG_ENDINGS, is_bag
from e2ec_core.recordings.recording import VIDEO_ENDINGS

_NAMED = 2
"""Most files or folders that a line names of those that are passed over."""

_LONGEST = 230
"""Bytes of the name of a result; file systems take 255 with number and ending."""


@dataclass(frozen=True)
class Item:
    """An image, and the file that will show its contours."""

    path: Path
    target: Path


def make_items(paths: Iterable[Path], output: Path) -> list[Item]:
    """Gives every image a picture of its own in the folder `output`, see `result_names`."""
    paths = list(paths)
    names = result_names(map(stem_of, paths), [lambda name: [f"{name}.png"]] * len(paths))
    return [Item(path, output / f"{name}.png") for path, name in zip(paths, names, strict=True)]


def stem_of(path: str | Path) -> str:
    """The name of a file without its ending, or of a folder; also of `.` and `..`."""
    place = Path(os.path.abspath(path))
    return place.name if place.is_dir() else place.stem


def result_names(
    stems: Iterable[str],
    results: Sequence[Callable[[str], Iterable[str]]],
    taken: Iterable[str] = (),
) -> list[str]:
    """A name for the results of each file, without endings.

    Files of the same name (from different folders, or with different endings) are told apart by
    numbers: `x.png`, `x_2.png`. Very long names are cut.

    Args:
        stems: their own names.
        results: gives, for each file, the paths of its results with a name.
        taken: paths that no file may have.
    """
    names, used = [], {path.casefold() for path in taken}
    for stem, results_of in zip(stems, results, strict=True):
        first = stem.encode(errors="ignore")[:_LONGEST].decode(errors="ignore") or "unnamed"
        name, number = first, 1
        while used & {result.casefold() for result in results_of(name)}:
            number += 1
            name = f"{first}_{number}"
        used |= {result.casefold() for result in results_of(name)}
        names.append(name)
    return names


@dataclass
class Found:
    """What the user's paths stand for.

    Attributes:
        files: images, videos and bags, which may be folders; each once.
        notes: what was passed over without harm.
        faults: what gives nothing, and why.
    """

    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)

    def add(self, given: str, *, from_list: bool = False) -> None:
        """Adds an image, a video or a bag, a folder's, or those that a list (.txt) names.

        A folder with images, videos or folders of bags gives those, in natural order; else one
        with bag files is itself a bag. Other folders in it are not taken.
        """
        try:
            path = _local(given)
            if path.is_dir():
                self._add_folder(path)
            elif path.suffix.lower() == ".txt":
                if from_list:
                    raise ValueError(f"list {given!r} stands in a list; give it as a PATH")
                for line in _lines_of_list(path):
                    self.add(line, from_list=True)
            elif path.name == "metadata.yaml":
                folder = str(path.parent)
                raise ValueError(f"{given!r} is a part of a bag; give its folder {folder!r}")
            else:
                self._take(path)
        except (ValueError, OSError) as error:
            self.faults.append((repr(given), str(error)))

    def _take(self, path: Path) -> None:
        place = os.path.abspath(path)
        if place not in self._taken:
            self.files.append(path)
        self._taken.add(place)

    def _add_folder(self, folder: Path) -> None:
        files, others, folders = _contents(folder)
        passed = [_counted("file", others)] if others else []
        if folders:
            passed.append(
                f"{_counted('folder', folders)} (give {quote(str(folder))}/*/ for what they hold)"
            )
        rest = " and ".join(passed)
        if not files:
            kinds = ", ".join(sorted(IMAGE_ENDINGS | VIDEO_ENDINGS | BAG_ENDINGS))
            but = f"; there are {rest}" if rest else ""
            raise ValueError(
                f"folder {str(folder)!r} holds no images, videos or bags ({kinds}){but}"
            )
        for file in files:
            self._take(file)
        if rest:
            named = f"{len(files)} images, videos and bags of folder {str(folder)!r}"
            self.notes.append(f"{named}; passed over are {rest}")


def _contents(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """What a folder gives, which may be itself; its other files; its other folders."""
    if (folder / "metadata.yaml").is_file():
        return [folder], [], []
    listed = list_images(folder)
    kept = [p for p in listed.skipped if _is_kept(p)]
    videos = [p for p in kept if p.suffix.lower() in VIDEO_ENDINGS]
    folders = sorted((p for p in folder.iterdir() if p.is_dir()), key=natural_key)
    bags = [p for p in folders if _is_whole_bag(p)]
    if not listed.files and not videos and not bags and is_bag(folder):
        return [folder], [], []
    files = sorted([*listed.files, *kept, *bags], key=natural_key)
    others = [p for p in listed.skipped if p not in kept]
    return files, others, [p for p in folders if p not in bags and p.name[0] != "."]


def _is_whole_bag(folder: Path) -> bool:
    """Whether a folder, given alone, is one bag."""
    try:
        return is_bag(folder) and _contents(folder)[0] == [folder]
    except (OSError, ValueError):  # it may not be read
        return False


def _counted(kind: str, paths: Sequence[Path]) -> str:
    names = ", ".join(repr(path.name) for path in paths[:_NAMED])
    more = ", ..." if len(paths) > _NAMED else ""
    return f"{len(paths)} {kind}{'s' * (len(paths) > 1)} {names}{more}"


def _is_kept(path: Path) -> bool:
    return path.name[0] != "." and path.suffix.lower() in VIDEO_ENDINGS | BAG_ENDINGS


def _local(given: str) -> Path:
    """The place in the file system that the user's words mean.

    Raises:
        ValueError: they mean one in a network.
    """
    if os.path.exists(given):
        return Path(given)
    if given.startswith("file://"):
        return Path(unquote(urlsplit(given).path))
    if re.match(r"\w+://", given):
        raise ValueError(
            f"{given!r} is in a network, and predict reads files; download it, or give a stream "
            "to the camera node"
        )
    return Path(os.path.expanduser(given))


def _lines_of_list(path: Path) -> list[str]:
    """Reads the lines of a list; relative ones count from here, or else from the list's folder.

    Empty lines, and lines that begin with # and name no file, count nothing.
    """
    try:
        content = path.read_bytes()
        utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        lines = content.decode("utf-16" if utf16 else "utf-8-sig").splitlines()
    except OSError as error:
        raise ValueError(f"list {str(path)!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"list {str(path)!r} is no text in UTF-8 or UTF-16") from error
    places = [_place_of_line(line, path.parent) for line in lines if line.strip()]
    given = [place for place in places if os.path.exists(place) or place[0] != "#"]
    if not given:
        raise ValueError(f"list {str(path)!r} is empty; give one path a line")
    return given


def _place_of_line(line: str, folder: Path) -> str:
    """The file that a line names; blanks around it count if there is such a file."""
    names = (line, line.strip())
    places = (place for name in names for place in (name, str(folder / name)))
    return next((place for place in places if os.path.exists(place)), line.strip())

"""From what the user names (images, folders, videos, lists) to single files and their results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from e2ec_core.image_files import IMAGE_ENDINGS, list_images, natural_key

VIDEO_ENDINGS = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ts", ".gif"}
)


@dataclass(frozen=True)
class Item:
    """An image or a video, and the file that will show its contours."""

    path: Path
    target: Path


def is_video(path: Path) -> bool:
    """Tells a video from an image by its ending."""
    return path.suffix.lower() in VIDEO_ENDINGS


def make_items(paths: Iterable[Path], output: Path) -> list[Item]:
    """Gives every file a result of its own in the folder `output`.

    Files of the same name (from different folders, or with different endings) are told apart by
    numbers: `x.png`, `x_2.png`.
    """
    items, taken = [], set()
    for path in paths:
        ending = ".mp4" if is_video(path) else ".png"
        name, number = f"{path.stem}{ending}", 1
        while name.casefold() in taken:
            number += 1
            name = f"{path.stem}_{number}{ending}"
        taken.add(name.casefold())
        items.append(Item(path, output / name))
    return items


@dataclass
class Found:
    """What the user's paths stand for.

    Attributes:
        files: images and videos.
        notes: what was passed over without harm.
        faults: folders and lists that give nothing, and why.
    """

    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, path: Path, *, from_list: bool = False) -> None:
        """Adds an image or a video, a folder's, or those that a list (.txt) names.

        Of a folder, images and videos are taken in natural order, folders in it are not.
        """
        try:
            if path.is_dir():
                self._add_folder(path)
            elif path.suffix.lower() == ".txt" and not from_list:
                for line in _paths_of_list(path):
                    self.add(line, from_list=True)
            else:
                self.files.append(path)
        except (ValueError, OSError) as error:
            self.faults.append(str(error))

    def _add_folder(self, folder: Path) -> None:
        listed = list_images(folder)
        videos = [p for p in listed.skipped if is_video(p) and not p.name.startswith(".")]
        files = sorted([*listed.files, *videos], key=natural_key)
        if not files:
            endings = ", ".join(sorted(IMAGE_ENDINGS | VIDEO_ENDINGS))
            raise ValueError(f"folder {str(folder)!r} holds no images or videos ({endings})")
        self.files += files
        if others := len(listed.skipped) - len(videos):
            kept = f"{len(files)} images and videos of folder {str(folder)!r}"
            self.notes.append(f"{kept}; {others} other files there are passed over")


def _paths_of_list(path: Path) -> list[Path]:
    """Reads the lines of a list; relative ones count from here, or else from the list's folder."""
    try:
        content = path.read_bytes()
        utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        lines = content.decode("utf-16" if utf16 else "utf-8-sig").splitlines()
    except OSError as error:
        raise ValueError(f"list {str(path)!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"list {str(path)!r} is no text in UTF-8 or UTF-16") from error
    given = [_path_of_line(line, path.parent) for line in lines if line.strip()]
    if not given:
        raise ValueError(f"list {str(path)!r} is empty; give one path a line")
    return given


def _path_of_line(line: str, folder: Path) -> Path:
    """The file that a line names; blanks around it count if there is such a file."""
    names = (line, line.strip())
    places = (place for name in names for place in (Path(name), folder / name))
    return next((place for place in places if place.exists()), Path(line.strip()))

"""From what the user names (images, folders, videos, bags, lists) to files and their results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from e2ec_core.image_files import IMAGE_ENDINGS, list_images, natural_key
from e2ec_core.recordings.bags import BAG_ENDINGS, is_bag
from e2ec_core.recordings.recording import VIDEO_ENDINGS


@dataclass(frozen=True)
class Item:
    """An image, and the file that will show its contours."""

    path: Path
    target: Path


def make_items(paths: Iterable[Path], output: Path) -> list[Item]:
    """Gives every image a picture of its own in the folder `output`, see `result_names`."""
    paths = list(paths)
    names = result_names(paths, [".png"] * len(paths))
    return [Item(path, output / f"{name}.png") for path, name in zip(paths, names, strict=True)]


def result_names(paths: Sequence[Path], endings: Sequence[str]) -> list[str]:
    """A name for the result of each file, without its ending.

    Files of the same name (from different folders, or with different endings) are told apart by
    numbers: `x.png`, `x_2.png`.
    """
    names, taken = [], set()
    for path, ending in zip(paths, endings, strict=True):
        name, number = path.stem, 1
        while f"{name}{ending}".casefold() in taken:
            number += 1
            name = f"{path.stem}_{number}"
        taken.add(f"{name}{ending}".casefold())
        names.append(name)
    return names


@dataclass
class Found:
    """What the user's paths stand for.

    Attributes:
        files: images, videos and bags, which may be folders.
        notes: what was passed over without harm.
        faults: folders and lists that give nothing, and why.
    """

    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, path: Path, *, from_list: bool = False) -> None:
        """Adds an image, a video or a bag, a folder's, or those that a list (.txt) names.

        A folder with images, videos or folders of bags gives those, in natural order; else one
        with bag files is itself a bag. Other folders in it are not taken.
        """
        try:
            if path.is_dir() and not (path / "metadata.yaml").is_file():
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
        kept = [p for p in listed.skipped if _is_kept(p)]
        videos = [p for p in kept if p.suffix.lower() in VIDEO_ENDINGS]
        bags = [p for p in folder.iterdir() if (p / "metadata.yaml").is_file()]
        if not listed.files and not videos and not bags and is_bag(folder):
            self.files.append(folder)
            return
        files = sorted([*listed.files, *kept, *bags], key=natural_key)
        if not files:
            endings = ", ".join(sorted(IMAGE_ENDINGS | VIDEO_ENDINGS | BAG_ENDINGS))
            raise ValueError(f"folder {str(folder)!r} holds no images, videos or bags ({endings})")
        self.files += files
        if others := len(listed.skipped) - len(kept):
            named = f"{len(files)} images, videos and bags of folder {str(folder)!r}"
            self.notes.append(f"{named}; {others} other files there are passed over")


def _is_kept(path: Path) -> bool:
    return path.name[0] != "." and path.suffix.lower() in VIDEO_ENDINGS | BAG_ENDINGS


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

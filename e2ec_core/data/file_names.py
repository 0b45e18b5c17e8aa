"""The files that labels name, also where names were written on another machine."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from e2ec_core.data import problems as defects
from e2ec_core.data.content import ImageEntry
from e2ec_core.data.dataset import FoundFile
from e2ec_core.data.problems import Problems
from e2ec_core.image_files import IMAGE_ENDINGS


def find_files(
    entries: Sequence[ImageEntry], folder: Path, problems: Problems
) -> tuple[list[Path | None], tuple[FoundFile, ...]]:
    """The file of each image, None where it is missing or could be another's as well."""
    found = [find_file(entry.name, folder) for entry in entries]
    guessed = Counter(path for path, exact in found if not exact)
    exact_paths = {path for path, exact in found if exact}
    paths: list[Path | None] = []
    for entry, (path, exact) in zip(entries, found, strict=True):
        if path is None:
            problems.note(defects.MISSING_IMAGE, str(folder / entry.name))
        elif not exact and (guessed[path] > 1 or path in exact_paths):
            problems.note(defects.AMBIGUOUS_FILE, entry.name)
            path = None
        elif not exact and path.suffix != Path(entry.name.strip()).suffix:
            problems.note(defects.OTHER_ENDING, f"{entry.name} for {path.name}")
        paths.append(path)
    names = (entry.name for entry in entries)
    return paths, tuple(FoundFile(n, p) for n, (p, _) in zip(names, found, strict=True))


def find_file(name: str, folder: Path) -> tuple[Path | None, bool]:
    """The file of a name, and whether it is the name's own place.

    The paths of labelling servers and other machines are cut from the left until a file fits.
    Failing that, a file fits whose ending has another case, or which alone has one.
    """
    for number, candidate in enumerate(_candidates(name)):
        if os.path.isfile(folder / candidate):  # unlike Path.is_file, for names of any length
            return folder / candidate, number == 0
    for candidate in _candidates(name):
        if found := other_endings(folder / candidate):
            return (found[0] if len(found) == 1 else None), False
    return None, False


def other_endings(path: Path) -> list[Path]:
    """Files of the same name with an ending in another case, or with one where it has none."""
    stem, ending = os.path.splitext(path)
    if ending.lower() in IMAGE_ENDINGS:
        endings = {ending.lower(), ending.upper()}
    else:
        stem, endings = str(path), {s for e in IMAGE_ENDINGS for s in (e, e.upper())}
    return [Path(stem + e) for e in sorted(endings) if os.path.isfile(stem + e)]


def _candidates(name: str) -> Iterator[str]:
    yield name
    for text in dict.fromkeys((name, name.strip(), unquote(name.strip()))):
        words = [w for w in text.split("/") if w not in ("", ".", "..")]
        for start in range(len(words)):
            if (tail := "/".join(words[start:])) != name:
                yield tail

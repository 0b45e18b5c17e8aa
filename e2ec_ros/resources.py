"""Files that come with the package, found in the source tree or in the installed share folder."""

from __future__ import annotations

from pathlib import Path


def resource(name: str) -> Path:
    """Path of a file of the package, e.g. `config/e2ec.yaml`.

    The source tree comes first when this code runs from it, so that an older build cannot lend
    its files.

    Raises:
        ValueError: the file is in neither place.
    """
    folders = [Path(__file__).resolve().parents[1], *_share_folders()]
    for folder in folders:
        if (folder / "package.xml").is_file() and (folder / name).is_file():
            return folder / name
    searched = ", ".join(str(folder) for folder in folders)
    raise ValueError(f"{name} is missing from the package; searched {searched}")


def _share_folders() -> list[Path]:
    try:
        from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
    except ImportError:
        return []
    try:
        return [Path(get_package_share_directory("e2ec_ros"))]
    except (PackageNotFoundError, LookupError):
        return []

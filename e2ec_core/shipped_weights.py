"""Where the weights lie that ship with the library."""

from __future__ import annotations

from pathlib import Path


def shipped_weights() -> Path:
    """Finds `e2ec_lite.safetensors`, in an installed library as well as in the source tree.

    Raises:
        ValueError: it was not installed.
    """
    package = Path(__file__).resolve().parent
    places = [package / "weights", package.parent / "weights"]
    for folder in places:
        if (folder / "e2ec_lite.safetensors").is_file():
            return folder / "e2ec_lite.safetensors"
    raise ValueError(
        f"the weights e2ec_lite.safetensors are not in {str(places[0])!r}: "
        "install the library again, or give a weights file"
    )

"""What weights files say of themselves. It needs no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2ec_core.config import ModelConfig


class CheckpointError(ValueError):
    """A weights file is missing, broken or does not fit; the message names file and fix."""


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """What a checkpoint says of itself.

    Attributes:
        name: file name without its ending, e.g. `e2ec_lite`.
        config: architecture and class names.
        card: model card: training command, data, licences, measured AP.
        sha256: digest of the weights file, for an ONNX file of the one it was exported from;
            empty for a model that was never stored.
    """

    name: str
    config: ModelConfig
    card: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""


def weights_file(path: str | Path) -> Path:
    """The weights that a path stands for: the file, or of a run's folder the best or the last.

    Raises:
        CheckpointError: there are none.
    """
    path = Path(path)
    if not path.is_dir():
        if path.is_file():
            return path
        raise CheckpointError(f"weights file {str(path)!r} does not exist; check the path")
    name = path.resolve().name
    for candidate in (path / f"{name}_best.safetensors", path / f"{name}.safetensors"):
        if candidate.is_file():
            return candidate
    files = sorted(path.glob("*.safetensors"))  # of a run that was renamed
    best = [file for file in files if file.stem.endswith("_best")] or files
    if len(best) == 1:
        return best[0]
    has = ", ".join(repr(file.name) for file in files) or "none"
    raise CheckpointError(
        f"folder {str(path)!r} holds no weights of a run ({name}.safetensors; it has {has}); "
        "give a weights file"
    )

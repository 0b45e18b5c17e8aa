"""What a run of `e2ec predict` does, as its manifest says it, and the parts it is cut into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from e2ec_core.commands.model_options import ModelOptions
from e2ec_core.commands.predict_paths import choose_copies, paths_of
from e2ec_core.predictor_settings import PredictorSettings
from e2ec_core.recordings.recording import Recording

PART_FRAMES = 32
"""Frames of a part: what is lost when a process is killed, and what one worker gets at a time."""

FORMAT = 1
"""Of manifest and parts; raise it when they change."""


class Segment(NamedTuple):
    """Frames of one recording."""

    recording: int
    begin: int
    end: int | None
    """None: as far as it goes, whatever its file says of its length."""


Part = tuple[Segment, ...]


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that results depend on.

    Attributes:
        recordings: what is read, in the order of the results.
        names: of the results of each recording, without endings.
        write: kinds of results.
        model: which weights run where.
        settings: of the predictor.
        range: which values of 16-bit images become black and white.
        threads: CPU threads of one inference, of which the last bits depend; 0: the backend's
            choice.
        weights_sha256: digest of the weights.
        backend: what runs them.
    """

    recordings: tuple[Recording, ...]
    names: tuple[str, ...]
    write: tuple[str, ...]
    model: ModelOptions
    settings: PredictorSettings
    range: str
    threads: int = 0
    weights_sha256: str = ""
    backend: str = ""

    @cached_property
    def parts(self) -> list[Part]:
        """The work in pieces of at most `PART_FRAMES` frames."""
        return cut(self.recordings)

    def paths(self, number: int) -> dict[str, str]:
        """What the recording of a number gives, see `paths_of`."""
        return paths_of(self.names[number], self.recordings[number].kind, self.write)

    @cached_property
    def copies(self) -> dict[str, str]:
        """The folder for the copy of each bag, see `choose_copies`."""
        return choose_copies(self.recordings, self.names, self.write)

    def manifest(self) -> dict[str, Any]:
        """The job as JSON takes it, with size and time of each file."""
        content = asdict(self)
        inputs = content.pop("recordings")
        for one, name in zip(inputs, content.pop("names"), strict=True):
            one["name"] = name
            one |= _state_of(Path(one["path"]))
        content["settings"]["classes"] = list(self.settings.classes)
        content["write"] = list(self.write)
        return {"format": FORMAT, "part_frames": PART_FRAMES, **content, "inputs": inputs}

    @staticmethod
    def of(manifest: dict[str, Any]) -> Job:
        """The job that a manifest says."""
        fields = ("path", "kind", "topic", "length", "rate")
        settings = manifest["settings"] | {"classes": tuple(manifest["settings"]["classes"])}
        return Job(
            recordings=tuple(
                Recording(**{name: one[name] for name in fields}) for one in manifest["inputs"]
            ),
            names=tuple(one["name"] for one in manifest["inputs"]),
            write=tuple(manifest["write"]),
            model=ModelOptions(**manifest["model"]),
            settings=PredictorSettings(**settings),
            range=manifest["range"],
            threads=manifest["threads"],
            weights_sha256=manifest["weights_sha256"],
            backend=manifest["backend"],
        )


def cut(recordings: Sequence[Recording]) -> list[Part]:
    """Cuts recordings into parts: single images together, others by `PART_FRAMES`."""
    parts: list[Part] = []
    images: list[Segment] = []
    for number, recording in enumerate(recordings):
        if recording.kind == "image":
            images.append(Segment(number, 0, 1))
        if images and (recording.kind != "image" or len(images) == PART_FRAMES):
            parts.append(tuple(images))
            images = []
        if recording.kind != "image":
            begins = range(0, max(recording.length, 1), PART_FRAMES)
            ends = [*begins[1:], None]
            parts += [(Segment(number, b, e),) for b, e in zip(begins, ends, strict=True)]
    return [*parts, tuple(images)] if images else parts


def difference(manifest: dict[str, Any], other: dict[str, Any]) -> str:
    """Says what two manifests differ in first; empty if in nothing.

    Where the weights lie does not count; their digest does.
    """
    inputs, others = manifest["inputs"], other["inputs"]
    if len(inputs) != len(others):
        return f"it has {len(inputs)} inputs, had {len(others)}"
    for now, then in zip(inputs, others, strict=True):
        for key in now:
            if now[key] != then.get(key):
                return f"{key} of input {now['path']!r} is {now[key]!r}, was {then.get(key)!r}"
    theirs = _flat(other)
    for key, value in _flat(manifest).items():
        if theirs.get(key) != value:
            return f"{key} is {value!r}, was {theirs.get(key)!r}"
    return ""


def _flat(manifest: dict[str, Any]) -> dict[str, Any]:
    plain = {k: v for k, v in manifest.items() if k not in ("model", "settings", "inputs")}
    kept = ("device", "precision")
    model = {k: v for k, v in manifest["model"].items() if k in kept}
    flat = manifest["settings"] | model | plain
    return {k: ",".join(v) if isinstance(v, list) else v for k, v in flat.items()}


def _state_of(path: Path) -> dict[str, int]:
    """Size, bytes, and time of change, ns, of a file or of all files of a folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    states = [file.stat() for file in files if file.is_file()]
    return {
        "size": sum(state.st_size for state in states),
        "modified": max((state.st_mtime_ns for state in states), default=0),
    }

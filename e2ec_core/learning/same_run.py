"""Whether a saved state belongs to a run: its settings and its data are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from e2ec_core.config import to_dict
from e2ec_core.data.dataset import CocoDataset
from e2ec_core.data.packed import PackedImages
from e2ec_core.learning.config import TrainConfig

MAY_CHANGE = frozenset(
    {
        *("epochs", "output", "start", "start_part", "accumulate", "device", "threads"),
        *("workers", "image_cache", "log_every", "save_every", "validate_every"),
        *("pictures", "tensorboard"),
    }
)
"""Settings that may differ when a run is resumed. Files of labels and images may lie elsewhere:
their content is compared. More epochs stretch a cosine schedule."""
_PLACES = ("annotations", "images", "split_file")


def data_digest(datasets: Sequence[CocoDataset]) -> str:
    """Digest of classes, image names and sizes, and labels."""
    digest = hashlib.sha256()
    for data in datasets:
        digest.update(repr((tuple(data.class_names), len(data.images))).encode())
        if isinstance(data.images, PackedImages):
            digest.update(data.images.digest().encode())
            continue
        for image in data.images:
            digest.update(repr((image.path.name, image.height, image.width)).encode())
            for instance in image.instances:
                digest.update(repr((instance.class_id, instance.crowd)).encode())
                for part in instance.parts:
                    digest.update(part.tobytes())
    return digest.hexdigest()


def refuse_another_run(
    state: dict[str, Any], config: TrainConfig, digests: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Makes sure that a state was saved by a run.

    Args:
        state: as it was saved.
        config: the run that wants to go on.
        digests: of its data, by `training` and `validation`; what is absent is not compared.

    Raises:
        ValueError: it was saved by another run; all differences are named.
    """
    if "config" not in state:
        raise ValueError("last.pt is of an older version and cannot be resumed; start a new run")
    saved, wanted = dict(_flat(state["config"])), dict(_flat(to_dict(config)))
    differences = [
        f"{name} was {saved.get(name)!r} and is {wanted.get(name)!r}"
        for name in dict.fromkeys([*saved, *wanted])
        if saved.get(name) != wanted.get(name)
    ]
    saved_digests = state.get("data", {})
    differences += [
        f"images or labels of the {name} data are others"
        for name, digest in digests.items()
        if saved_digests.get(name, digest) != digest
    ]
    if differences:
        raise ValueError(
            f"this is not the run that is resumed: {'; '.join(differences)}; set them as they "
            "were, or give another output for a new run"
        )


def _flat(values: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by dotted name, without those that may change."""
    if isinstance(values, dict):
        for key, value in values.items():
            if (name or key not in MAY_CHANGE) and key not in _PLACES:
                yield from _flat(value, f"{name}.{key}" if name else key)
    elif isinstance(values, list) and any(isinstance(value, dict) for value in values):
        for number, value in enumerate(values):
            yield from _flat(value, f"{name}[{number}]")
    else:
        yield name, values

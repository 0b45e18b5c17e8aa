"""The published model's numbers for one set of weights; absent reference data skip the tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from published_numbers import COMMITTED
from torch import Tensor

from e2ec_core.convert import infer_config, load_published
from e2ec_core.model.build import build_model
from e2ec_core.model.e2ec import E2EC


@pytest.fixture(scope="session")
def parity_dir(shared_dir: Path) -> Path:
    """The folder of the published model's weights and outputs."""
    folder = shared_dir / "reference" / "parity"
    if not (folder / "expected.npz").is_file():
        pytest.skip(f"no numbers of the published model in {folder}")
    return folder


@pytest.fixture(scope="session")
def published_tensors(parity_dir: Path) -> dict[str, Tensor]:
    """The weights those outputs were computed with, by published name."""
    with np.load(parity_dir / "weights_int8.npz") as packed:
        return unpack_weights(packed)


@pytest.fixture(scope="session")
def committed_tensors() -> dict[str, Tensor]:
    """The weights of the two layers that are committed, by published name."""
    with np.load(COMMITTED) as archive:
        names = [name for name in archive.files if name.startswith("weight/")]
        return unpack_weights({name.removeprefix("weight/"): archive[name] for name in names})


@pytest.fixture(scope="session")
def published_model(published_tensors: dict[str, Tensor]) -> E2EC:
    """Our model with those weights, float32, in evaluation mode."""
    used = {
        key: value
        for key, value in published_tensors.items()
        if not key.startswith(
            ("dla.base.fc.", "dla.base.level3.project.", "dla.base.level4.project.")
        )
    }
    model = build_model(infer_config(used, "sbd"))
    load_published(model, used)
    return model.eval()


def unpack_weights(packed: Mapping[str, NDArray]) -> dict[str, Tensor]:
    """Float32 tensors by name from int8 values and their scales."""
    tensors = {}
    for entry in packed:
        kind, key = entry.split("::")
        if kind == "int8":
            value = packed[entry].astype(np.float32) * packed[f"scale::{key}"]
            tensors[key] = torch.from_numpy(value)
        elif kind == "float":
            tensors[key] = torch.from_numpy(np.asarray(packed[entry]))
    return tensors

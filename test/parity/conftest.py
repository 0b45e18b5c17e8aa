"""The published model's numbers for one set of weights; absent reference data skip the tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
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
def expected(parity_dir: Path) -> Mapping[str, NDArray]:
    """Outputs of the published model by name, read on access."""
    return np.load(parity_dir / "expected.npz")


@pytest.fixture(scope="session")
def published_tensors(parity_dir: Path) -> dict[str, Tensor]:
    """The weights those outputs were computed with, by published name."""
    packed = np.load(parity_dir / "weights_int8.npz")
    tensors = {}
    for entry in packed.files:
        kind, key = entry.split("::")
        if kind == "int8":
            value = packed[entry].astype(np.float32) * packed[f"scale::{key}"]
            tensors[key] = torch.from_numpy(value)
        elif kind == "float":
            tensors[key] = torch.from_numpy(np.asarray(packed[entry]))
    return tensors


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

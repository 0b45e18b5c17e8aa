"""The compiled network: one graph, and the results of the one that is not compiled."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from e2ec_core.inference import Predictor, PredictorSettings
from e2ec_core.inference.agreement import greatest_distance
from e2ec_core.inference.torch_predictor import SLOTS, TorchPredictor, load_torch_predictor
from street_scenes import make_scene

SETTINGS = PredictorSettings(short_side=0, long_side=192, score_threshold=0.05, nms_iou=1.0)


@pytest.fixture(scope="module")
def weights(repo_dir: Path) -> Path:
    return repo_dir / "weights" / "e2ec_lite.safetensors"


@pytest.fixture(scope="module")
def eager(weights: Path) -> TorchPredictor:
    return load_torch_predictor(weights, device="cpu", settings=SETTINGS)


@pytest.fixture(scope="module")
def street() -> np.ndarray:
    return make_scene(3, 384, 256).image_rgb


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"amodal": True, "classes": ("car", "person")}])
def test_from_the_image_to_the_packed_result_is_one_graph(
    eager: TorchPredictor, changes: dict[str, object]
) -> None:
    """Nothing waits for the device before the one copy back, which is outside."""
    settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
    mask = eager.class_mask(settings)
    torch._dynamo.reset()
    images = torch.zeros(2, 64, 96, 3, dtype=torch.uint8)
    with torch.inference_mode():
        found = torch._dynamo.explain(eager.network)(
            images, mask, SLOTS[0], settings.stage, settings.amodal
        )
    assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons


@pytest.mark.slow
def test_compiled_contours_are_those_of_eager(
    eager: TorchPredictor, weights: Path, street: np.ndarray
) -> None:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("no C++ compiler: apt install g++")
    settings = replace(SETTINGS, max_instances=4)  # one graph: compiling it takes two minutes
    compiled = Predictor.from_checkpoint(
        weights, device="cpu", backend="compiled", settings=settings
    )
    assert compiled.backend == "compiled"
    eager.settings = settings
    expected = eager(street).contours
    assert len(expected) > 0
    for _ in range(2):
        assert greatest_distance(expected, compiled(street).contours) < 0.01
    eager.settings = SETTINGS


def test_compiling_needs_a_compiler(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/nowhere/c++")
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("/nowhere/c++",))
    with pytest.raises(ValueError, match=r"'compiled', which needs a C\+\+ compiler"):
        Predictor.from_checkpoint(weights, device="cpu", backend="compiled")


def test_contours_do_not_depend_on_the_image_before(
    eager: TorchPredictor, weights: Path, street: np.ndarray
) -> None:
    """A full image after an empty one, and the other way round."""
    full = replace(SETTINGS, score_threshold=0.01, max_instances=40)
    fresh = load_torch_predictor(weights, device="cpu", settings=full)
    expected = fresh(street).contours
    assert len(expected) > SLOTS[0]
    for _ in range(2):
        eager.settings = replace(full, score_threshold=0.99)
        assert len(eager(street).contours) < SLOTS[0]
        eager.settings = full
        assert greatest_distance(expected, eager(street).contours) < 1e-3
    eager.settings = SETTINGS

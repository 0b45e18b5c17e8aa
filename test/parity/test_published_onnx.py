"""The published model as an ONNX file, with ONNX's own deformable convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2ec_core.convert import convert_checkpoint
from e2ec_core.inference import Predictor, PredictorSettings
from e2ec_core.inference.agreement import greatest_distance
from e2ec_core.inference.torch_predictor import load_torch_predictor


@pytest.mark.slow
def test_an_exported_file_gives_pytorch_s_contours(
    published_tensors: dict[str, Tensor], expected: Mapping[str, NDArray], tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx", reason="no onnx: pip install '.[export]'")
    pytest.importorskip("onnxscript", reason="no onnxscript: pip install '.[export]'")

    from e2ec_core.inference.onnx_export import export_onnx

    torch.save({"net": published_tensors}, tmp_path / "model_sbd.pth")
    convert_checkpoint(tmp_path / "model_sbd.pth", tmp_path / "sbd.safetensors", dataset="sbd")
    eager = load_torch_predictor(tmp_path / "sbd.safetensors", device="cpu")
    content = export_onnx(eager.model, eager.info)
    nodes = onnx.load_from_string(content).graph.node
    assert sum(node.op_type == "DeformConv" for node in nodes) == 16
    (tmp_path / "sbd.onnx").write_bytes(content)
    exported = Predictor.from_checkpoint(tmp_path / "sbd.onnx")
    image_rgb = np.ascontiguousarray(expected["image_bgr"][:, :, ::-1])
    settings = PredictorSettings(score_threshold=0.05, max_instances=32, nms_iou=1.0)
    # At the published size, and at one with unequal sides, which are not the traced ones.
    for changes in ({}, {"short_side": 192, "long_side": 320}):
        eager.settings = exported.settings = replace(settings, **changes)
        found = eager(image_rgb).contours
        assert len(found) > 10
        assert greatest_distance(found, exported(image_rgb).contours) < 0.05

"""Which file of the model that ships is used."""

from __future__ import annotations

import pytest

from e2ec_core.shipped_weights import shipped_weights


def test_both_files_ship() -> None:
    assert shipped_weights().name == "e2ec_lite.safetensors"
    assert shipped_weights("onnxruntime").name == "e2ec_lite.onnx"
    assert shipped_weights().stat().st_size < 16e6
    exported = shipped_weights("onnxruntime").read_bytes()
    assert len(exported) < 16e6
    assert b"stack_trace" not in exported  # with paths of the machine that it was made on


@pytest.mark.parametrize(
    ("device", "precision", "name"),
    [
        ("cpu", "fp32", "e2ec_lite.onnx"),
        ("cpu", "bf16", "e2ec_lite.safetensors"),
        ("cuda", "fp32", "e2ec_lite.safetensors"),
        ("cuda:1", "fp16", "e2ec_lite.safetensors"),
    ],
)
def test_auto_takes_the_fastest(device: str, precision: str, name: str) -> None:
    if name.endswith(".safetensors"):
        pytest.importorskip("torch", reason="PyTorch is not installed")
    assert shipped_weights("auto", device=device, precision=precision).name == name

"""Where ONNX Runtime runs a file, for every device, precision and build of it."""

from __future__ import annotations

import pytest

from e2ec_core.inference.onnx_providers import CPU, CUDA, TENSORRT, choose_providers

PLAIN = (CPU,)
GPU = (TENSORRT, CUDA, CPU)


@pytest.mark.parametrize(
    ("backend", "device", "available", "expected"),
    [
        ("onnxruntime", "auto", PLAIN, [CPU]),
        ("onnxruntime", "cpu", GPU, [CPU]),
        ("onnxruntime", "auto", GPU, [CUDA, CPU]),
        ("onnxruntime", "cuda:1", GPU, [CUDA, CPU]),
        ("tensorrt", "auto", GPU, [TENSORRT, CUDA, CPU]),
        ("tensorrt", "cuda:1", GPU, [TENSORRT, CUDA, CPU]),
    ],
)
def test_providers_follow_backend_and_device(
    backend: str, device: str, available: tuple[str, ...], expected: list[str]
) -> None:
    chosen = choose_providers(backend, device, "fp32", available)  # type: ignore[arg-type]
    assert [name for name, _ in chosen] == expected
    index = 1 if device == "cuda:1" else 0
    assert all(options["device_id"] == index for name, options in chosen if name != CPU)
    assert all(options["use_tf32"] == 0 for name, options in chosen if name == CUDA)


def test_tensorrt_keeps_its_engines_in_the_user_s_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    for precision in ("fp32", "fp16"):
        (_, options), *_ = choose_providers("tensorrt", "cuda", precision, GPU)
        assert options["trt_engine_cache_path"] == "/cache/e2ec/tensorrt"
        assert options["trt_fp16_enable"] == (precision == "fp16")


@pytest.mark.parametrize(
    ("backend", "device", "precision", "available", "message"),
    [
        ("onnxruntime", "cuda", "fp32", PLAIN, "device is 'cuda', but .* install onnxruntime-gpu"),
        ("tensorrt", "auto", "fp32", (CUDA, CPU), "backend is 'tensorrt', but .* no Tensorrt"),
        ("tensorrt", "cpu", "fp32", GPU, "device is 'cpu'; the backend tensorrt runs on cuda"),
        ("onnxruntime", "cpu", "bf16", PLAIN, "'bf16'; the backend onnxruntime runs in fp32"),
        ("onnxruntime", "cuda", "fp16", GPU, "'fp16'; the backend onnxruntime runs in fp32"),
        ("tensorrt", "cuda", "bf16", GPU, "'bf16'; the backend tensorrt runs in fp32 or fp16"),
        ("onnxruntime", "gpu", "fp32", GPU, "device is 'gpu'; choose auto, cpu, cuda or cuda:N"),
        ("onnxruntime", "cuda:x", "fp32", GPU, "device is 'cuda:x'; choose auto"),
        ("onnxruntime", "cpu:1", "fp32", GPU, "device is 'cpu:1'; choose auto"),
    ],
)
def test_what_does_not_fit_is_said_with_what_would(
    backend: str, device: str, precision: str, available: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        choose_providers(backend, device, precision, available)  # type: ignore[arg-type]

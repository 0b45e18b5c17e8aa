"""Where ONNX Runtime runs a file: its execution providers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from e2ec_core.shipped_weights import Backend

CPU, CUDA, TENSORRT = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt"))


def choose_providers(
    backend: Backend, device: str, precision: str, available: Sequence[str]
) -> list[tuple[str, dict[str, Any]]]:
    """Execution providers, best first, with their options.

    Args:
        backend: `onnxruntime`: CUDA's or the CPU's own kernels; `tensorrt`: TensorRT, which takes
            minutes to build an engine for a size it sees first, and keeps it in the user's cache.
        device: `auto` (CUDA where ONNX Runtime has it), `cpu`, `cuda` or `cuda:N`.
        precision: `fp32`; TensorRT also `fp16`.
        available: what `onnxruntime.get_available_providers()` says.

    Raises:
        ValueError: they do not fit; says what would.
    """
    name, _, index = device.partition(":")
    if name not in ("auto", "cpu", "cuda") or (index and not (name == "cuda" and index.isdigit())):
        raise ValueError(f"device is {device!r}; choose auto, cpu, cuda or cuda:N")
    known = ("fp32", "fp16") if backend == "tensorrt" else ("fp32",)
    if precision not in known:
        raise ValueError(
            f"precision is {precision!r}; the backend {backend} runs in {' or '.join(known)}"
        )
    cpu: tuple[str, dict[str, Any]] = (CPU, {})
    if backend == "tensorrt":
        if name == "cpu":
            raise ValueError("device is 'cpu'; the backend tensorrt runs on cuda")
        _require(TENSORRT, "backend is 'tensorrt'", available)
        return [(TENSORRT, _tensorrt(int(index or 0), precision)), _cuda(int(index or 0)), cpu]
    if name == "cuda":
        _require(CUDA, f"device is {device!r}", available)
    if name == "cpu" or CUDA not in available:
        return [cpu]
    return [_cuda(int(index or 0)), cpu]


def _require(provider: str, wish: str, available: Sequence[str]) -> None:
    if provider not in available:
        raise ValueError(
            f"{wish}, but this ONNX Runtime has no {provider} (it has {', '.join(available)}); "
            "install onnxruntime-gpu in place of onnxruntime, or choose device cpu and backend "
            "onnxruntime"
        )


def _cuda(index: int) -> tuple[str, dict[str, Any]]:
    # TF32 has ten bits of mantissa, too few for coordinates. An exhaustive search for algorithms
    # at every new size of image costs more than it saves.
    return CUDA, {"device_id": index, "use_tf32": 0, "cudnn_conv_algo_search": "HEURISTIC"}


def _tensorrt(index: int, precision: str) -> dict[str, Any]:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = str(base / "e2ec" / "tensorrt")
    return {
        "device_id": index,
        "trt_fp16_enable": precision == "fp16",
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": folder,
    }

"""Which of the weights that ship with the library are used, and where they lie."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

Backend = Literal["auto", "torch", "compiled", "onnxruntime", "tensorrt"]
ENDINGS: dict[str, str] = {
    "torch": ".safetensors",
    "compiled": ".safetensors",
    "onnxruntime": ".onnx",
    "tensorrt": ".onnx",
}
"""Ending of the weights files that a backend runs."""
_GPUS = ("/dev/nvidia0", "/dev/nvhost-gpu", "/dev/nvgpu", "/dev/dxg")
"""Devices of NVIDIA's GPUs: in a PC, on Jetson boards, and in Windows' subsystem for Linux."""


def shipped_weights(
    backend: Backend = "torch", *, device: str = "auto", precision: str = "fp32"
) -> Path:
    """Finds the model that ships, in an installed library as well as in the source tree.

    The same model ships twice: for PyTorch, and as an ONNX file, which is about twice as fast on
    CPUs.

    Args:
        backend: `torch` or `compiled` for `e2ec_lite.safetensors`, `onnxruntime` or `tensorrt`
            for `e2ec_lite.onnx`, or `auto`: what is fastest of the installed.
        device: where it shall run.
        precision: arithmetic; ONNX Runtime has fp32.

    Raises:
        ValueError: it was not installed.
    """
    if backend == "auto":
        backend = _fastest(device, precision)
    package = Path(__file__).resolve().parent
    places = [package / "weights", package.parent / "weights"]
    name = f"e2ec_lite{ENDINGS[backend]}"
    for folder in places:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(
        f"the weights {name} are not in {str(places[0])!r}: "
        "install the library again, or give a weights file"
    )


def _fastest(device: str, precision: str) -> Backend:
    """PyTorch on a GPU, else ONNX Runtime; nothing is imported to find out."""
    if find_spec("torch") is None:
        return "onnxruntime"
    on_gpu = device.startswith("cuda") or (
        device == "auto" and any(Path(place).exists() for place in _GPUS)
    )
    if on_gpu or precision != "fp32" or find_spec("onnxruntime") is None:
        return "torch"
    return "onnxruntime"

"""Choice of the device to compute on."""

from __future__ import annotations

import torch


def choose_device(name: str) -> torch.device:
    """Device for a name.

    On CUDA this turns TF32 off, PyTorch's default for convolutions in float32: it keeps 10 bits of
    each number, half a pixel at 512.

    Args:
        name: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.

    Raises:
        ValueError: no such device; the message says what there is.
    """
    count = torch.cuda.device_count()
    if name == "auto":
        name = "cuda:0" if count else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device is {name!r}; choose auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ValueError(f"device is {name!r}, but PyTorch sees {count} CUDA devices; choose cpu")
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    return device

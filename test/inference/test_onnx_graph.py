"""What the export does to the graph changes no result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2ec_core.inference.onnx_branches import compute_if
from e2ec_core.inference.onnx_layout import BLOCK, widen_depthwise

onnx = pytest.importorskip("onnx", reason="no onnx: pip install '.[export]'")
ir = pytest.importorskip("onnx_ir", reason="no onnx_ir: pip install '.[export]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="no onnxruntime")

CHAIN = """
<ir_version: 9, opset_import: ["" : 20]>
chain (float[2] x) => (float[2] first, float[2] second, float[2] third) {
    shared = Exp(x)
    first = Neg(shared)
    hidden = Cos(first)
    second = Mul(hidden, shared)
    deep = Sin(second)
    third = Add(deep, hidden)
}
"""


def _run(model: Any, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    content = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def test_branches_take_the_earlier_output_or_compute_the_later_one() -> None:
    model = ir.from_onnx_text(CHAIN)
    expected = _run(model, x=np.ones(2, np.float32))
    compute_if(model.graph, "go_on", "third", "second")
    compute_if(model.graph, "begin", "second", "first")
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    kinds = [node.op_type for node in model.graph]
    assert kinds.count("If") == 2
    assert "Sin" not in kinds  # the third alone needs it
    assert "Cos" in kinds  # second and third do
    for begin in (False, True):
        for go_on in (False, True):
            switches = {"begin": np.array(begin), "go_on": np.array(go_on)}
            found = _run(model, x=np.ones(2, np.float32), **switches)
            np.testing.assert_allclose(found["first"], expected["first"])
            second = found["first"] if not begin else expected["second"]
            np.testing.assert_allclose(found["second"], second)
            third = np.sin(second) + np.cos(expected["first"]) if go_on else second
            np.testing.assert_allclose(found["third"], third, rtol=1e-6)


@pytest.mark.parametrize("activated", [False, True])
def test_depthwise_convolutions_are_filled_up_to_whole_blocks(activated: bool) -> None:
    rng, entered = np.random.default_rng(0), "between" if activated else "first"
    shapes = {"a": (5, 3, 1, 1), "d": (5, 1, 3, 3), "c": (2, 5, 1, 1)}
    weights = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    weights |= {f"{name}_bias": rng.normal(size=shape[0]) for name, shape in shapes.items()}
    text = f"""
    <ir_version: 9, opset_import: ["" : 20]>
    convs (float[1, 3, 8, 8] x) => (float[1, 2, 8, 8] y) {{
        first = Conv(x, a, a_bias)
        between = LeakyRelu<alpha = 0.1>(first)
        deep = Conv<group = 5, pads = [1, 1, 1, 1]>({entered}, d, d_bias)
        y = Conv(deep, c, c_bias)
    }}
    """
    proto = onnx.parser.parse_model(text)
    if not activated:
        del proto.graph.node[1]
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(value.astype(np.float32), name)
        for name, value in weights.items()
    )
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    x = rng.normal(size=(1, 3, 8, 8)).astype(np.float32)
    expected = _run(model, x=x)["y"]
    widen_depthwise(model.graph)
    groups = [
        node.attributes["group"].as_int() for node in model.graph if "group" in node.attributes
    ]
    assert groups == [BLOCK]
    np.testing.assert_allclose(_run(model, x=x)["y"], expected, rtol=1e-5, atol=1e-5)


def test_what_is_not_asked_for_is_not_computed(exported: Path, tmp_path: Path) -> None:
    """Counts the sampling nodes that ONNX Runtime's profiler saw."""
    counts = []
    for deform, evolve, amodal in ((0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)):
        options = onnxruntime.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(tmp_path / "profile")
        session = onnxruntime.InferenceSession(
            str(exported), options, providers=["CPUExecutionProvider"]
        )
        inputs = {
            "images": np.full((1, 64, 96, 3), 127, np.uint8),
            "max_instances": np.array(4),
            "score_threshold": np.array(0.0, np.float32),
            "class_mask": np.ones(80, bool),
            "deform": np.array(bool(deform)),
            "evolve": np.array(bool(evolve)),
            "amodal": np.array(bool(amodal)),
        }
        session.run(None, inputs)
        events = json.loads(Path(session.end_profiling()).read_text())
        kinds = [e["args"].get("op_name") for e in events if e["name"].endswith("_kernel_time")]
        counts.append(kinds.count("GridSample"))
    assert counts[0] < counts[1] < counts[2] < counts[3], counts

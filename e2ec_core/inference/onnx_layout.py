"""Gives convolutions numbers of channels that ONNX Runtime has fast kernels for."""

from __future__ import annotations

from typing import Any

import numpy as np

BLOCK = 16
"""Channels that a vector register of AVX-512 holds; half as many of AVX2."""


def widen_depthwise(graph: Any) -> None:
    """Fills up depthwise convolutions between two others with channels of zeros.

    ONNX Runtime's blocked kernels take whole blocks of channels; others it copies back and forth.
    ShuffleNet has 58, 116 and 232. Results stay the same.

    Args:
        graph: of onnx_ir; changed in place.
    """
    import onnx_ir as ir

    for node in graph:
        groups = _groups(node)
        if groups == 1 or groups % BLOCK == 0:
            continue
        around = _neighbours(node)
        if around is None:
            continue
        before, after = around
        width = -(-groups // BLOCK) * BLOCK
        for conv, axis in ((before, 0), (node, 0), (after, 1)):
            weights = conv.inputs[1:2] if axis else conv.inputs[1:]
            for value in weights:
                _fill(value, axis, width)
        node.attributes["group"] = ir.AttrInt64("group", width)
        for value in (before.outputs[0], node.inputs[0], node.outputs[0]):
            value.shape = ir.Shape([value.shape[0], width, *value.shape[2:]])


def _groups(node: Any) -> int:
    """Groups of a convolution; 1 for all other nodes."""
    found = node.attributes.get("group") if node.op_type == "Conv" else None
    return 1 if found is None else found.as_int()


def _neighbours(node: Any) -> tuple[Any, Any] | None:
    """The plain convolutions before, perhaps with an activation between, and after a node.

    None where other nodes read what lies between.
    """
    value = node.inputs[0]
    links = [value, node.outputs[0]]
    before = value.producer()
    if before is not None and before.op_type == "LeakyRelu":
        links.append(before.inputs[0])
        before = before.inputs[0].producer()
    users = [user for user, _ in node.outputs[0].uses()]
    if before is None or not users or any(len(link.uses()) != 1 for link in links):
        return None
    plain = all(n.op_type == "Conv" and _groups(n) == 1 for n in (before, users[0]))
    return (before, users[0]) if plain else None


def _fill(value: Any, axis: int, width: int) -> None:
    import onnx_ir as ir

    weights = value.const_value.numpy()
    space = [(0, 0)] * weights.ndim
    space[axis] = (0, width - weights.shape[axis])
    value.const_value = ir.tensor(np.pad(weights, space), name=value.name)
    value.shape = ir.Shape(value.const_value.shape)

"""Moves what not every image needs into branches of an ONNX graph.

ONNX Runtime computes all of a graph whatever outputs are asked for; of an `If` node, one branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


def compute_if(graph: ir.Graph, condition: str, wanted: str, otherwise: str) -> None:
    """Computes an output, and all that it alone needs, only if an input is true.

    Args:
        graph: changed in place.
        condition: name of the bool input, which is added.
        wanted: name of the output.
        otherwise: name of another output, of the same type and shape, that takes its place.
    """
    import onnx_ir as ir

    switch = ir.Value(name=condition, type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([]))
    graph.inputs.append(switch)
    values = {value.name: value for value in graph.outputs}
    target, kept = values[wanted], values[otherwise]
    needed = _ancestors([value for value in graph.outputs if value is not target], stop=target)
    own = [node for node in graph if node in _ancestors([target]) - needed]
    result = ir.Value(name=wanted, type=target.type, shape=target.shape)
    target.name = f"{wanted}_computed"
    target.replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove(own)
    keep = ir.node("Identity", [kept], name=f"{wanted}_otherwise")
    keep.outputs[0].name, keep.outputs[0].type = keep.name, target.type
    branches = {
        "then_branch": ir.Graph([], [target], nodes=own, name=f"{wanted}_if_{condition}"),
        "else_branch": ir.Graph([], keep.outputs, nodes=[keep], name=f"{wanted}_if_not"),
    }
    graph.append(ir.node("If", [switch], branches, outputs=[result], name=f"if_{condition}"))
    graph.sort()


def _ancestors(values: Sequence[ir.Value], stop: ir.Value | None = None) -> set[ir.Node]:
    """The nodes that values come from, without looking behind the value `stop`."""
    found: set[ir.Node] = set()
    left = list(values)
    while left:
        value = left.pop()
        node = None if value is stop else value.producer()
        if node is None or node in found:
            continue
        found.add(node)
        left += [x for x in node.inputs if x is not None]
        for attribute in node.attributes.values():
            if attribute.type.name == "GRAPH":
                inner = attribute.as_graph().all_nodes()
                left += [x for n in inner for x in n.inputs if x is not None]
    return found

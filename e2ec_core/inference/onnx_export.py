"""Writes a model as one ONNX file, for any number of images, size and instances or fixed ones."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from e2ec_core.checkpoint import CheckpointInfo
from e2ec_core.inference.class_filter import mask_classes
from e2ec_core.inference.onnx_branches import compute_if
from e2ec_core.inference.onnx_file import (
    AMODAL,
    BOXES,
    CONTOURS,
    DETECTIONS,
    INPUTS,
    to_metadata,
)
from e2ec_core.inference.onnx_int8 import quantise
from e2ec_core.inference.onnx_layout import widen_depthwise
from e2ec_core.model.e2ec import E2EC
from e2ec_core.model.published import deform_conv  # noqa: F401  registers the operator
from e2ec_core.model.structures import Seeds

SLOTS = 200
"""Instances that the file can report, the most that `max_instances` may be."""
OPSET = 20
INITIAL, COARSE = "contours_initial", "contours_coarse"
"""Contours of earlier stages, on the way to the file's one output of contours."""
_MULTIPLE = 32
_LARGE = 256
"""Weights of a tensor that is worth storing in half precision."""
_MOST = 256
"""Most multiples of 32 px of a side, and most images of a batch."""


class ImageToContours(nn.Module):
    """The whole way of a batch, with the inputs and outputs that `onnx_file` describes."""

    def __init__(self, model: E2EC, slots: int = 0) -> None:
        """Args: model: what to run; slots: fixed number of contours, 0 for those found."""
        super().__init__()
        self.model = model
        self.slots = slots

    def forward(
        self, images: Tensor, max_instances: Tensor, score_threshold: Tensor, class_mask: Tensor
    ) -> tuple[Tensor, ...]:
        """Every stage's contours, then the outputs in the order of `onnx_file`."""
        features = self.model.detect(images.permute(0, 3, 1, 2).float())
        found = self.model.propose(mask_classes(features, class_mask), self.slots or SLOTS)
        count: Any = self.slots
        if not self.slots:
            reached = (found.scores >= score_threshold).sum(1).max()
            count = torch.minimum(reached, max_instances).clamp(min=1).item()  # a symbol
            torch._check(count >= 1)
            torch._check(count <= SLOTS)
        boxes = found.seeds.boxes
        seeds = Seeds(found.seeds.cells[:, :count], None if boxes is None else boxes[:, :count])
        seeds = self.model.encode_regions(features, seeds)
        grown = self.model.grow(features, seeds, clip=self.model.clip)
        scores = self.model.rate(found.scores[:, :count], seeds)
        detections = [scores, found.class_ids[:, :count]]
        finite = features.logits.isfinite().flatten(1).all(1)
        more = [] if found.boxes is None else [found.boxes[:, :count]]
        if self.model.amodal is not None:
            more.append(self.model.grow_amodal(features, seeds, grown[-1]))
        return (grown[0], grown[1], grown[-1], *detections, finite, *more)


def export_onnx(
    model: E2EC,
    info: CheckpointInfo,
    *,
    size: tuple[int, int] | None = None,
    batches: bool = False,
    slots: int = 0,
    opset: int = OPSET,
    int8: Sequence[NDArray[np.uint8]] = (),
) -> bytes:
    """Exports a model.

    Args:
        model: on the CPU; it is not changed.
        info: of the weights it was loaded from, which goes into the file.
        size: (height, width) of the input, px, multiples of 32; None: any size.
        batches: whether the file takes any number of images at once, else one.
        slots: fixed number of contours, which compilers as TensorRT need to know; 0: as many as
            are found.
        opset: version of ONNX's operators.
        int8: images uint8 [H, W, 3] RGB with which to quantise it, see `onnx_int8`; none: float32.

    Returns:
        content of the file.

    Raises:
        ValueError: the model finds components of instances, which ONNX files cannot yet.
    """
    import onnx_ir

    if model.component_head is not None:
        raise ValueError("a model with components cannot be exported yet")
    plain = copy.deepcopy(model).eval()
    height, width = size or (4 * _MULTIPLE, 6 * _MULTIPLE)
    images = torch.zeros(2 if batches else 1, height, width, 3, dtype=torch.uint8)
    mask = torch.ones(len(info.config.class_names), dtype=torch.bool)
    whole = ImageToContours(plain, slots).eval()
    inputs = (images, torch.tensor(32), torch.tensor(0.3), mask)
    free: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=_MOST)} if batches else {}
    if not size:
        rows, columns = (torch.export.Dim(n, min=2, max=_MOST) for n in ("rows", "columns"))
        free |= {1: _MULTIPLE * rows, 2: _MULTIPLE * columns}
    with torch.no_grad():
        outputs = [INITIAL, COARSE, CONTOURS, *DETECTIONS, BOXES, AMODAL][: len(whole(*inputs))]
        program = torch.onnx.export(
            whole,
            inputs,
            dynamo=True,
            opset_version=opset,
            input_names=INPUTS[: len(inputs)],
            output_names=outputs,
            dynamic_shapes=(free or None, None, None, None),
            custom_translation_table={
                torch.ops.aten.remainder.Scalar: _remainder,
                torch.ops.e2ec.deform_conv2d.default: _deform_conv,
            },
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(to_metadata(info))
    model_ir = program.model
    branch_off(model_ir)
    widen_depthwise(model_ir.graph)
    forget_sources(model_ir.graph)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        if int8:
            program.save(path)
            smaller = path.with_name("int8.onnx")
            quantise(path, smaller, info.config, int8)
            model_ir = onnx_ir.load(smaller)
        store_halves(model_ir.graph)
        onnx_ir.save(model_ir, path)
        return path.read_bytes()


def branch_off(model: Any) -> None:
    """Leaves one output of contours, with later stages and amodal contours only where wanted.

    Args:
        model: of onnx_ir; changed in place.
    """
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    graph = model.graph
    outputs = {value.name: value for value in graph.outputs}
    if AMODAL in outputs:
        compute_if(graph, "amodal", AMODAL, CONTOURS)
    compute_if(graph, "evolve", CONTOURS, COARSE)
    compute_if(graph, "deform", COARSE, INITIAL)
    for name in (INITIAL, COARSE):
        graph.outputs.remove(next(value for value in graph.outputs if value.name == name))
    for value in [value for value in graph.inputs if not value.uses()]:
        graph.inputs.remove(value)  # the score threshold, with a fixed number of contours
    RemoveUnusedNodesPass()(model)


def forget_sources(graph: Any) -> None:
    """Drops what the exporter notes everywhere: stack traces with the paths of this machine.

    Args:
        graph: of onnx_ir; changed in place.
    """
    for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
        value.metadata_props.clear()
    for node in graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()


def store_halves(graph: Any) -> None:
    """Stores weights in half precision that lose nothing by it, as those of checkpoints do.

    The file is half as large. ONNX Runtime undoes it once, when it loads the file.

    Args:
        graph: of onnx_ir; changed in place.
    """
    import onnx_ir as ir

    first = graph[0]
    for value in list(graph.initializers.values()):
        weights = value.const_value.numpy()
        if weights.dtype != np.float32 or weights.size < _LARGE:
            continue
        halves = weights.astype(np.float16)
        if not np.array_equal(halves.astype(np.float32), weights):
            continue
        name = value.name
        cast = ir.node("Cast", [value], {"to": ir.DataType.FLOAT}, name=f"{name}_as_float")
        (output,) = cast.outputs
        output.name, output.dtype, output.shape = f"{name}_float", ir.DataType.FLOAT, value.shape
        for node, index in list(value.uses()):
            if node is not cast:
                node.replace_input_with(index, output)
        value.const_value = ir.tensor(halves, name=name)
        value.dtype = ir.DataType.FLOAT16
        graph.insert_before(first, cast)


def _remainder(value: Any, divisor: Any) -> Any:
    """The exporter's own rule knows no divisor that depends on the image's size."""
    from onnxscript import opset20

    return opset20.Mod(value, opset20.CastLike(divisor, value))


def _deform_conv(image: Any, offset: Any, mask: Any, weight: Any, bias: Any) -> Any:
    """ONNX's own operator, with the padding of the only kernel size that models have."""
    from onnxscript import opset20

    return opset20.DeformConv(
        image, weight, offset, bias, mask, kernel_shape=[3, 3], pads=[1, 1, 1, 1]
    )

"""Two layers equal the published model's, with committed weights, inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2ec_core.model.published.deform_conv import deform_conv2d
from e2ec_core.model.published.initial import InitialContour
from e2ec_core.model.structures import STRIDE, Features, Seeds

Expected = Mapping[str, NDArray]


def test_the_initial_contour(committed_tensors: dict[str, Tensor], expected: Expected) -> None:
    """On a map that holds the 3x3 neighbourhoods of the centres side by side."""
    initial = InitialContour().double()
    names = {"head.conv": "dla.wh.0", "head.out": "dla.wh.2"}
    initial.load_state_dict(
        {
            f"{ours}.{part}": committed_tensors[f"{theirs}.{part}"].double()
            for ours, theirs in names.items()
            for part in ("weight", "bias")
        }
    )
    patches = torch.from_numpy(expected["committed/patches"]).double()
    feature = patches.permute(1, 2, 0, 3).flatten(2)[None]  # [1, 64, 3, 3 K]
    cells = torch.tensor([[3.0 * k + 1, 1.0] for k in range(len(patches))])[None].double()
    features = Features(heatmap=feature[:, :1], feature=feature)
    with torch.inference_mode():
        contours = initial(features, Seeds(cells=cells))[0] - STRIDE * cells[0, :, None]
    centres = STRIDE * expected["test/stage[final-dml].detection"][:, None, :2]
    theirs = expected["test/stage[final-dml].poly_init"]
    inside = (theirs > 0) & (theirs < 4 * 127)  # the published model clips to its map
    assert inside.mean() > 0.9
    assert np.abs(contours.numpy() + centres - theirs)[inside].max() < 1e-3


def test_a_deformable_convolution(
    committed_tensors: dict[str, Tensor], expected: Expected
) -> None:
    """On a crop, where no tap of the kernel leaves it."""
    image = torch.from_numpy(expected["committed/dcn.in"]).double()

    def weight(name: str) -> Tensor:
        return committed_tensors[f"dla.ida_up.proj_1.conv.{name}"].double()

    raw = torch.nn.functional.conv2d(
        image, weight("conv_offset_mask.weight"), weight("conv_offset_mask.bias"), padding=1
    )
    out = deform_conv2d(
        image, raw[:, :18], raw[:, 18:].sigmoid(), weight("weight"), weight("bias")
    )
    side = image.shape[-1]
    steps = torch.arange(side)
    room = torch.minimum(steps, side - 1 - steps) - 2.0  # the kernel's own reach and its border
    room = torch.minimum(room[:, None], room[None, :])
    complete = raw[0, :18].abs().amax(0) <= room
    assert int(complete.sum()) > 100
    theirs = torch.from_numpy(expected["committed/dcn.out"]).double()
    difference = (out - theirs)[0][:, complete].abs().max()
    assert float(difference) < 1e-5 * float(theirs.abs().max())

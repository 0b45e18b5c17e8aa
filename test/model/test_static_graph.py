"""From image to contours nothing depends on the data: every variant is one graph."""

from __future__ import annotations

import pytest
import torch

from e2ec_core.config import ModelConfig
from e2ec_core.model.build import build_model


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant",
    [
        {"preset": "e2ec_lite"},
        {"preset": "e2ec_lite", "initial": "octagon"},
        {"preset": "e2ec_lite", "components": True},
        {"preset": "e2ec_dla34"},
        {"preset": "e2ec_dla34", "deformation": "paper"},
        {
            **{"preset": "e2ec_dla34", "initial": "octagon"},
            **{"components": True, "deformation": "none"},
        },
    ],
    ids=lambda variant: " ".join(map(str, variant.values())),
)
def test_the_model_is_one_graph(variant: dict[str, object]) -> None:
    config = ModelConfig(class_names=("a", "b"), vertices=32, evolutions=1, **variant)  # type: ignore[arg-type]
    model = build_model(config).eval()
    torch._dynamo.reset()
    with torch.inference_mode():
        found = torch._dynamo.explain(model)(255 * torch.rand(1, 3, 64, 96), max_instances=4)
    assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons

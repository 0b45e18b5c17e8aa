"""Other weights, image sizes and class counts, against a plain functional form of the network.

It is the plain rendering in benchmarks/, so that what benchmarks compare with finds the same.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from types import ModuleType

import pytest
import torch

from e2ec_core.config import ModelConfig
from e2ec_core.model.build import build_model
from e2ec_core.model.e2ec import E2EC
from e2ec_core.model.published.folding import fold_norms


@pytest.fixture
def plain(load_script: Callable[[str], ModuleType]) -> ModuleType:
    """The plain rendering that benchmarks are compared with."""
    return load_script("benchmarks/plain_model.py")


def _random_model(classes: int, vertices: int, evolutions: int) -> E2EC:
    """A model in which every layer matters: random norms, offsets, and scales of order one."""
    names = tuple(f"class {i}" for i in range(classes))
    config = ModelConfig(
        preset="e2ec_dla34", class_names=names, vertices=vertices, evolutions=evolutions
    )
    model = build_model(config).double().eval()
    generator = torch.Generator().manual_seed(classes)
    for key, value in model.state_dict().items():
        if not value.is_floating_point():
            continue
        random = torch.randn(value.shape, generator=generator, dtype=value.dtype)
        if key.endswith("running_var") or (key.endswith("weight") and value.dim() == 1):
            random = 0.5 + random.abs()
        elif value.dim() > 1 and "upsamplings" not in key:
            random = random / math.sqrt(value[0].numel())
        else:
            random = 0.2 * random
        value.copy_(random)
    return model


@pytest.mark.parametrize(
    ("classes", "size", "vertices", "evolutions"),
    [(1, (64, 96), 128, 3), (7, (96, 64), 40, 2), (3, (32, 160), 64, 0)],
)
def test_every_stage_equals_the_plain_network(
    classes: int, size: tuple[int, int], vertices: int, evolutions: int, plain: ModuleType
) -> None:
    model = _random_model(classes, vertices, evolutions)
    images = torch.randint(0, 256, (2, 3, *size)).double()
    with torch.inference_mode():
        weights = plain.plain_weights(model)
        feature = plain.detect(weights, images)
        found = plain.find(weights, images, slots=5, threshold=0.0)
        stages = [
            model(images, max_instances=5, stage=stage) for stage in ("initial", "coarse", "final")
        ]
        maps = model.detect(images)
    torch.testing.assert_close(maps.feature, feature, rtol=1e-9, atol=1e-9)
    coarse = stages[1].contours / 4
    inside = (coarse > 0) & (coarse < torch.tensor(feature.shape[:-3:-1]) - 1)
    assert float(inside.double().mean()) > 0.25, "nearly every vertex is clipped: a weak check"
    for b, one in enumerate(found):
        torch.testing.assert_close(stages[0].scores[b], one.scores, rtol=1e-9, atol=1e-12)
        assert torch.equal(stages[0].class_ids[b], one.class_ids)
        for ours, index in zip(stages, (0, 1, -1), strict=True):
            theirs = one.contours[index]
            torch.testing.assert_close(ours.contours[b], theirs, rtol=0, atol=1e-6)


def test_folded_norms_change_nothing() -> None:
    model = _random_model(2, 32, 1)
    folded = copy.deepcopy(model)
    fold_norms(folded)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    images = torch.randint(0, 256, (1, 3, 64, 96)).double()
    with torch.inference_mode():
        ours, theirs = (m(images, max_instances=4) for m in (folded, model))
    torch.testing.assert_close(ours.contours, theirs.contours, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.scores, theirs.scores, rtol=1e-9, atol=1e-12)

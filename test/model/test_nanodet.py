"""The detector of the lite preset: its maps, its layers, and its outputs as the original's."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from e2ec_core.checkpoint import read_checkpoint
from e2ec_core.model.lite.detector import LAYOUT, LEVELS, NanoDetPlus
from e2ec_core.model.lite.shufflenet import shuffle
from e2ec_core.model.structures import Features


def test_halves_of_the_channels_are_interleaved() -> None:
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert shuffle(x).flatten().tolist() == [0, 3, 1, 4, 2, 5]


@pytest.fixture(scope="module")
def fresh() -> NanoDetPlus:
    torch.manual_seed(0)
    return NanoDetPlus(3).eval()


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (96, 160)])
def test_maps_have_their_strides(fresh: NanoDetPlus, size: tuple[int, int]) -> None:
    height, width = size
    with torch.inference_mode():
        features: Features = fresh(255 * torch.rand(2, 3, height, width))
    cells = [-(-height // stride) * -(-width // stride) for stride in LEVELS]
    assert features.candidates is not None
    assert features.candidates.logits.shape == (2, 3, sum(cells))
    assert features.candidates.bins.shape == (2, 4, 8, sum(cells))
    assert features.candidates.points.shape == (sum(cells), 3)
    assert features.grid == (height // 4, width // 4)
    maps = (features.feature, features.fine, *features.pyramid)
    layouts = (LAYOUT.feature, LAYOUT.fine, *LAYOUT.pyramid)
    for found, layout in zip(maps, layouts, strict=True):
        assert found is not None
        assert found.shape == (2, layout.channels, height // layout.stride, width // layout.stride)


def test_points_run_row_by_row_level_by_level(fresh: NanoDetPlus) -> None:
    with torch.inference_mode():
        features: Features = fresh(torch.zeros(1, 3, 64, 96))
    assert features.candidates is not None
    points = features.candidates.points
    assert points[:2].tolist() == [[0, 0, 8], [8, 0, 8]]
    assert points[12].tolist() == [0, 8, 8]
    assert points[96].tolist() == [0, 0, 16]
    assert points[-2:].tolist() == [[0, 0, 64], [64, 0, 64]]


def test_images_of_a_batch_do_not_mix(fresh: NanoDetPlus) -> None:
    images = 255 * torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        together, alone = fresh(images), fresh(images[1:])
    torch.testing.assert_close(together.logits[1:], alone.logits, rtol=1e-4, atol=1e-5)


def test_a_change_of_the_image_lies_on_every_map_where_the_layout_says() -> None:
    """The centre of the change that a patch makes, on maps without the pyramid's wide view."""
    torch.manual_seed(0)
    detector = NanoDetPlus(1).double().eval()
    for parameter in detector.parameters():
        if parameter.ndim > 1:  # all taps alike: the change is symmetric about its centre
            parameter.data = parameter.mean((2, 3), keepdim=True).expand_as(parameter).clone()
    grey = torch.full((1, 3, 256, 256), 120.0, dtype=torch.float64)
    patch = grey.clone()
    low, high = 100, 132
    patch[..., low:high, low:high] += 10
    with torch.no_grad():
        before, after = detector(grey), detector(patch)
    for name, layout in (("fine", LAYOUT.fine), *zip((0, 1, 2), LAYOUT.pyramid, strict=True)):
        maps = [f.fine if name == "fine" else f.pyramid[name] for f in (before, after)]
        change = (maps[1] - maps[0]).abs().sum((0, 1, 2))
        at = float((change * torch.arange(len(change))).sum() / change.sum())
        assert at == pytest.approx((low + high) / 2 / layout.stride - layout.shift, abs=0.25)


@pytest.fixture(scope="module")
def original(shared_dir: Path) -> dict[str, np.ndarray]:
    """What the original weights give for one image in ncnn."""
    with np.load(shared_dir / "reference" / "nanodet_start.npz") as archive:
        return {name: archive[name] for name in archive.files if name.startswith("fixture/")}


def test_shipped_detector_is_the_original(
    repo_dir: Path, shared_dir: Path, original: dict[str, np.ndarray]
) -> None:
    info, state = read_checkpoint(repo_dir / "weights" / "e2ec_lite.safetensors")
    detector = NanoDetPlus(len(info.config.class_names)).eval()
    own = {k.removeprefix("detector."): v for k, v in state.items() if k.startswith("detector.")}
    detector.load_state_dict(own)
    path = shared_dir / "data" / "coco_subset" / "images" / "000000000139.jpg"
    image = cv2.resize(cv2.imread(str(path)), (416, 416))[..., ::-1].copy()
    with torch.inference_mode():
        features = detector(torch.from_numpy(image).permute(2, 0, 1)[None].float())
    logits, bins, _ = features.candidates
    found = torch.cat([logits[0].sigmoid(), bins[0].flatten(0, 1)]).T.numpy()
    np.testing.assert_allclose(found, original["fixture/output"], atol=1e-3)
    np.testing.assert_allclose(features.feature[0].numpy(), original["fixture/p8"], atol=5e-3)
    np.testing.assert_allclose(features.pyramid[1][0], original["fixture/stage2"], atol=5e-3)
    np.testing.assert_allclose(features.pyramid[2][0], original["fixture/stage3"], atol=5e-3)

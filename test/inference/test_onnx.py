"""Exported files find what PyTorch finds, and run without it."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from e2ec_core.checkpoint import CheckpointError, read_checkpoint
from e2ec_core.inference import NonFiniteError, Predictor, PredictorSettings
from e2ec_core.inference.agreement import greatest_distance
from e2ec_core.inference.torch_predictor import TorchPredictor, load_torch_predictor

SETTINGS = PredictorSettings(short_side=224, long_side=320)
TOLERANCE = 0.01  # px


@pytest.fixture(scope="module")
def weights(repo_dir: Path) -> Path:
    return repo_dir / "weights" / "e2ec_lite.safetensors"


@pytest.fixture(scope="module")
def eager(weights: Path) -> TorchPredictor:
    return load_torch_predictor(weights, device="cpu")


@pytest.fixture(scope="module")
def loaded(exported: Path) -> Predictor:
    return Predictor.from_checkpoint(exported, threads=1)


@pytest.fixture
def predictor(loaded: Predictor) -> Predictor:
    """The exported model with these settings, whatever a test has set."""
    loaded.settings = SETTINGS
    return loaded


@pytest.fixture(scope="module")
def street(shared_dir: Path) -> np.ndarray:
    """A street with cars, 375 x 1242."""
    folder = shared_dir / "data" / "kitti_raw_seq8" / "image_02" / "data"
    image = cv2.imread(str(sorted(folder.glob("*.png"))[0]))
    return np.ascontiguousarray(image[..., ::-1])


def _distance(
    eager: Predictor, other: Predictor, image: np.ndarray, settings: PredictorSettings
) -> float:
    eager.settings = other.settings = settings
    expected = eager(image).contours
    assert len(expected) > 0
    return greatest_distance(expected, other(image).contours)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"short_side": 352, "long_side": 512},
        {"short_side": 384, "long_side": 1280},
        {"short_side": 0, "long_side": 640},
        {"short_side": 0, "long_side": 32, "score_threshold": 0.01},  # 32 x 32 px
        {"short_side": 64, "long_side": 32, "score_threshold": 0.01},
        {"stage": "initial"},
        {"stage": "coarse"},
        {"classes": ("car", "person")},
        {"max_instances": 2},
        {"max_instances": 200},
        {"amodal": True},
    ],
    ids=str,
)
def test_contours_are_those_of_pytorch(
    eager: TorchPredictor, predictor: Predictor, street: np.ndarray, changes: dict[str, Any]
) -> None:
    settings = replace(SETTINGS, nms_iou=1.0, **changes)
    image = street if settings.long_side >= 512 else street[:, 150:650]
    assert _distance(eager, predictor, image, settings) < TOLERANCE


@pytest.mark.parametrize("sides", [(224, 320), (352, 512), (384, 1280)])
def test_unsure_contours_lie_as_near_to_float64_as_those_of_pytorch(
    eager: TorchPredictor, predictor: Predictor, street: np.ndarray, sides: tuple[int, int]
) -> None:
    """Where detections are of nothing, rounding moves a vertex by more than the tolerance."""
    settings = PredictorSettings(short_side=sides[0], long_side=sides[1], score_threshold=0.0)
    placed, _ = eager.prepare(street, settings)
    with torch.inference_mode():
        images = torch.from_numpy(placed).permute(2, 0, 1)[None].double()
        model = copy.deepcopy(eager.model).double()
        features = model.detect(images)
        seeds = model.propose(features, settings.max_instances).seeds
        exact = model.grow(features, seeds, clip=model.clip)[-1][0].numpy()
    (expected,), (found,) = (p.infer(placed[None], settings) for p in (eager, predictor))
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    eager_error, error = (np.abs(o.vertices - exact).max(axis=(1, 2)) for o in (expected, found))
    assert (error < np.maximum(eager_error, TOLERANCE)).all()
    assert np.median(error) < 1e-3


def test_photographs_give_pytorch_s_contours(eager: Predictor, predictor: Predictor) -> None:
    data = pytest.importorskip("skimage.data")
    for image in (data.astronaut(), data.chelsea(), data.coffee()):
        assert _distance(eager, predictor, image, PredictorSettings()) < TOLERANCE


def test_no_object_gives_no_contour(predictor: Predictor) -> None:
    contours = predictor(np.full((120, 160, 3), 127, np.uint8)).contours
    assert contours.vertices.shape == (0, predictor.info.config.contour_vertices, 2)


def test_the_file_knows_its_weights(predictor: Predictor, weights: Path) -> None:
    info = read_checkpoint(weights)[0]
    assert predictor.backend == "onnxruntime"
    assert predictor.info.config == info.config
    assert predictor.info.card == info.card
    assert predictor.info.sha256 == info.sha256


def test_prediction_needs_no_pytorch(repo_dir: Path, tmp_path: Path) -> None:
    """In a process where torch is missing: the library, and the command."""
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), np.full((64, 96, 3), 127, np.uint8))
    program = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "import cv2\n"
        "from e2ec_core.commands.__main__ import main\n"
        "from e2ec_core.inference import Predictor, draw_contours\n"
        f"image = cv2.imread({str(image)!r})\n"
        "predictor = Predictor.from_pretrained()\n"
        "draw_contours(image, predictor(image).contours, predictor.info.config.class_names)\n"
        f"sys.exit(main(['predict', {str(image)!r}, '--output',\n"
        f"    {str(tmp_path / 'out')!r}]))\n"
    )
    reply = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=repo_dir, check=False
    )
    assert reply.returncode == 0, reply.stderr
    assert (tmp_path / "out" / "image.png").is_file()


def test_nan_in_the_image_s_logits_is_said(exported: Path, tmp_path: Path) -> None:
    """The weights of the class scores' bias replaced in the file."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(exported))
    (bias,) = (v for v in model.graph.initializer if v.name.endswith("heads.0.classes.bias"))
    values = np.full(onnx.numpy_helper.to_array(bias).shape, np.nan, np.float32)
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    broken = tmp_path / "broken.onnx"
    onnx.save(model, str(broken))
    with pytest.raises(NonFiniteError, match="holds NaN or inf"):
        Predictor.from_checkpoint(broken).warm_up((48, 64), runs=1)


def test_files_of_others_and_wrong_choices_are_named(
    exported: Path, weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        Predictor.from_checkpoint(tmp_path / "none.onnx")
    (tmp_path / "cut.onnx").write_bytes(exported.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be read as ONNX"):
        Predictor.from_checkpoint(tmp_path / "cut.onnx")
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(exported))
    del model.metadata_props[:]
    onnx.save(model, str(tmp_path / "plain.onnx"))
    with pytest.raises(CheckpointError, match="'plain' has format None, not 'e2ec-onnx/3'"):
        Predictor.from_checkpoint(tmp_path / "plain.onnx")
    with pytest.raises(ValueError, match="'bf16'; the backend onnxruntime runs in fp32"):
        Predictor.from_checkpoint(exported, precision="bf16")
    with pytest.raises(ValueError, match=r"backend is 'torch', but .* give \.safetensors"):
        Predictor.from_checkpoint(exported, backend="torch")
    with pytest.raises(ValueError, match="backend is 'ncnn'; choose auto or torch or compiled"):
        Predictor.from_checkpoint(exported, backend="ncnn")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'onnxruntime', but .* give \.onnx"):
        Predictor.from_checkpoint(weights, backend="onnxruntime")

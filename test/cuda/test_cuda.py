"""The model on a GPU: the same numbers as on the CPU, on one device throughout."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from e2ec_core.checkpoint import CheckpointInfo
from e2ec_core.config import ModelConfig
from e2ec_core.data.coco import read_coco
from e2ec_core.device import choose_device
from e2ec_core.inference import Prediction, Predictor, PredictorSettings
from e2ec_core.inference.agreement import greatest_distance
from e2ec_core.inference.torch_predictor import TorchPredictor
from e2ec_core.learning.config import LossConfig
from e2ec_core.learning.samples import stack_samples
from e2ec_core.learning.total_loss import batch_losses
from e2ec_core.learning.training_views import TrainingViews, ViewKey
from e2ec_core.model.build import build_model
from e2ec_core.model.published.deform_conv import deform_conv2d
from run_config import make_run

pytestmark = pytest.mark.cuda
NAMES = ("disc", "box")
VARIANTS = {
    "lite": {"preset": "e2ec_lite"},
    "lite octagon": {"preset": "e2ec_lite", "initial": "octagon"},
    "lite components": {"preset": "e2ec_lite", "components": True},
    "dla34": {"preset": "e2ec_dla34"},
    "dla34 paper": {"preset": "e2ec_dla34", "deformation": "paper"},
    "dla34 octagon components": {
        **{"preset": "e2ec_dla34", "initial": "octagon"},
        **{"components": True, "deformation": "none"},
    },
}


@pytest.fixture
def device() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return choose_device("cuda:0")


def config(variant: str) -> ModelConfig:
    return ModelConfig(class_names=NAMES, vertices=32, evolutions=1, **VARIANTS[variant])


@pytest.mark.parametrize("variant", VARIANTS)
def test_contours_equal_those_of_the_cpu(variant: str, device: torch.device) -> None:
    torch.manual_seed(0)
    model = build_model(config(variant)).eval()
    images = 255 * torch.rand(2, 3, 128, 160)
    with torch.inference_mode():
        here = model(images, max_instances=8)
        there = copy.deepcopy(model).to(device)(images.to(device), max_instances=8)
    assert {t.device for t in there if t is not None} == {device}
    torch.testing.assert_close(there.scores.cpu(), here.scores, rtol=1e-3, atol=1e-4)
    best = here.scores > here.scores.flatten().median()  # close scores may change places
    same = best & (there.class_ids.cpu() == here.class_ids)
    assert same.sum() >= best.sum() / 2
    torch.testing.assert_close(there.contours.cpu()[same], here.contours[same], rtol=0, atol=0.05)


@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_and_gradients_equal_those_of_the_cpu(
    variant: str, shapes_dir: Path, tmp_path: Path, device: torch.device
) -> None:
    run = make_run(
        {
            "model": {"class_names": list(NAMES), "vertices": 32, "evolutions": 1}
            | VARIANTS[variant],
            "train": [
                {
                    "annotations": str(shapes_dir / "instances.json"),
                    "images": str(shapes_dir / "images"),
                }
            ],
            "output": str(tmp_path),
            "augment": {"size": [128, 160], "base_side": 160},
        }
    )
    data = read_coco(shapes_dir / "instances.json", shapes_dir / "images", class_names=NAMES)
    views = TrainingViews([data], run)
    batch = stack_samples([views[ViewKey(0)], views[ViewKey(1)]])
    torch.manual_seed(0)
    models = {"cpu": build_model(run.model).eval()}  # without dropout, which differs by device
    models["cuda"] = copy.deepcopy(models["cpu"]).to(device)
    losses, gradients = {}, {}
    for name, model in models.items():
        moved = batch.to(next(model.parameters()).device)
        terms = batch_losses(model, moved, LossConfig(), epoch=20, train_detector=True)
        terms["total"].backward()
        losses[name] = {term: float(value) for term, value in terms.items()}
        gradients[name] = torch.stack(
            [p.grad.norm().cpu() for p in model.parameters() if p.grad is not None]
        )
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-3)
    torch.testing.assert_close(gradients["cuda"], gradients["cpu"], rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_the_shipped_model_finds_the_same_objects(
    precision: str, repo_dir: Path, device: torch.device
) -> None:
    data = pytest.importorskip("skimage.data", reason="scikit-image has the photograph")
    image = np.asarray(data.astronaut(), np.uint8)
    weights = repo_dir / "weights" / "e2ec_lite.safetensors"
    expected = Predictor.from_checkpoint(weights, device="cpu")(image).contours
    found = Predictor.from_checkpoint(weights, device=str(device), precision=precision)(image)
    assert np.isfinite(found.contours.vertices).all()
    assert found.contours.class_ids[0] == expected.class_ids[0]
    difference = np.abs(found.contours.vertices[0] - expected.vertices[0])
    assert difference.mean() < (0.05 if precision == "fp32" else 3.0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_copy_brings_the_result_back(variant: str, device: torch.device) -> None:
    """`set_sync_debug_mode` raises where the host waits for the device without being asked."""
    torch.manual_seed(0)
    settings = config(variant)
    predictor = TorchPredictor(
        build_model(settings),
        CheckpointInfo(name="model", config=settings),
        device=device,
        settings=PredictorSettings(short_side=128, classes=NAMES[:1]),
    )
    image = np.zeros((128, 160, 3), np.uint8)
    predictor(image)
    placed, _ = predictor.prepare(image, predictor.settings)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.inference_mode():
            mask = predictor.class_mask(predictor.settings)
            packed = predictor.network(predictor.upload(placed[None]), mask, 16, "final", False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    (output,), _ = packed.unpack()
    assert np.isfinite(output.vertices).all()


@pytest.mark.parametrize(
    ("backend", "precision", "furthest"),
    [
        ("compiled", "fp32", 0.01),
        ("compiled", "fp16", 0.1),
        ("onnxruntime", "fp32", 0.01),
        ("tensorrt", "fp32", 0.01),
        ("tensorrt", "fp16", 0.1),
    ],
)
def test_every_backend_gives_eager_s_contours(
    backend: str, precision: str, furthest: float, device: torch.device
) -> None:
    """In float32 every vertex of every contour, in float16 the mean distance, px."""
    data = pytest.importorskip("skimage.data", reason="scikit-image has the photograph")
    image = np.asarray(data.astronaut(), np.uint8)
    _require(backend)
    settings = PredictorSettings(score_threshold=0.5)
    expected = Predictor.from_pretrained(backend="torch", device=str(device), settings=settings)
    other = Predictor.from_pretrained(
        backend=backend,  # type: ignore[arg-type]
        device=str(device),
        precision=precision,  # type: ignore[arg-type]
        settings=settings,
    )
    a, b = expected(image).contours, other(image).contours
    assert len(a) > 0
    if precision == "fp32":
        assert greatest_distance(a, b) < furthest
        return
    assert len(a) == len(b)
    order = [int(np.abs(b.scores - score).argmin()) for score in a.scores]
    assert np.linalg.norm(a.vertices - b.vertices[order], axis=2).mean() < furthest


@pytest.mark.parametrize("backend", ["torch", "compiled", "onnxruntime"])
def test_a_batch_gives_the_contours_of_single_images(backend: str, device: torch.device) -> None:
    data = pytest.importorskip("skimage.data", reason="scikit-image has the photograph")
    image = np.asarray(data.astronaut(), np.uint8)
    _require(backend)
    predictor = Predictor.from_pretrained(
        backend=backend,  # type: ignore[arg-type]
        device=str(device),
        settings=PredictorSettings(score_threshold=0.5),
    )
    images = [image, np.ascontiguousarray(image[:, ::-1]), np.full_like(image, 127)]
    for alone, found in zip(map(predictor, images), predictor.batch(images), strict=True):
        assert isinstance(found, Prediction)
        assert greatest_distance(alone.contours, found.contours) < 0.01


def _require(backend: str) -> None:
    """Skips, with the reason, what this machine cannot run."""
    if backend == "torch":
        return
    if backend == "compiled":
        pytest.importorskip("triton", reason="compiling for a GPU needs Triton")
        return
    runtime = pytest.importorskip("onnxruntime", reason="no onnxruntime")
    provider = {"onnxruntime": "CUDA", "tensorrt": "Tensorrt"}[backend] + "ExecutionProvider"
    if provider not in runtime.get_available_providers():
        pytest.skip(f"this ONNX Runtime has no {provider}: pip install onnxruntime-gpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_deformable_convolution(dtype: torch.dtype, device: torch.device) -> None:
    torch.manual_seed(1)
    image, weight, bias = torch.randn(2, 8, 13, 17), torch.randn(6, 8, 3, 3), torch.randn(6)
    offset, mask = 3 * torch.randn(2, 18, 13, 17), torch.rand(2, 9, 13, 17)
    inputs = (image, offset, mask, weight, bias)
    there = [t.to(device, dtype).requires_grad_() for t in inputs]
    # The same rounded inputs on the CPU, in float64.
    here = [t.detach().cpu().double().requires_grad_() for t in there]
    outputs = [deform_conv2d(*given) for given in (here, there)]
    step = {torch.float32: 1e-4, torch.float16: 5e-2, torch.bfloat16: 0.4}[dtype]
    torch.testing.assert_close(outputs[1].double().cpu(), outputs[0], rtol=step, atol=10 * step)
    if dtype == torch.float32:
        for output in outputs:
            output.square().sum().backward()
        for ours, theirs in zip(there, here, strict=True):
            torch.testing.assert_close(ours.grad.double().cpu(), theirs.grad, rtol=1e-3, atol=1e-2)

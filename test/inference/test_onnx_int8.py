"""What 8 bits cost: AP on the validation images of the model that ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2ec_core.data.dataset import CocoDataset
from e2ec_core.evaluation.ground_truth import ground_truth
from e2ec_core.evaluation.protocols import ProtocolSettings, make_evaluator
from e2ec_core.inference import Predictor, PredictorSettings
from e2ec_core.inference.torch_predictor import load_torch_predictor
from e2ec_core.learning.config import DataConfig
from e2ec_core.learning.source import load_data

SETTINGS = PredictorSettings(
    short_side=0, long_side=512, score_threshold=0.0, max_instances=100, nms_iou=1.0
)


def _images(shared_dir: Path, split: str, names: tuple[str, ...]) -> CocoDataset:
    folder = shared_dir / "data" / "coco_subset"
    source = DataConfig(
        annotations=str(folder / "annotations" / "instances.json"),
        images=str(folder / "images"),
        split_file=str(folder / "annotations" / "splits.json"),
        split=split,
    )
    return load_data(source, names, held_out=False)


def _mask_ap(predictor: Predictor, data: CocoDataset) -> float:
    names = predictor.info.config.class_names
    evaluator = make_evaluator(
        ProtocolSettings(protocol="coco"), ground_truth(data), names, subsets={}
    )
    predictor.settings = SETTINGS
    for image in data.images:
        evaluator.process(image.image_id, predictor(image.read()).contours, None)
    return evaluator.evaluate()["mask/AP"]


@pytest.mark.slow
def test_8_bits_cost_hardly_any_ap(
    repo_dir: Path, exported: Path, shared_dir: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript", reason="no onnxscript: pip install '.[export]'")
    from e2ec_core.inference.onnx_export import export_onnx

    eager = load_torch_predictor(repo_dir / "weights" / "e2ec_lite.safetensors", device="cpu")
    names = eager.info.config.class_names
    learnt = _images(shared_dir, "train2017", names).images
    pixels = [image.read() for image in learnt[:: len(learnt) // 16][:16]]
    target = tmp_path / "int8.onnx"
    target.write_bytes(export_onnx(eager.model, eager.info, int8=pixels))
    data = _images(shared_dir, "val2017", names)
    exact, coarse = (
        _mask_ap(Predictor.from_checkpoint(path, device="cpu"), data)
        for path in (exported, target)
    )
    assert exact > 0.3
    assert coarse > exact - 0.003

"""Measuring stage by stage: which detections count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from e2ec_core.checkpoint import CheckpointInfo
from e2ec_core.config import ModelConfig
from e2ec_core.inference import PredictorSettings
from e2ec_core.inference.torch_predictor import TorchPredictor
from e2ec_core.model.build import build_model

CONFIG = ModelConfig(class_names=("car", "person"), vertices=16, evolutions=1)


def test_repeated_instances_go_by_the_predictors_setting() -> None:
    torch.manual_seed(3)
    settings = PredictorSettings(
        score_threshold=0.0, max_instances=30, nms_iou=1.0, short_side=0, long_side=96
    )
    info = CheckpointInfo(name="random", config=CONFIG)
    model = build_model(CONFIG).eval()
    for head in model.detector.heads:  # scores by chance, so that there are some to choose from
        torch.nn.init.normal_(head.classes.weight, std=2.0)
    predictor = TorchPredictor(model, info, device=torch.device("cpu"), settings=settings)
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8)
    every = predictor.every_stage(image, np.zeros((0, 4)))
    assert {len(result.contours) for result in every.values()} == {30}
    predictor.settings = replace(settings, nms_iou=0.05)
    for stage, (contours, boxes, _) in predictor.every_stage(image, np.zeros((0, 4))).items():
        assert 0 < len(contours) < 30
        assert boxes is not None
        assert len(boxes) == len(contours)
        assert contours.stage == (stage if stage in ("initial", "coarse") else "final")
        kept = {tuple(row) for row in contours.vertices.reshape(len(contours), -1).tolist()}
        assert kept <= {tuple(r) for r in every[stage].contours.vertices.reshape(30, -1).tolist()}

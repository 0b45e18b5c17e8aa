"""Components learnt end to end: found, grouped, and better together than each alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from e2ec_core.checkpoint import CheckpointInfo
from e2ec_core.data.coco import read_coco
from e2ec_core.evaluation import CocoEvaluator
from e2ec_core.evaluation.ground_truth import ground_truth
from e2ec_core.image_files import read_image
from e2ec_core.inference import PredictorSettings
from e2ec_core.inference.torch_predictor import TorchPredictor
from e2ec_core.learning.trainer import Trainer
from run_config import make_run

EPOCHS = 90


@pytest.mark.slow
def test_objects_cut_in_two_are_found_whole(
    tmp_path: Path, repo_dir: Path, split_bars: Callable[..., Path]
) -> None:
    labels = split_bars(tmp_path / "data", 8)
    images = str(labels.parent / "images")
    values = {
        "model": {
            "class_names": ["car", "person"],
            "vertices": 32,
            "evolutions": 1,
            "components": True,
        },
        "train": [{"annotations": str(labels), "images": images}],
        "output": str(tmp_path / "run"),
        "start": str(repo_dir / "weights" / "e2ec_lite.safetensors"),
        "start_part": "detector",
        "augment": {
            "size": [128, 192],
            "base_side": 192,
            "scale": [1.0, 1.0],
            "rotation": 0.0,
            "flip": 0.0,
            "color": 0.05,
            "blur": 0.0,
            "paste": 0,
        },
        "loss": {"box_units": True, "dynamic_matching_from": 0},
        "optimizer": {"warmup": 10, "lr": 3e-4, "ema": 0.0},
        "epochs": EPOCHS,
        "batch_size": 4,
        "max_instances": 8,
        "workers": 0,
        "threads": 1,
        "device": "cpu",
        "tensorboard": False,
        "validate_every": 0,
    }
    trainer = Trainer(make_run(values))
    trainer.run()
    predictor = TorchPredictor(
        trainer.model,
        CheckpointInfo(name="bars", config=trainer.config.model),
        device=trainer.process.device,
        settings=PredictorSettings(short_side=0, long_side=192),
    )
    subsets = {"split": ("car",), "unsplit": ("person",)}
    data = read_coco(labels, images)
    truth = ground_truth(data)
    grouped, apart = (CocoEvaluator(truth, subsets=subsets) for _ in range(2))
    for image in data.images:
        found = predictor(read_image(image.path)).contours
        parts = sorted(len(group) for group in found.by_instance())
        assert parts == ([1, 2] if image.image_id % 3 else [1, 1])
        grouped.process(image.image_id, found)
        apart.process(image.image_id, replace(found, instance_ids=None))
    together, alone = grouped.evaluate(), apart.evaluate()
    assert together["split/mask/AP50"] > 0.9
    assert together["split/mask/AP"] > alone["split/mask/AP"] + 0.3
    assert together["unsplit/mask/AP"] == alone["unsplit/mask/AP"]

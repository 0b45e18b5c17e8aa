"""The training loop: what it learns and writes, how it stops, and that it goes on exactly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
import yaml

from e2ec_core.checkpoint import read_checkpoint
from e2ec_core.config import to_dict
from e2ec_core.learning.config import OptimizerConfig, TrainConfig
from e2ec_core.learning.trainer import NonFiniteLoss, Trainer

Run = Callable[..., TrainConfig]


def _lines(config: TrainConfig, key: str = "lr") -> list[dict[str, Any]]:
    """Logged lines that have a key: `lr` of steps, `seconds` of epochs, `validation`."""
    text = (Path(config.output) / "metrics.jsonl").read_text()
    return [line for line in map(json.loads, text.splitlines()) if key in line]


def _trained(config: TrainConfig) -> Trainer:
    trainer = Trainer(config)
    trainer.run()
    return trainer


def _state(trainer: Trainer) -> dict[str, torch.Tensor]:
    return trainer.stepper.model.state_dict() | {
        f"average.{k}": v for k, v in trainer.stepper.weights().items()
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_killed_after_any_step_goes_on_bit_by_bit(
    tiny_run: Run, tmp_path: Path, workers: int
) -> None:
    whole = tiny_run(output=str(tmp_path / "whole"), workers=workers)
    expected = _state(_trained(whole))
    for last_step in range(1, 6) if workers == 0 else [2]:
        config = replace(whole, output=str(tmp_path / f"killed{last_step}"), save_every=2)
        Trainer(config).run(last_step=last_step)
        saved = (Path(config.output) / "last.pt").exists()
        resumed = Trainer(config, resume=saved, overwrite=not saved)
        assert last_step - 2 < resumed.step <= last_step
        resumed.run()
        assert _lines(config) == _lines(whole)
        found = _state(resumed)
        assert all(torch.equal(found[name], value) for name, value in expected.items())
        drop = {"seconds"}
        epochs = [{k: v for k, v in e.items() if k not in drop} for e in _lines(config, "seconds")]
        wanted = [{k: v for k, v in e.items() if k not in drop} for e in _lines(whole, "seconds")]
        assert epochs == wanted


@pytest.mark.slow
def test_a_process_killed_at_any_moment_leaves_a_run_that_goes_on(
    tiny_run: Run, tmp_path: Path, repo_dir: Path
) -> None:
    whole = tiny_run(output=str(tmp_path / "whole"), epochs=20)
    expected = _state(_trained(whole))
    config = replace(whole, output=str(tmp_path / "killed"), save_every=1)
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(to_dict(config)))
    command = [sys.executable, "training/train.py", "--config", str(path)]
    state = tmp_path / "killed" / "last.pt"
    for kill in range(3):
        process = subprocess.Popen(
            command + ["--resume"] * bool(kill),
            cwd=repo_dir,
            env=os.environ | {"PYTHONPATH": str(repo_dir)},
        )
        try:
            before = state.stat().st_mtime_ns if kill else 0
            while not state.exists() or state.stat().st_mtime_ns == before:
                assert process.poll() is None
                time.sleep(0.05)
            time.sleep(0.3 * (kill + 1))
        finally:
            process.kill()
            process.wait()
    resumed = Trainer(config, resume=True)
    assert 0 < resumed.step < 60
    resumed.run()
    assert _lines(config) == _lines(whole)
    assert all(torch.equal(_state(resumed)[name], value) for name, value in expected.items())


def test_a_half_written_line_of_metrics_is_dropped(tiny_run: Run) -> None:
    config = tiny_run(epochs=1, save_every=1)
    Trainer(config).run(last_step=2)
    with (Path(config.output) / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "epo')
    resumed = Trainer(config, resume=True)
    resumed.run()
    assert [line["step"] for line in _lines(config)] == [1, 2, 3]


def test_lines_of_an_epoch_that_was_not_saved_are_not_doubled(tiny_run: Run) -> None:
    config = tiny_run()
    Trainer(config).run(last_epoch=1)
    path = Path(config.output) / "metrics.jsonl"
    step = json.loads(path.read_text().splitlines()[-1])["step"]
    with path.open("a") as file:  # logged, then killed before the state was written
        for kind in ({"epoch": 1, "seconds": 9.0}, {"epoch": 2, "validation": []}):
            file.write(json.dumps({"step": step} | kind) + "\n")
    resumed = Trainer(config, resume=True)
    resumed.run(last_epoch=1)
    assert [line["epoch"] for line in _lines(config, "seconds")] == [0]
    assert 2 not in [line["epoch"] for line in _lines(config, "validation")]


def test_a_run_without_a_state_cannot_be_resumed(tiny_run: Run) -> None:
    with pytest.raises(ValueError, match="without --resume"):
        Trainer(tiny_run(), resume=True)


def test_the_run_folder_tells_what_was_done(tiny_run: Run) -> None:
    config = tiny_run()
    config = replace(config, validation=config.train[0], pictures=2)
    trainer = _trained(config)
    assert yaml.safe_load((trainer.output / "config.yaml").read_text()) == to_dict(config)
    assert [line["step"] for line in _lines(config)] == [1, 2, 3, 4, 5, 6]
    (validation,) = _lines(config, "validation")
    assert [row["stage"] for row in validation["validation"]][-1] == "evolution 1"
    assert len(_lines(config, "seconds")) == 2
    for name in ("run", "run_best"):
        info, _ = read_checkpoint(trainer.output / f"{name}.safetensors")
        assert (info.name, info.config) == (name, config.model)
    pictures = sorted((trainer.output / "pictures" / "epoch_0002").iterdir())
    assert [cv2.imread(str(path)).shape for path in pictures] == [(128, 320, 3)] * 2
    assert not list(trainer.output.glob("*.part"))


def test_the_best_weights_are_those_of_the_best_validation(
    tiny_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_run(epochs=3, validate_every=1, pictures=0, optimizer={"ema": 0.0})
    config = replace(config, validation=config.train[0])
    trainer = Trainer(config)
    kept = []
    save = trainer.folder.save_weights
    monkeypatch.setattr(
        trainer.folder,
        "save_weights",
        lambda model, best=False: (
            kept.append((best, trainer.progress.epoch)),
            save(model, best=best),
        ),
    )
    trainer.run()
    values = [line["final mask/AP"] for line in _lines(config, "validation")]
    rises = [e + 1 for e, v in enumerate(values) if v > max([-1.0, *values[:e]])]
    assert [epoch for best, epoch in kept if best] == rises


def test_a_loss_that_is_not_finite_stops_with_the_images_named(tiny_run: Run) -> None:
    config = tiny_run()
    trainer = Trainer(config)
    with torch.no_grad():
        trainer.model.initial.offsets.bias[0] = float("nan")
    with pytest.raises(NonFiniteLoss, match="loss is not finite on images"):
        trainer.run()
    record = json.loads((trainer.output / "nonfinite.json").read_text())
    assert record["step"] == 1
    assert len(record["image_ids"]) == 2
    assert set(record["image_ids"]) <= set(range(6))
    assert record["terms"]["total"] == "nan"
    assert not (trainer.output / "last.pt").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": {"name": "adam", "lr": 1e-3, "clip_norm": 0.0, "clip_value": 40.0}},
        {"optimizer": {"name": "sgd", "lr": 1e-2, "momentum": 0.9}, "precision": "bf16"},
        {"precision": "fp16", "accumulate": 2},
    ],
    ids=["adam", "sgd-bf16", "fp16"],
)
def test_steps_lower_the_loss(tiny_run: Run, changes: dict[str, Any]) -> None:
    config = tiny_run(epochs=6, **changes)
    _trained(config)
    means = [line["total"] for line in _lines(config, "seconds")]
    assert min(means[1:]) < 0.98 * means[0]


def test_views_of_several_sizes_are_learnt(tiny_run: Run) -> None:
    config = tiny_run(multi_scale=[[64, 64], [96, 64], [64, 96]], epochs=4)
    seen = set()
    trainer = Trainer(config)
    trainer.model.detector.register_forward_pre_hook(lambda _, x: seen.add(tuple(x[0].shape[2:])))
    trainer.run()
    assert seen == {(64, 64), (96, 64), (64, 96)}


def test_a_finish_with_sgd_starts_from_the_weights_of_another_run(tiny_run: Run) -> None:
    first = _trained(tiny_run(epochs=1))
    finish = OptimizerConfig(
        name="sgd", lr=1e-4, weight_decay=1e-4, momentum=0.9, schedule="milestones", ema=0.0
    )
    config = replace(
        tiny_run(epochs=1),
        start=str(first.folder.weights),
        output=str(first.output / "finish"),
        optimizer=finish,
    )
    trainer = Trainer(config)
    for name, value in first.stepper.weights().items():
        # Weights are stored in half precision.
        torch.testing.assert_close(
            trainer.model.state_dict()[name], value, rtol=1e-3, atol=1e-4, msg=name
        )
    trainer.run()
    assert [line["lr"] for line in _lines(config)] == pytest.approx([1e-6, 2e-6, 3e-6])


def test_batches_that_cannot_be_cut_are_refused(tiny_run: Run) -> None:
    with pytest.raises(ValueError, match="batch of 2 views cannot be cut into 3 equal parts"):
        Trainer(tiny_run(accumulate=3)).run()


def test_clipping_by_value_limits_every_number(tiny_run: Run) -> None:
    config = tiny_run(optimizer={"name": "sgd", "clip_norm": 0.0, "clip_value": 1e-4})
    trainer = Trainer(config)
    trainer.run(last_step=1)
    gradients = [p.grad for p in trainer.stepper.trained if p.grad is not None]
    assert max(float(g.abs().max()) for g in gradients) == pytest.approx(1e-4)


def test_tensorboard_gets_the_same_numbers_where_it_is_installed(tiny_run: Run) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = tiny_run(tensorboard=True, epochs=1)
    trainer = _trained(config)
    board = events.EventAccumulator(str(trainer.output / "tensorboard"))
    board.Reload()
    found = [(e.step, e.value) for e in board.Scalars("step/total")]
    assert found == [(line["step"], pytest.approx(line["total"])) for line in _lines(config)]


def test_a_run_without_an_object_to_learn_is_an_error(tiny_run: Run) -> None:
    config = tiny_run()
    config = replace(config, augment=replace(config.augment, min_area=1e6))
    with pytest.raises(ValueError, match=r"min_area \(1e\+06 square px") as error:
        Trainer(config).run()
    assert "\n" not in str(error.value)
    assert not (Path(config.output) / "run.safetensors").exists()


def test_a_batch_that_cannot_be_cut_leaves_an_old_run_alone(tiny_run: Run) -> None:
    config = tiny_run(epochs=1)
    _trained(config)
    folder = Path(config.output)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(ValueError, match="cannot be cut into 3 equal parts"):
        Trainer(replace(config, accumulate=3), overwrite=True).run()
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_another_validation_set_is_another_run(tiny_run: Run) -> None:
    config = tiny_run(epochs=1)
    config = replace(config, validation=config.train[0], pictures=0)
    _trained(config)
    assert config.validation is not None
    other = replace(config, epochs=2, validation=replace(config.validation, hold_out=2))
    with pytest.raises(ValueError, match="validation"):
        Trainer(other, resume=True)

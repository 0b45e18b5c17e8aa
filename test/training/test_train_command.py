"""train.py as a command: a run from a file, settings replaced, errors without a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from e2ec_core.inference import Predictor


def _train(repo: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "training/train.py", *map(str, words)],
        cwd=repo,
        env=os.environ | {"PYTHONPATH": str(repo)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.fixture
def settings(shapes_dir: Path, tmp_path: Path) -> dict[str, Any]:
    """A run of one epoch in two steps, on small images."""
    return {
        "model": {
            "preset": "e2ec_lite",
            "class_names": ["disc", "box"],
            "vertices": 32,
            "evolutions": 1,
        },
        "train": [
            {
                "annotations": str(shapes_dir / "instances.json"),
                "images": str(shapes_dir / "images"),
            }
        ],
        "augment": {"size": [64, 64], "base_side": 64, "min_area": 10},
        "output": str(tmp_path / "run"),
        "epochs": 1,
        "batch_size": 3,
        "workers": 0,
        "device": "cpu",
    }


def _write(folder: Path, settings: dict[str, Any]) -> Path:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_help_says_how_to_replace_settings(repo_dir: Path) -> None:
    result = _train(repo_dir, "--help")
    assert result.returncode == 0
    assert "--resume" in result.stdout
    assert "--optimizer.lr" in result.stdout


def test_a_run_writes_weights_and_what_it_did(
    repo_dir: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    config = _write(tmp_path, settings)
    result = _train(repo_dir, "--config", config, "--optimizer.lr", "3e-4", "--seed", "5")
    assert result.returncode == 0, result.stderr
    run = tmp_path / "run"
    assert str(run / "model.safetensors") in result.stdout
    written = yaml.safe_load((run / "config.yaml").read_text())
    assert written["optimizer"]["lr"] == 3e-4
    assert written["seed"] == 5
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("total" in record for record in records)
    predictor = Predictor.from_checkpoint(run / "model.safetensors", device="cpu")
    assert predictor.info.config.class_names == ("disc", "box")


@pytest.mark.slow
def test_a_run_goes_on_with_resume(
    repo_dir: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    config = _write(tmp_path, settings)
    assert _train(repo_dir, "--config", config).returncode == 0
    again = _train(repo_dir, "--config", config, "--resume", "--epochs", "2")
    assert again.returncode == 0, again.stderr
    assert "epoch 2/2" in again.stdout
    assert "epoch 1/2" not in again.stdout


@pytest.fixture(scope="module")
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    """training/train.py as a module."""
    return load_script("training/train.py")


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        ({"epoch": 3}, [], "unknown key 'epoch'"),
        ({"batch_size": 0}, [], "batch_size is 0"),
        ({}, ["--optimizer.lrr", "1"], "unknown key optimizer.'lrr'"),
        ({}, ["--epochs"], "'--epochs' is no pair"),
        ({}, ["--epochs", "[1"], "'[1'"),
        ({}, ["--resume"], "last.pt' does not exist"),
        ({"start": "none.safetensors"}, [], "'none.safetensors' does not exist"),
        ({"train": [{"annotations": "none.json", "images": "x"}]}, [], "none.json"),
        ({"device": "cuda:99"}, [], "cuda:99"),
        ({"output": "OUTPUT"}, [], "OUTPUT"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    script: ModuleType,
    tmp_path: Path,
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    words: list[str],
    message: str,
) -> None:
    (tmp_path / "OUTPUT").write_text("a file in the way")
    monkeypatch.chdir(tmp_path)
    config = _write(tmp_path, settings | change)
    monkeypatch.setattr(sys, "argv", ["train.py", "--config", str(config), *words])
    assert script.main() == 2
    said = capsys.readouterr().err
    assert said.startswith("train: ")
    assert message in said
    assert said.count("\n") == 1


def test_a_missing_config_is_named(repo_dir: Path) -> None:
    result = _train(repo_dir, "--config", "none.yaml")
    assert result.returncode == 2
    assert "'none.yaml' does not exist" in result.stderr
    assert "Traceback" not in result.stderr

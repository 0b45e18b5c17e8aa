"""e2ec train: a run from a file, settings replaced, errors and signals in one line."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2ec_core.inference import Predictor

pytest.importorskip("torch", reason="PyTorch is not installed")


def _write(folder: Path, settings: dict[str, Any]) -> Path:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_help_lists_every_setting_with_its_meaning(e2ec: Callable) -> None:
    reply = e2ec("train", "--help")
    assert reply.status == 0
    for name in ("resume", "processes", "optimizer.lr", "loss.last_stage", "augment.flip"):
        assert f"--{name}" in reply.out
    assert "M of the multi-direction alignment" in reply.out


def test_a_run_writes_weights_and_what_it_did(
    e2ec: Callable, tmp_path: Path, settings: dict[str, Any]
) -> None:
    config = _write(tmp_path, settings)
    reply = e2ec("train", "--optimizer.lr", "3e-4", "--config", config, "--seed=5")
    assert reply.status == 0, reply.err
    run = tmp_path / "run"
    assert str(run / "run.safetensors") in reply.out
    written = yaml.safe_load((run / "config.yaml").read_text())
    assert (written["optimizer"]["lr"], written["seed"]) == (3e-4, 5)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("total" in record for record in records)
    predictor = Predictor.from_checkpoint(run / "run.safetensors", device="cpu")
    assert predictor.info.config.class_names == ("disc", "box")
    before = (run / "run.safetensors").read_bytes()
    reply = e2ec("train", "--config", config)
    assert (reply.status, "go on with --resume, replace it with --ov" in reply.error) == (2, True)
    reply = e2ec("train", "--config", config, "--seed=5", "--resume", "--epochs", "2")
    assert "optimizer.lr was 0.0003 and is 0.001" in reply.error
    assert (run / "run.safetensors").read_bytes() == before
    same = ("--seed=5", "--optimizer.lr=3e-4", "--resume")
    again = e2ec("train", "--config", config, *same, "--epochs", "2")
    assert again.status == 0, again.err
    assert "epoch 2/2" in again.out
    assert "epoch 1/2" not in again.out


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        ({"epoch": 3}, [], "unknown setting 'epoch'; did you mean 'epochs'?"),
        ({"batch_size": 0}, [], "batch_size is 0"),
        ({}, ["--optimizer.lrr", "1"], "unknown setting 'optimizer.lrr'; did you mean"),
        ({}, ["--epochs"], "option --epochs lacks its value"),
        ({}, ["--resume"], "last.pt' does not exist"),
        ({}, ["--processes", "0"], "processes is 0; give 1 or more"),
        ({"start": "none.safetensors"}, [], "'none.safetensors' does not exist"),
        ({"train": [{"annotations": "none.json", "images": "x"}]}, [], "none.json"),
        ({"device": "cuda:99"}, [], "cuda:99"),
        ({"output": "OUTPUT"}, [], "OUTPUT"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    e2ec: Callable,
    tmp_path: Path,
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    words: list[str],
    message: str,
) -> None:
    (tmp_path / "OUTPUT").write_text("a file in the way")
    monkeypatch.chdir(tmp_path)
    reply = e2ec("train", "--config", _write(tmp_path, settings | change), *words)
    assert reply.status == 2
    assert reply.error.startswith("train: ")
    assert message in reply.error


def test_a_missing_config_is_named(e2ec: Callable) -> None:
    assert e2ec("train").error == "train: setting 'config' is missing; give it"
    reply = e2ec("train", "--config", "none.yaml")
    assert reply.error.startswith("train: config 'none.yaml' does not exist")


def _start(repo: Path, *words: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "e2ec_core.commands", "train", *map(str, words)],
        cwd=repo,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_train_one_model_and_say_errors_once(
    repo_dir: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    words = ["--config", _write(tmp_path, settings | {"batch_size": 2}), "--processes", "2"]
    said, errors = _start(repo_dir, *words, "--start", "none.safetensors").communicate(timeout=200)
    assert errors == "train: weights file 'none.safetensors' does not exist; check the path\n"
    assert said == ""
    child = _start(repo_dir, *words)
    said, errors = child.communicate(timeout=200)
    assert child.returncode == 0, errors
    assert said.count("epoch 1/1") == 1
    assert said.count("weights: ") == 1
    assert (tmp_path / "run/run.safetensors").is_file()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_signal_ends_all_processes_with_one_line(
    repo_dir: Path, tmp_path: Path, settings: dict[str, Any], processes: str, number: int
) -> None:
    config = _write(tmp_path, settings | {"epochs": 10000, "batch_size": 2, "log_every": 1})
    child = _start(repo_dir, "--config", config, "--processes", processes)
    try:
        metrics, end = tmp_path / "run/metrics.jsonl", time.monotonic() + 200
        while not (metrics.is_file() and metrics.stat().st_size) and time.monotonic() < end:
            assert child.poll() is None
            time.sleep(0.1)
        child.send_signal(number)
        _, errors = child.communicate(timeout=100)
    finally:
        child.kill()
    assert child.returncode == 128 + number, errors
    said = [line for line in errors.splitlines() if line.startswith("train: ")]
    assert len(said) == 1
    assert "go on with --resume" in said[0]
    assert "Traceback" not in errors
    assert (tmp_path / "run/last.pt").is_file()


def test_a_worker_s_error_ends_the_command(tmp_path: Path, settings: dict[str, Any]) -> None:
    """The process must not wait for its workers for ever."""
    images = tmp_path / "broken"
    shutil.copytree(settings["train"][0]["images"], images)
    for path in images.iterdir():
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 40] = bytes(40)  # the headers stay sound
        path.write_bytes(content)
    settings["train"][0]["images"] = str(images)
    config = _write(tmp_path, settings | {"workers": 1})
    command = [sys.executable, "-m", "e2ec_core.commands", "train", "--config", str(config)]
    reply = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert reply.returncode == 2, reply.stderr
    assert "images in a row cannot be read" in reply.stderr


def test_what_a_run_is_made_from_is_not_replaced(
    e2ec: Callable, tmp_path: Path, settings: dict[str, Any]
) -> None:
    output = tmp_path / "run"
    output.mkdir()
    own = output / "config.yaml"
    own.write_text("# mine\n" + yaml.safe_dump(settings))
    for words in ([], ["--overwrite"]):
        reply = e2ec("train", "--config", own, *words)
        assert (reply.status, "is an input, which is never replaced" in reply.error) == (2, True)
        assert own.read_text().startswith("# mine\n")


def test_a_run_that_is_done_says_so(
    e2ec: Callable, tmp_path: Path, settings: dict[str, Any]
) -> None:
    config = _write(tmp_path, settings)
    assert e2ec("train", "--config", config).status == 0
    reply = e2ec("train", "--config", config, "--resume")
    assert (reply.status, "has 1 epochs already" in reply.out) == (0, True)

"""The folder of a run: config, metrics, state, weights and pictures."""

from __future__ import annotations

import importlib
import json
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import nn

from e2ec_core.checkpoint import save_checkpoint
from e2ec_core.config import to_dict
from e2ec_core.learning.config import TrainConfig
from e2ec_core.learning.report_page import write_report


class RunFolder:
    """Writes what a run leaves behind; files are replaced as a whole, never half.

    * `config.yaml`: the settings.
    * `metrics.jsonl`: a line per logged step, epoch and validation; `step` counts finished steps.
    * `tensorboard/`: the same numbers, where TensorBoard is installed.
    * `last.pt`: everything that resuming needs.
    * `RUN.safetensors`, `RUN_best.safetensors`: the last weights, and those of the best
      validation, by the folder's name.
    * `pictures/epoch_0010/`: validation images with contours.
    * `report.html`: curves, AP by class and the last pictures, on one page.
    * `nonfinite.json`: images and loss terms of the step that stopped the run.

    Args:
        config: the run.
        writes: False for the processes that leave writing to the first.
    """

    def __init__(self, config: TrainConfig, *, writes: bool) -> None:
        self.config, self.writes = config, writes
        self.path = Path(config.output)
        self._board: Any = None

    @property
    def files(self) -> list[Path]:
        """The files that a run replaces."""
        names = ("last.pt", "metrics.jsonl", self._weights().name, self._weights(best=True).name)
        return [self.path / name for name in (*names, "config.yaml")]

    @property
    def weights(self) -> Path:
        """File of the last weights."""
        return self._weights()

    def _weights(self, *, best: bool = False) -> Path:
        return self.path / f"{self.path.resolve().name}{'_best' * best}.safetensors"

    def refuse_a_run(self) -> None:
        """Keeps a new run from writing over another one.

        Raises:
            ValueError: the folder holds a file of a run.
        """
        for path in self.files:
            if path.is_file() and path.stat().st_size:
                raise ValueError(
                    f"{str(self.path)!r} holds a run ({path.name}): go on with --resume, replace "
                    "it with --overwrite, or give another output"
                )

    def open(self, finished_steps: int, *, epochs: int = 0, validated: int = 0) -> None:
        """Writes the config and drops metrics that will be written again.

        Args:
            finished_steps: of the run so far.
            epochs: finished ones.
            validated: epochs after the last of which the validation is done.
        """
        if not self.writes:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        self._replace("config.yaml", yaml.safe_dump(to_dict(self.config)))
        metrics = self.path / "metrics.jsonl"
        if metrics.is_file():
            lines = metrics.read_text().splitlines()
            kept = [
                line + "\n" for line in lines if _finished(line, finished_steps, epochs, validated)
            ]
            self._replace("metrics.jsonl", "".join(kept) if finished_steps else "")
        if self.config.tensorboard and self._board is None:
            self._board = _open_board(self.path / "tensorboard", finished_steps)

    def close(self) -> None:
        """Ends the writing for TensorBoard."""
        if self._board is not None:
            self._board.close()
            self._board = None

    def log(self, step: int, record: dict[str, Any], *, title: str) -> None:
        """Writes one line of metrics.

        Args:
            step: finished steps of the run.
            record: anything JSON can hold; its numbers go to TensorBoard.
            title: group of the numbers there.
        """
        if not self.writes:
            return
        path = self.path / "metrics.jsonl"
        with _told(path), path.open("a") as file:
            file.write(json.dumps({"step": step} | record) + "\n")
        if self._board is not None:
            for name, value in record.items():
                if isinstance(value, (int, float)):
                    self._board.add_scalar(f"{title}/{name}", value, step)

    def save_state(self, state: dict[str, Any]) -> None:
        """Writes `last.pt`; a kill at any time leaves the old or the new one."""
        if not self.writes:
            return
        partial = self.path / "last.pt.part"
        with _told(self.path / "last.pt", partial):
            with partial.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path / "last.pt")

    def load_state(self, device: torch.device) -> dict[str, Any]:
        """Reads `last.pt`.

        Raises:
            ValueError: there is none, or it is damaged.
        """
        path = self.path / "last.pt"
        if not path.is_file():
            raise ValueError(f"{str(path)!r} does not exist; start the run without --resume")
        try:
            state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        except (RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
            raise ValueError(
                f"{str(path)!r} is damaged; start the run with --overwrite"
            ) from error
        return state

    def save_weights(self, model: nn.Module, *, best: bool = False) -> None:
        """Writes weights to use: the last ones, or the best."""
        if self.writes:
            path = self._weights(best=best)
            with _told(path):
                save_checkpoint(path, model, self.config.model, dtype=torch.float32)

    def save_picture(self, epoch: int, name: str, image_rgb: NDArray[np.uint8]) -> None:
        """Writes a picture, uint8 [H, W, 3] RGB, as JPEG."""
        if not self.writes:
            return
        folder = self.path / "pictures" / f"epoch_{epoch:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.jpg"
        if not cv2.imwrite(str(path), np.ascontiguousarray(image_rgb[..., ::-1])):
            raise OSError(f"picture {str(path)!r} cannot be written")

    def save_report(self) -> None:
        """Writes the page about the run."""
        if self.writes:
            write_report(self.path, self.config)

    def save_nonfinite(self, record: dict[str, Any]) -> None:
        """Writes what is known of the step that stopped the run."""
        if self.writes:
            self._replace("nonfinite.json", json.dumps(record, indent=1) + "\n")

    def _replace(self, name: str, text: str) -> None:
        partial = self.path / f"{name}.part"
        with _told(self.path / name, partial):
            partial.write_text(text)
            partial.replace(self.path / name)


@contextmanager
def _told(path: Path, partial: Path | None = None) -> Iterator[None]:
    """Names the file that cannot be written, and removes what was written of it.

    Raises:
        OSError: the disk is full or the like; PyTorch tells it as a RuntimeError.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if partial is not None:
            partial.unlink(missing_ok=True)
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        kept = "; the old file is as it was" if path.exists() else ""
        reason = f"cannot be written ({cause.strerror}){kept}"
        raise OSError(f"{str(path)!r} {reason}; free some space and go on") from None


def _finished(line: str, steps: int, epochs: int, validated: int) -> bool:
    """Whether a line of metrics is whole and tells of what need not be done again."""
    try:
        record = json.loads(line)
    except ValueError:
        return False
    if not isinstance(record, dict) or int(record.get("step", 0)) > steps:
        return False
    if "validation" in record:
        return int(record["epoch"]) <= validated
    return "seconds" not in record or int(record["epoch"]) < epochs


def _open_board(path: Path, finished_steps: int) -> Any:
    try:
        module = importlib.import_module("torch.utils.tensorboard")
    except ImportError:
        return None
    return module.SummaryWriter(str(path), purge_step=finished_steps + 1)

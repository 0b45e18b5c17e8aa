"""How a run ends early and goes on: signals, killed workers, full disks, other settings."""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from e2ec_core.learning.config import TrainConfig
from e2ec_core.learning.stop_signals import Interrupted
from e2ec_core.learning.trainer import Trainer

Run = Callable[..., TrainConfig]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_after_the_step_and_the_run_goes_on_bit_by_bit(
    tiny_run: Run, tmp_path: Path, number: signal.Signals
) -> None:
    whole = Trainer(tiny_run(output=str(tmp_path / "whole"), epochs=1))
    whole.run()
    config = tiny_run(epochs=1)
    trainer = Trainer(config)
    trainer.model.detector.register_forward_pre_hook(
        lambda *_: os.kill(os.getpid(), number) if trainer.step == 0 else None
    )
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="stopped after step 1; go on with --resume") as stopped:
        trainer.run()
    assert stopped.value.exit_status == 128 + number
    assert signal.getsignal(number) is before
    resumed = Trainer(config, resume=True)
    assert resumed.step == 1
    resumed.run()
    weights = resumed.model.state_dict()
    assert all(torch.equal(weights[k], v) for k, v in whole.model.state_dict().items())


def test_a_resumed_run_is_the_same_run_and_all_differences_are_named(tiny_run: Run) -> None:
    config = tiny_run(epochs=2)
    Trainer(config).run(last_epoch=1)
    names = replace(config.model, class_names=("box", "disc"))
    other = replace(config, batch_size=3, seed=4, model=names)
    with pytest.raises(ValueError, match="not the run that is resumed") as refused:
        Trainer(other, resume=True)
    for part in ("batch_size was 2 and is 3", "seed was 0 and is 4", "model.class_names was"):
        assert part in str(refused.value)
    allowed = replace(config, epochs=3, workers=1, log_every=2, image_cache=0, threads=2)
    assert Trainer(allowed, resume=True).step == 3


def test_other_labels_are_not_the_same_run(
    tiny_run: Run, shapes_dir: Path, tmp_path: Path
) -> None:
    config = tiny_run()
    Trainer(config).run(last_epoch=1)
    content = json.loads((shapes_dir / "instances.json").read_text())
    content["annotations"][0]["category_id"] = 2
    labels = tmp_path / "others.json"
    labels.write_text(json.dumps(content))
    train = (replace(config.train[0], annotations=str(labels)),)
    with pytest.raises(ValueError, match="images or labels of the training data are others"):
        Trainer(replace(config, train=train), resume=True)
    labels.write_text((shapes_dir / "instances.json").read_text())  # the same, elsewhere
    assert Trainer(replace(config, train=train), resume=True).step == 3


def test_a_second_run_does_not_replace_the_first(tiny_run: Run) -> None:
    config = tiny_run(epochs=1)
    Trainer(config).run()
    with pytest.raises(ValueError, match=r"holds a run \(last\.pt\): go on with --resume"):
        Trainer(config)
    assert Trainer(config, overwrite=True).step == 0


def test_a_damaged_state_is_named(tiny_run: Run) -> None:
    config = tiny_run(epochs=1)
    folder = Path(config.output)
    folder.mkdir()
    (folder / "last.pt").write_bytes(b"PK no state")
    with pytest.raises(ValueError, match=r"last\.pt' is damaged"):
        Trainer(config, resume=True)


def test_a_full_disk_keeps_the_old_state_and_is_said_in_one_line(tiny_run: Run) -> None:
    trainer = Trainer(tiny_run(epochs=1))
    trainer.run(last_epoch=1)
    path = trainer.output / "last.pt"
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"last\.pt' cannot be written .*old file is as it was"):
            trainer.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert not list(trainer.output.glob("*.part"))


def _children(process: int | None = None) -> set[int]:
    """Those without children of their own: from Python 3.14 on a server starts the workers."""
    ends: set[int] = set()
    for path in Path(f"/proc/{process or os.getpid()}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            ends |= _children(child) or {child}
    return ends


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_a_killed_worker_is_named_with_what_helps(tiny_run: Run) -> None:
    config = tiny_run(epochs=200, workers=1)
    trainer = Trainer(config)
    before = _children()

    def kill() -> None:
        while not (workers := _children() - before) or trainer.step < 1:
            time.sleep(0.05)
        for worker in workers:
            os.kill(worker, signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(ChildProcessError, match=r"memory ran out.* workers \(now 1\)") as told:
        trainer.run()
    assert "\n" not in str(told.value)

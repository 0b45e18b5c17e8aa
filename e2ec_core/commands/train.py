"""Trains a model: e2ec train --config config/training/lite_coco.yaml [--epochs 40 ...].

Your own objects: e2ec train --data labels.json --images folder [--format coco --output runs/mine]
starts from the shipped weights; classes, split, rates and epochs follow from the labels, and the
run's config.yaml shows what was chosen.

Any setting of the file can be replaced: --epochs 20 --optimizer.lr=3e-4. An interrupted run goes
on with --resume. Several GPUs of one machine: --processes 4. Several machines, on each:
torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:29400
training/train.py --config ...; batch_size counts the views of all processes.

Exit status: 2 what is wrong is said in one line; 130 or 143 stopped by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from e2ec_core.commands.launch import launch
from e2ec_core.commands.options import CommandLine
from e2ec_core.commands.outputs import require_writable
from e2ec_core.learning.config import TrainConfig

USAGE = "(--config FILE | --data LABELS --images FOLDER) [--resume] [--SETTING VALUE ...]"


def main(words: Sequence[str]) -> int:
    """Trains one run; returns the exit status."""
    own, others = _own_objects(words)
    if own.data:
        if not own.images:
            raise ValueError("give --images beside --data: the folder of the images")
        return _train_own(own, others)
    line = CommandLine("train", __doc__, usage=USAGE)
    line.add_config(required=True)
    line.add("--resume", action="store_true", help="go on with the run in its folder")
    line.add("--overwrite", action="store_true", help="replace the run in the folder")
    line.add("--processes", type=int, default=1, help="train on so many GPUs of this machine")
    line.add_settings(TrainConfig)
    options = line.parse(words)
    config = line.build(TrainConfig)
    if options.processes < 1:
        raise ValueError(f"processes is {options.processes}; give 1 or more")
    if options.processes > 1 and "WORLD_SIZE" not in os.environ:
        return launch(options.processes, ["train", *words])
    if not options.resume:
        labels = (source.annotations for source in config.train)
        keep_inputs(config, [*map(str, options.config), *labels, config.start or ""])
    return train(config, resume=options.resume, overwrite=options.overwrite)


def _own_objects(words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options of a run on somebody's own objects, and all others."""
    line = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("data", "images", "format", "output"):
        line.add_argument(f"--{name}")
    own, others = line.parse_known_args(list(words))
    return (own, others) if own.data else (own, list(words))


def _train_own(own: argparse.Namespace, others: Sequence[str]) -> int:
    """Writes the recipe to a file and trains by it."""
    from e2ec_core.config import to_dict
    from e2ec_core.learning.recipe import own_objects

    config = own_objects(own.data, own.images, output=own.output, data_format=own.format or "coco")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "own_objects.yaml")
        path.write_text(yaml.safe_dump(to_dict(config)))
        return main(["--config", str(path), *others])


def keep_inputs(config: TrainConfig, inputs: Sequence[str]) -> None:
    """Refuses a run that would replace what it is made from."""
    from e2ec_core.learning.run_folder import RunFolder

    replaced = [path for path in RunFolder(config, writes=False).files if path.is_file()]
    require_writable(*replaced, overwrite=True, inputs=inputs)


def train(config: TrainConfig, *, resume: bool, overwrite: bool) -> int:
    """Trains in this process, together with those that were started beside it."""
    # Imported late, so that --help and wrong settings need no second.
    from e2ec_core.learning.distributed import part_processes
    from e2ec_core.learning.trainer import Interrupted, NonFiniteLoss, Trainer

    try:
        trainer = Trainer(config, resume=resume, overwrite=overwrite)
        before = trainer.step
        trainer.run()
    except NonFiniteLoss as error:
        raise ValueError(str(error)) from error
    except Interrupted as stopped:
        if int(os.environ.get("RANK", "0")) == 0:
            print(f"train: {stopped}", file=sys.stderr)
        return stopped.exit_status
    except KeyboardInterrupt:
        print("train: stopped without saving this step", file=sys.stderr)
        return 130
    finally:
        part_processes()
    if trainer.process.is_first and trainer.step == before:
        print(f"train: the run has {trainer.progress.epoch} epochs already; give more to go on")
    if trainer.process.is_first:
        print(f"weights: {trainer.folder.weights}")
    return 0

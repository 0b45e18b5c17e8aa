"""Trains a model: python training/train.py --config config/training/lite_coco.yaml [--key value].

Any setting of the file can be replaced: --epochs 20 --optimizer.lr 3e-4. An interrupted run goes
on with --resume. Several GPUs of one machine: --processes 4. Several machines, on each:
torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:29400
training/train.py --config ...; batch_size counts the views of all processes.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

import yaml

from e2ec_core.learning.config import read_train_config
from e2ec_core.learning.distributed import part_processes
from e2ec_core.learning.trainer import NonFiniteLoss, Trainer


def parse_overrides(words: list[str]) -> dict[str, Any]:
    """Turns `--a.b value` pairs into a mapping; values are read as YAML.

    Raises:
        ValueError: a word stands where a key or a value should, or a value is not YAML.
    """
    overrides = {}
    for key, value in zip(words[::2], [*words[1::2], None], strict=False):
        if not key.startswith("--") or value is None:
            raise ValueError(f"{key!r} is no pair of --setting value")
        try:
            overrides[key.removeprefix("--")] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"value {value!r} of {key} is not YAML") from error
    return overrides


def launch(processes: int) -> int:
    """Runs this command line in several processes of this machine."""
    # Imported where it is needed: it takes as long as all the rest.
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    options = ["--standalone", "--nproc-per-node", str(processes)]
    try:
        torchrun([*options, __file__, *sys.argv[1:]])
    except ChildFailedError as error:
        return max(failure.exitcode for failure in error.failures.values())
    return 0


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="YAML file of a run")
    parser.add_argument("--resume", action="store_true", help="continue the run in its folder")
    parser.add_argument("--processes", type=int, default=1, help="train on so many GPUs here")
    arguments, words = parser.parse_known_args()
    if arguments.processes > 1 and "WORLD_SIZE" not in os.environ:
        return launch(arguments.processes)
    try:
        trainer = Trainer(read_train_config(arguments.config, parse_overrides(words)))
        if arguments.resume:
            trainer.resume()
        trainer.run()
    except (ValueError, OSError, NonFiniteLoss) as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("train: stopped; go on with --resume", file=sys.stderr)
        return 130
    finally:
        part_processes()
    if trainer.process.is_first:
        print(f"weights: {trainer.output / 'model.safetensors'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

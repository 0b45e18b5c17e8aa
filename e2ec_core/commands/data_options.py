"""The options of commands that read a labelled data set: a run's, or a single one."""

from __future__ import annotations

from typing import Any

from e2ec_core.commands.options import CommandLine, read_config
from e2ec_core.learning.config import DataConfig, TrainConfig
from e2ec_core.settings import settings_of

USAGE = "(--config FILE | --annotations FILE --images FOLDER) [options]"


def add_data_options(line: CommandLine) -> None:
    """Adds --config, and the settings of one data set."""
    line.add("--config", type=str, help="YAML file of a run; its sets are taken")
    for name in ("annotations", "images"):  # needed only without --config
        line.add(f"--{name}", type=str, help=settings_of(DataConfig)[name].text)
    line.add_settings(DataConfig, skip=("annotations", "images", "repeat"))


def read_data_options(line: CommandLine, options: Any) -> TrainConfig | DataConfig:
    """Gives the run of --config, or the single data set.

    Raises:
        ValueError: neither is given, or both are.
    """
    if options.config:
        if options.annotations or options.images:
            raise ValueError("give --config, or --annotations and --images, not both")
        return read_config(TrainConfig, options.config)
    if not options.annotations or not options.images:
        raise ValueError("give --annotations and --images, or --config")
    return line.build(DataConfig, repeat=1)

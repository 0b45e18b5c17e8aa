"""Draws the contours of images, folders, videos and lists (.txt): e2ec predict street.jpg photos/

Images become pictures (.png), videos become videos (.mp4) in the folder --output. Files that
exist are replaced only with --overwrite, inputs never. Files that cannot be read are left out.

Exit status: 0 all was drawn; 1 files or frames were left out, which the last line counts and
names; 2 nothing was drawn: no file can be read, an option is wrong, or results cannot be written.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from e2ec_core.commands.failures import left_out, reason
from e2ec_core.commands.items import Found, Item, is_video, make_items
from e2ec_core.commands.model_options import SCORE, ModelOptions, take_run
from e2ec_core.commands.options import CommandLine
from e2ec_core.commands.outputs import OVERWRITE, NotWritten, require_writable
from e2ec_core.predictor_settings import PredictorSettings, split_names
from e2ec_core.value_range import HELP, ValueRange, parse_range

CLASSES = "names of the classes to draw, separated by commas; empty draws all"


def main(words: Sequence[str]) -> int:
    """Draws all files; returns the exit status."""
    line = CommandLine("predict", __doc__, usage="[RUN] PATH... [options]", aliases=SCORE)
    line.add("paths", nargs="+", type=Path, help="images, folders, videos, lists of paths (.txt)")
    line.add("--output", type=Path, default=Path("contours"), help="folder of the results")
    line.add("--overwrite", action="store_true", help=OVERWRITE)
    line.add("--range", default="full", help=HELP)
    line.add_settings(ModelOptions)
    line.add_settings(PredictorSettings, skip=("classes",))
    line.add("--classes", type=str, default="", help=CLASSES)
    run, words = take_run(words)
    options = line.parse(["--weights", str(run), *words] if run else words)
    model = line.build(ModelOptions)
    settings = line.build(PredictorSettings, classes=split_names(options.classes))
    values = parse_range(options.range, "range")
    found = Found()
    for path in options.paths:
        found.add(path)
    items = make_items(found.files, options.output)
    targets, inputs = [item.target for item in items], [item.path for item in items]
    require_writable(*targets, overwrite=options.overwrite, inputs=inputs)
    for note in (*found.notes, *found.faults):
        _complain(note)
    failed, partly = draw_all(items, model, settings, values) if items else ([], [])
    lost = [*found.faults, *(repr(str(item.path)) for item in failed)]
    lost += [f"frames of {str(item.path)!r}" for item in partly]
    if lost:
        _complain(left_out(lost, len(items) + len(found.faults)))
    return 2 if len(failed) == len(items) else int(bool(lost))


def draw_all(
    items: Sequence[Item], model: ModelOptions, settings: PredictorSettings, values: ValueRange
) -> tuple[list[Item], list[Item]]:
    """Draws every item and says so; returns those that failed and those drawn in part.

    Raises:
        NotWritten: a result cannot be written.
    """
    # Imported late, so that --help and wrong options do not wait for PyTorch.
    from e2ec_core.commands.drawing import PartlyDrawn, draw_image, draw_video
    from e2ec_core.commands.loading import load_predictor

    predictor = load_predictor(model, settings)
    failed: list[Item] = []
    partly: list[Item] = []
    for item in tqdm(items, unit="file", disable=None if len(items) > 1 else True):
        try:
            if is_video(item.path):
                said = draw_video(predictor, item.path, item.target)
            else:
                said = draw_image(predictor, item.path, item.target, values)
            tqdm.write(said, file=sys.stdout)
        except NotWritten:
            raise
        except Exception as error:
            line = reason(error)
            if line is None:
                raise
            _complain(line)
            (partly if isinstance(error, PartlyDrawn) else failed).append(item)
    return failed, partly


def _complain(line: str) -> None:
    tqdm.write(f"predict: {line}", file=sys.stderr)

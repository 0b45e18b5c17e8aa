"""Finds the contours in images, videos and bags: e2ec predict street.jpg photos/ drive.mp4

RUN is the folder of a training run, which gives the weights, as --weights does.
Images become pictures (.png), videos and bags become videos (.mp4) in the folder --output, or what
--write asks for. Files that exist are replaced only with --overwrite, inputs never. A file that
cannot be read costs that file, a frame that frame. A run that was cut off goes on with --resume.

Exit status: 0 all was drawn; 1 files or frames were left out, which the last line counts and
names; 2 nothing was drawn: no file can be read, an option is wrong, or results cannot be written.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from e2ec_core.commands.failures import complain, left_out, reason
from e2ec_core.commands.items import Found
from e2ec_core.commands.model_options import SCORE, ModelOptions, is_run, take_run
from e2ec_core.commands.options import CommandLine
from e2ec_core.commands.outputs import OVERWRITE
from e2ec_core.commands.predict_paths import written_here
from e2ec_core.predictor_settings import PredictorSettings, split_names
from e2ec_core.recordings.bag_files import is_bag
from e2ec_core.recordings.recording import Recording, open_recording
from e2ec_core.value_range import HELP, ValueRange, parse_range

CLASSES = "names of the classes to report, separated by commas; empty reports all"
WRITE = (
    "results, separated by commas: pictures; video; jsonl (contours.jsonl, a line a frame); coco "
    "(coco_results.json); labels (.png of 16 bits); bag (a copy of a bag with contours beside its "
    "images)"
)
TOPICS = "image topics of bags, separated by commas; empty takes the first that can be shown"
RESUME = "go on where a run with the same inputs and options was cut off, if there is one"
CLUSTER = (
    "run on Ray: auto (the cluster of this machine, or all its cores) or the address of a cluster "
    "that sees the same files; needs pip install 'ray[data]'"
)

THREADS = (
    "CPU threads of one inference; 0: the backend's choice, on a cluster 1. Another number may "
    "change the last bits of vertices"
)


def main(words: Sequence[str]) -> int:
    """Does all files; returns the exit status."""
    line = CommandLine("predict", __doc__, usage="[RUN] PATH... [options]", aliases=SCORE)
    line.add("paths", nargs="*", type=str, help="images, folders, videos, bags, lists (.txt)")
    line.add("--output", type=Path, default=Path("contours"), help="folder of the results")
    line.add("--write", default="pictures,video", help=WRITE)
    line.add("--overwrite", action="store_true", help=OVERWRITE)
    line.add("--resume", action="store_true", help=RESUME)
    line.add("--cluster", default="", help=CLUSTER)
    line.add("--threads", type=int, default=0, help=THREADS)
    line.add("--range", default="full", help=HELP)
    line.add("--topics", type=str, default="", help=TOPICS)
    line.add_settings(ModelOptions)
    line.add_settings(PredictorSettings, skip=("classes",))
    line.add("--classes", type=str, default="", help=CLASSES)
    run, words = take_run(words)
    options = line.parse(words)
    runs = [str(run)] if run else []
    runs += [path for path in options.paths if is_run(path)]
    if len(runs) + bool(options.weights) > 1:
        given = ", ".join(map(repr, [*runs, options.weights][:2]))
        raise ValueError(f"weights of {given} are given; give one run, or --weights")
    weights = runs[0] if runs else options.weights
    model = line.build(ModelOptions, weights=weights)
    settings = line.build(PredictorSettings, classes=split_names(options.classes))
    values = parse_range(options.range, "range")
    found = Found()
    for path in options.paths:
        if path not in runs:
            found.add(path)
    if set(options.paths) <= set(runs):
        raise ValueError("no PATH is given (a run gives the weights alone); give images or videos")
    for note in (*found.notes, *(fault for _, fault in found.faults)):
        complain("predict", note)
    for path in written_here(found.files, options.output):
        complain("predict", f"bag {str(path)!r} is a result of predict, so it is passed over")
        found.files.remove(path)
    topics = tuple(dict.fromkeys(split_names(options.topics)))
    if topics and not any(is_bag(path) for path in found.files):
        raise ValueError(f"topics is {options.topics!r}, but no input is a bag; leave it out")
    recordings, wrong = _open_all(found.files, topics, values)
    lost = [*(name for name, _ in found.faults), *(repr(str(path)) for path in wrong)]
    whole = len(recordings) + len(lost)
    if not recordings:
        complain("predict", left_out(lost, whole))
        return 2
    # Imported late, so that --help and wrong options do not wait for a backend.
    from e2ec_core.commands.predict_run import Choices, predict_all

    choices = Choices(
        output=options.output,
        write=split_names(options.write),
        overwrite=options.overwrite,
        resume=options.resume,
        cluster=options.cluster,
        threads=options.threads,
    )
    more, failed = predict_all(recordings, choices, model, settings, options.range)
    lost += more
    if lost:
        complain("predict", left_out(lost, whole))
    return 2 if failed == len(recordings) else int(bool(lost))


def _open_all(
    paths: Sequence[Path], topics: Sequence[str], values: ValueRange
) -> tuple[list[Recording], list[Path]]:
    """Opens everything and says what cannot be; returns what can, and the paths of the others."""
    opened: list[Recording] = []
    wrong = []
    tell = partial(complain, "predict")
    for path in paths:
        wanted = topics if topics and is_bag(path) else [""]
        try:
            opened += [open_recording(path, topic, values, tell) for topic in wanted]
        except Exception as error:
            line = reason(error)
            if line is None:
                raise
            complain("predict", line)
            wrong.append(path)
    return opened, wrong

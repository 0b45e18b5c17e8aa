"""A run of `e2ec predict`: begun or gone on with, done part by part, brought to its end."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from e2ec_core.commands.failures import complain, printable
from e2ec_core.commands.loading import load_predictor
from e2ec_core.commands.model_options import ModelOptions
from e2ec_core.commands.outputs import require_writable
from e2ec_core.commands.predict_job import Job
from e2ec_core.commands.predict_parts import PartWorker, frame_files, has_frames
from e2ec_core.commands.predict_paths import choose_names
from e2ec_core.commands.predict_progress import Progress, stoppable
from e2ec_core.commands.predict_results import (
    WRITABLE,
    Outcome,
    Results,
    Targets,
    outcomes,
    result_targets,
    without_room,
)
from e2ec_core.commands.predict_state import RunState
from e2ec_core.inference import Predictor
from e2ec_core.predictor_settings import PredictorSettings
from e2ec_core.recordings.recording import Recording


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a run writes where.

    Attributes:
        output: folder of the results.
        write: kinds of results, of `WRITABLE`.
        overwrite: whether results may be replaced.
        resume: whether to go on with a run that was cut off.
        cluster: address of a Ray cluster, or auto; empty: this process does all.
        threads: CPU threads of one inference; 0: the backend's choice, on a cluster 1.
    """

    output: Path
    write: tuple[str, ...]
    overwrite: bool
    resume: bool
    cluster: str
    threads: int

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise ValueError(f"threads is {self.threads}; give 0 or more")
        unknown = [kind for kind in self.write if kind not in WRITABLE]
        if unknown or not self.write:
            given = ",".join(self.write)
            raise ValueError(f"write is {given!r}; give some of {', '.join(WRITABLE)}")


def predict_all(
    recordings: Sequence[Recording],
    choices: Choices,
    model: ModelOptions,
    settings: PredictorSettings,
    value_range: str,
) -> tuple[list[str], int]:
    """Does everything.

    Returns:
        what was left out in words, and the number of recordings that gave nothing.

    Raises:
        ValueError: an option does not fit, or results exist that must not be replaced.
        NotWritten: a result cannot be written.
    """
    full = without_room(recordings) if "bag" in choices.write else {}
    asked = len(recordings)
    if set(choices.write) == {"bag"}:
        recordings = [one for one in recordings if one.path not in full]
        if not recordings:
            raise ValueError(next(iter(full.values())))
    job = Job(
        recordings=tuple(recordings),
        names=tuple(choose_names(recordings, choices.write)),
        write=tuple(sorted(choices.write)),
        model=model,
        settings=settings,
        range=value_range,
        threads=choices.threads or int(bool(choices.cluster)),
    )
    state = RunState(choices.output)
    if not choices.resume and not choices.overwrite:
        state.require_finished()
    targets = result_targets(job, choices.output, full)
    _require_room(job, targets, choices, going_on=choices.resume and state.there)
    if choices.cluster:
        from e2ec_core.commands.predict_cluster import require_reachable

        require_reachable(choices.cluster)
    predictor = load_predictor(model, settings, threads=job.threads)
    job = replace(job, weights_sha256=predictor.info.sha256, backend=predictor.backend)
    with state.alone(), stoppable(state):
        for why in full.values():
            complain("predict", why)
        before = _begin(state, job, targets, resume=choices.resume)
        if not before:
            _do_parts(state, job, predictor, choices.cluster)
            told = outcomes(state, job)
            broken = Results(state, job, predictor.info, full).make(told)
            lost, failed = _tell(state, job, told)
            lost += _copies(broken, lost)
            there = targets.there(state.output)
            state.finish({"left_out": lost, "failed": failed, "results": there})
        else:
            lost, failed = before["left_out"], before["failed"]
            again = "--overwrite in place of --resume does it anew"
            print(f"{choices.output}: all was done before; {again}")
        state.clean(keep_manifest=choices.resume)
    lost = [*lost, *_copies(full, lost)]
    return lost, failed + asked - len(recordings)


def _copies(bags: Iterable[str], lost: Sequence[str]) -> list[str]:
    """The copies that bags do not have, of bags that are not named as lost already."""
    return [f"the copy of {bag!r}" for bag in bags if not any(repr(bag) in one for one in lost)]


def _begin(state: RunState, job: Job, targets: Targets, *, resume: bool) -> dict[str, Any]:
    """Begins a run or goes on with it; returns the summary of one whose results are all there."""
    if resume and state.go_on(job):
        summary, there = state.summary, targets.there(state.output)
        kept = summary.get("results", {})
        gone = [path for path, count in kept.items() if there.get(path, 0) < count]
        if not gone:
            return summary
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        complain("predict", f"{str(state.output / gone[0])!r}{more} is gone; all is done again")
    for folder in targets.folders:  # with --overwrite: none of its frames stay among new ones
        for file in folder.glob("*.png"):
            if file.stem.isdecimal():
                file.unlink()
    state.begin(job)
    return {}


def _require_room(job: Job, targets: Targets, choices: Choices, *, going_on: bool) -> None:
    """Checks that the results may be written; those of a run that goes on may be there."""
    overwrite = choices.overwrite or going_on
    for folder in (*targets.folders, *targets.bags):
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{str(folder)!r} is a file where a folder goes; remove it")
        if not folder.exists() or not any(folder.iterdir()):
            continue
        if not overwrite:
            raise ValueError(
                f"folder {str(folder)!r} exists; give --overwrite, or another --output"
            )
        if folder in targets.bags and not (folder / "metadata.yaml").is_file():
            raise ValueError(f"folder {str(folder)!r} is no bag, so it is not replaced")
    inputs = [Path(recording.path) for recording in job.recordings]
    places = [place for path in inputs for place in (path.absolute(), path.resolve())]
    read = {folder.resolve() for place in places for folder in (place, place.parent)}
    for folder in (*targets.folders, *targets.bags):
        if folder.resolve() in read:
            raise ValueError(f"folder {str(folder)!r} holds an input; give another --output")
    require_writable(*targets.files, overwrite=overwrite, inputs=inputs)


def _do_parts(state: RunState, job: Job, predictor: Predictor, cluster: str) -> None:
    """Does the parts that are not done yet."""
    for number in state.done:
        if not has_frames(state, job, number):
            state.forget(number)
    done = state.done
    todo = [number for number in range(len(job.parts)) if number not in done]
    total = sum(recording.length for recording in job.recordings)
    before = sum(told["frames"] + len(told["errors"]) for n in done for told in state.told(n))
    engine = _in_turn(state, predictor, todo)
    if cluster and todo:
        from e2ec_core.commands.predict_cluster import on_ray

        engine = on_ray(state, todo, cluster)
    with Progress(total, "frames", before) as progress:
        for number in engine:
            told = state.told(number)
            progress.add(sum(one["frames"] + len(one["errors"]) for one in told))
            _say(state, job, number)


def _in_turn(state: RunState, predictor: Predictor, todo: Sequence[int]) -> Iterator[int]:
    worker = PartWorker(state, predictor)
    for number in todo:
        worker(number)
        yield number


def _say(state: RunState, job: Job, number: int) -> None:
    """Says what was found in the single images of a part, and which of them failed."""
    segments = job.parts[number]
    if job.recordings[segments[0].recording].kind != "image":
        return
    for segment, line in zip(segments, state.lines_of(number), strict=True):
        row = json.loads(line)
        files = frame_files(job, state.output, segment.recording)
        if "error" in row:
            complain("predict", row["error"])
        elif files:
            found = [f"{one['class']} {one['score']:.2f}" for one in row["instances"]]
            target = next(iter(files.values()))
            tqdm.write(
                f"{printable(target)}: {', '.join(found) or 'nothing found'}", file=sys.stdout
            )


def _tell(state: RunState, job: Job, told: Sequence[Outcome]) -> tuple[list[str], int]:
    """Says what became of videos and bags; returns what was left out, how many gave nothing."""
    lost = []
    for number, (recording, one) in enumerate(zip(job.recordings, told, strict=True)):
        path = repr(recording.path)
        if one.errors:
            lost.append(f"frames of {path}" if one.frames else path)
        if recording.kind == "image":
            continue
        shown = "video" in job.write and one.frames
        target = state.output / (job.paths(number)["video"] if shown else "")
        if one.errors:
            first, more = one.errors[0][1], len(one.errors) - 1
            others = f" and {more} more" if more else ""
            rest = f"{str(target)!r} has the other {one.frames} frames"
            rest = rest if one.frames else f"no frame of {path} can be shown"
            complain("predict", f"{first}{others}; {rest}")
        else:
            counts = ", ".join(f"{count} x {kind}" for kind, count in one.found.most_common())
            place = target if shown else recording.path
            print(f"{printable(place)}: {one.frames} frames, {counts or 'nothing found'}")
    return lost, sum(not one.frames for one in told)

"""Parts of a run as tasks of Ray Data, which restarts workers that die and repeats their parts.

A worker needs the folder of the results and the inputs under the same paths, and this library.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from e2ec_core.commands.predict_parts import PartWorker
from e2ec_core.commands.predict_state import RunState

_TASKS = 8
"""Tasks for each worker. Parts of one are neighbours, so that a video is read on, not anew."""

_PATIENCE = 10.0
"""Seconds in which a cluster must answer."""


class _Worker:
    """What runs in a process of the cluster.

    Args:
        folder: working folder, from which relative paths count.
        output: folder of the results.
    """

    def __init__(self, folder: str, output: str) -> None:
        from e2ec_core.cpu_threads import wait_passively
        from e2ec_core.opencv import prepare_opencv

        wait_passively()
        prepare_opencv()
        os.chdir(folder)
        self._state = RunState(Path(output))
        self._work = PartWorker(self._state)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        done = self._state.done
        for number in batch["item"].tolist():
            if number not in done:
                self._work(number)
        return batch


def on_ray(state: RunState, todo: Sequence[int], address: str) -> Iterator[int]:
    """Does parts on a Ray cluster.

    Args:
        state: of the run, in a folder that all machines see.
        todo: numbers of the parts.
        address: of the cluster; auto: the one of this machine, else all cores of this machine.

    Yields:
        the numbers of parts as they are done, in any order.

    Raises:
        ValueError: there is no such cluster.
        NotWritten: a result cannot be written.
    """
    import ray
    import ray.data

    if address != "auto":
        _require_reachable(address)
    ray.init(
        address=None if address == "auto" else address,
        log_to_driver=False,
        logging_level="error",
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    on_gpu = state.job.model.device.startswith("cuda")
    cores = max(1, state.job.threads)
    resources = ray.cluster_resources()
    places = resources.get("GPU", 0) if on_gpu else resources.get("CPU", 0) // cores
    workers = max(1, int(places))
    tasks = min(len(todo), _TASKS * workers)
    parts = ray.data.from_items(list(todo), override_num_blocks=tasks)
    done = parts.map_batches(
        _Worker,
        fn_constructor_args=(os.getcwd(), str(state.output)),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(workers, tasks)),
        num_cpus=cores,
        num_gpus=1 if on_gpu else None,
    )
    try:
        for row in done.iter_rows():
            yield int(row["item"])
    except ray.exceptions.RayError as error:
        raise _cause(error) from error
    finally:
        ray.shutdown()


def _require_reachable(address: str) -> None:
    """Tells at once what Ray would tell after minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"cluster is {address!r}, where nothing answers; give auto, or HOST:PORT as "
            "`ray start --head` says it"
        ) from error


def _cause(error: BaseException) -> BaseException:
    """What went wrong in a worker, without what Ray says around it."""
    inner = getattr(error, "cause", None) or error.__cause__
    return _cause(inner) if isinstance(inner, BaseException) else error

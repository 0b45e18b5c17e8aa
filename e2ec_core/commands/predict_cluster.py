"""Parts of a run as tasks of Ray Data, which restarts workers that die and repeats their parts.

A worker needs the folder of the results and the inputs under the same paths, and this library.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from e2ec_core.commands.failures import reason
from e2ec_core.commands.predict_parts import PartWorker
from e2ec_core.commands.predict_state import RunState

_TASKS = 8
"""Tasks for each worker. Parts of one are neighbours, so that a video is read on, not anew."""

_PREPARED = ("OPENCV_", "OMP_WAIT_POLICY")
"""Variables that must be set before a worker imports OpenCV and backends, as they are here."""

_PATIENCE = 10.0
"""Seconds in which a cluster must answer."""


class _Worker:
    """What runs in a process of the cluster.

    Args:
        folder: working folder, from which relative paths count.
        output: folder of the results.
    """

    def __init__(self, folder: str, output: str) -> None:
        os.chdir(folder)
        self._state = RunState(Path(output))
        self._work: PartWorker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Does parts; returns their numbers, and for each what the user has to mend."""
        return batch | {"error": np.array([self._do(number) for number in batch["item"].tolist()])}

    def _do(self, number: int) -> str:
        try:
            if number not in self._state.done:
                self._work = self._work or PartWorker(self._state)
                self._work(number)
        except Exception as error:
            if line := reason(error):
                return line
            raise
        return ""


def on_ray(state: RunState, todo: Sequence[int], address: str) -> Iterator[int]:
    """Does parts on a Ray cluster.

    Args:
        state: of the run, in a folder that all machines see.
        todo: numbers of the parts.
        address: of the cluster; auto: the one of this machine, else all cores of this machine.

    Yields:
        the numbers of parts as they are done, in any order.

    Raises:
        ValueError: there is no such cluster, or a worker cannot load the model or write a result.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to Ray's makers
    import ray
    import ray.data

    prepared = {name: value for name, value in os.environ.items() if name.startswith(_PREPARED)}
    on_stop = signal.getsignal(signal.SIGTERM)
    ray.init(
        address=None if address == "auto" else address,
        runtime_env={"env_vars": prepared},
        log_to_driver=False,
        logging_level="error",
    )
    if signal.getsignal(signal.SIGTERM) is not on_stop:  # Ray has one of its own
        signal.signal(signal.SIGTERM, on_stop)
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
            if row["error"]:
                raise ValueError(row["error"])
            yield int(row["item"])
    finally:
        ray.shutdown()


def require_reachable(address: str) -> None:
    """Tells at once what Ray would tell after minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"cluster is {address!r}, where nothing answers; give auto, or HOST:PORT as "
            "`ray start --head` says it"
        ) from error

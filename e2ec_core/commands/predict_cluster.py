"""Parts of a run as tasks of Ray Data, which restarts workers that die and repeats their parts.

A worker needs the folder of the results and the inputs under the same paths, and this library.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from e2ec_core.commands.predict_parts import PartWorker
from e2ec_core.commands.predict_state import RunState

_MOST_TASKS = 1000
"""Parts are grouped so that there are at most so many tasks; finished ones are not repeated."""


class _Worker:
    """What runs in a process of the cluster.

    Args:
        folder: working folder, from which relative paths count.
        output: folder of the results.
        threads: CPU threads of one inference; 0: the backend's choice.
    """

    def __init__(self, folder: str, output: str, threads: int) -> None:
        from e2ec_core.cpu_threads import wait_passively
        from e2ec_core.opencv import prepare_opencv

        wait_passively()
        prepare_opencv()
        os.chdir(folder)
        self._state = RunState(Path(output))
        self._work = PartWorker(self._state, threads=threads)

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

    try:
        ray.init(
            address=None if address == "auto" else address,
            log_to_driver=False,
            logging_level="error",
        )
    except (ConnectionError, ValueError) as error:
        line = " ".join(str(error).split())
        raise ValueError(f"cluster {address!r} cannot be reached: {line}") from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    on_gpu = state.job.model.device.startswith("cuda")
    resources = ray.cluster_resources()
    workers = max(1, int(resources.get("GPU" if on_gpu else "CPU", 1)))
    parts = ray.data.from_items(list(todo), override_num_blocks=min(len(todo), _MOST_TASKS))
    done = parts.map_batches(
        _Worker,
        fn_constructor_args=(os.getcwd(), str(state.output), 0 if on_gpu else 1),
        batch_size=1,
        concurrency=(1, workers),
        num_cpus=1,
        num_gpus=1 if on_gpu else None,
        max_restarts=-1,
        max_task_retries=-1,
    )
    try:
        for row in done.iter_rows():
            yield int(row["item"])
    except ray.exceptions.RayError as error:
        raise _cause(error) from error
    finally:
        ray.shutdown()


def _cause(error: BaseException) -> BaseException:
    """What went wrong in a worker, without what Ray says around it."""
    inner = getattr(error, "cause", None) or error.__cause__
    return _cause(inner) if isinstance(inner, BaseException) else error

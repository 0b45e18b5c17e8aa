"""The mailbox of one frame and its thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError

import pytest

from e2ec_ros.worker import InferenceWorker

Make = Callable[..., InferenceWorker[int]]


@pytest.fixture
def errors() -> list[Exception]:
    return []


@pytest.fixture
def make(errors: list[Exception]) -> Iterator[Make]:
    workers: list[InferenceWorker[int]] = []

    def build(process: Callable[[int, int], None] | None = None) -> InferenceWorker[int]:
        workers.append(InferenceWorker())
        if process is not None:
            workers[-1].open(process, errors.append)
        return workers[-1]

    yield build
    for worker in workers:
        assert worker.stop(2.0)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 3.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_the_newest_frame_wins_and_the_others_are_counted(make: Make) -> None:
    gate, started = threading.Event(), threading.Event()
    seen: list[tuple[int, int]] = []

    def process(frame: int, dropped: int) -> None:
        seen.append((frame, dropped))
        started.set()
        gate.wait(3.0)

    worker = make(process)
    worker.offer(0)
    started.wait(3.0)
    for frame in range(1, 6):
        worker.offer(frame)
    gate.set()
    wait_for(lambda: len(seen) == 2)
    assert seen == [(0, 0), (5, 4)]


def test_every_frame_is_processed_or_counted_under_load(make: Make) -> None:
    seen: list[tuple[int, int]] = []

    def process(frame: int, dropped: int) -> None:
        time.sleep(0.004)
        seen.append((frame, dropped))

    worker = make(process)
    for frame in range(200):
        worker.offer(frame)
        time.sleep(0.0005)
    wait_for(lambda: bool(seen) and seen[-1][0] == 199)
    assert len(seen) + sum(dropped for _, dropped in seen) == 200
    assert len(seen) < 200
    assert [frame for frame, _ in seen] == sorted(frame for frame, _ in seen)


def test_a_failing_frame_does_not_end_the_thread(make: Make, errors: list[Exception]) -> None:
    seen: list[int] = []

    def process(frame: int, dropped: int) -> None:
        if frame == 0:
            raise ValueError("bad frame")
        seen.append(frame)

    worker = make(process)
    worker.offer(0)
    wait_for(lambda: len(errors) == 1)
    worker.offer(1)
    wait_for(lambda: seen == [1])
    assert str(errors[0]) == "bad frame"


def test_calls_run_on_the_thread_and_return_or_raise(make: Make) -> None:
    worker = make()
    assert worker.call(threading.current_thread).result(3.0).name == "e2ec_inference"
    with pytest.raises(ZeroDivisionError):
        worker.call(lambda: 1 // 0).result(3.0)


def test_a_closed_mailbox_takes_nothing(make: Make, errors: list[Exception]) -> None:
    seen: list[tuple[int, int]] = []

    def process(frame: int, dropped: int) -> None:
        seen.append((frame, dropped))

    worker = make()
    worker.offer(1)
    worker.open(process, errors.append)
    worker.offer(2)
    wait_for(lambda: seen == [(2, 1)])
    assert worker.close(1.0)
    worker.offer(3)
    worker.open(process, errors.append)
    worker.offer(4)
    wait_for(lambda: seen == [(2, 1), (4, 1)])


def test_closing_waits_for_the_frame_in_work_but_not_for_ever(make: Make) -> None:
    gate, started = threading.Event(), threading.Event()

    def process(frame: int, dropped: int) -> None:
        started.set()
        gate.wait(5.0)

    worker = make(process)
    worker.offer(1)
    started.wait(3.0)
    begun = time.monotonic()
    assert not worker.close(0.1)
    assert time.monotonic() - begun < 1.0
    gate.set()
    assert worker.close(3.0)


def test_stopping_cancels_the_calls_that_wait(make: Make) -> None:
    gate, started = threading.Event(), threading.Event()
    worker = make()
    running = worker.call(lambda: (started.set(), gate.wait(5.0)))
    started.wait(3.0)
    waiting = worker.call(lambda: 1)
    assert not worker.stop(0.05)
    gate.set()
    assert worker.stop(3.0)
    assert running.done()
    with pytest.raises(CancelledError):
        waiting.result(1.0)
    with pytest.raises(CancelledError):
        worker.call(lambda: 2).result(1.0)


def test_frames_and_calls_take_turns_and_one_call_waits(make: Make) -> None:
    gate, started = threading.Event(), threading.Event()
    order: list[str] = []

    def process(frame: int, dropped: int) -> None:
        order.append(f"frame {frame}")
        started.set()
        gate.wait(5.0)

    worker = make(process)
    worker.offer(0)
    started.wait(3.0)
    first = worker.call(lambda: order.append("call 1"))
    with pytest.raises(ValueError, match="another request waits already"):
        worker.call(lambda: order.append("never"))
    worker.offer(1)
    gate.set()
    first.result(3.0)
    wait_for(lambda: order[-1] == "frame 1")
    gate.clear()
    started.clear()
    worker.call(lambda: (started.set(), gate.wait(5.0), order.append("call 2")))
    started.wait(3.0)
    last = worker.call(lambda: order.append("call 3"))
    worker.offer(2)
    gate.set()
    last.result(3.0)
    assert order == ["frame 0", "call 1", "frame 1", "call 2", "frame 2", "call 3"]


def test_the_work_and_its_time_are_known(make: Make) -> None:
    gate, started = threading.Event(), threading.Event()
    worker = make(lambda frame, dropped: (started.set(), gate.wait(5.0)))
    assert worker.work is None
    worker.offer(0)
    started.wait(3.0)
    time.sleep(0.05)
    work = worker.work
    assert work is not None
    assert work.kind == "frame"
    assert 0.05 <= work.seconds < 3.0
    gate.set()
    wait_for(lambda: worker.work is None)


def test_an_error_in_the_error_handler_does_not_end_the_thread(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []

    def process(frame: int, dropped: int) -> None:
        if frame == 0:
            raise ValueError("bad frame")
        seen.append(frame)

    def fail(error: Exception) -> None:
        raise RuntimeError("bad handler")

    worker = make()
    worker.open(process, fail)
    worker.offer(0)
    wait_for(lambda: "bad handler" in caplog.text)
    worker.offer(1)
    wait_for(lambda: seen == [1])


def test_a_stopped_thread_reports_nothing_any_more(make: Make, errors: list[Exception]) -> None:
    gate, started = threading.Event(), threading.Event()

    def process(frame: int, dropped: int) -> None:
        started.set()
        gate.wait(5.0)
        raise ValueError("its publishers are gone")

    worker = make(process)
    worker.offer(0)
    started.wait(3.0)
    assert not worker.stop(0.05)
    gate.set()
    assert worker.stop(3.0)
    assert errors == []

"""The mailbox of one frame and its thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError

import pytest

from e2ec_ros.worker import InferenceWorker, Mailbox

Make = Callable[..., tuple[InferenceWorker[int], Mailbox[int]]]


@pytest.fixture
def errors() -> list[Exception]:
    return []


@pytest.fixture
def make(errors: list[Exception]) -> Iterator[Make]:
    workers: list[InferenceWorker[int]] = []

    def build(
        process: Callable[[int, int], object] | None = None,
    ) -> tuple[InferenceWorker[int], Mailbox[int]]:
        workers.append(InferenceWorker())
        mailbox = workers[-1].mailbox()
        if process is not None:
            mailbox.open(process, errors.append)
        return workers[-1], mailbox

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

    _, mailbox = make(process)
    mailbox.offer(0)
    started.wait(3.0)
    for frame in range(1, 6):
        mailbox.offer(frame)
    gate.set()
    wait_for(lambda: len(seen) == 2)
    assert seen == [(0, 0), (5, 4)]


def test_every_frame_is_processed_or_counted_under_load(make: Make) -> None:
    seen: list[tuple[int, int]] = []

    def process(frame: int, dropped: int) -> None:
        time.sleep(0.004)
        seen.append((frame, dropped))

    _, mailbox = make(process)
    for frame in range(200):
        mailbox.offer(frame)
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

    _, mailbox = make(process)
    mailbox.offer(0)
    wait_for(lambda: len(errors) == 1)
    mailbox.offer(1)
    wait_for(lambda: seen == [1])
    assert str(errors[0]) == "bad frame"


def test_calls_run_on_the_thread_and_return_or_raise(make: Make) -> None:
    worker, _ = make()
    assert worker.call(threading.current_thread).result(3.0).name == "e2ec_inference"
    with pytest.raises(ZeroDivisionError):
        worker.call(lambda: 1 // 0).result(3.0)


def test_a_closed_mailbox_takes_nothing(make: Make, errors: list[Exception]) -> None:
    seen: list[tuple[int, int]] = []

    def process(frame: int, dropped: int) -> None:
        seen.append((frame, dropped))

    worker, mailbox = make()
    mailbox.offer(1)
    mailbox.open(process, errors.append)
    mailbox.offer(2)
    wait_for(lambda: seen == [(2, 1)])
    mailbox.close()
    assert worker.wait_until_idle(1.0)
    mailbox.offer(3)
    mailbox.open(process, errors.append)
    mailbox.offer(4)
    wait_for(lambda: seen == [(2, 1), (4, 1)])


def test_closing_waits_for_the_frame_in_work_but_not_for_ever(make: Make) -> None:
    gate, started = threading.Event(), threading.Event()

    def process(frame: int, dropped: int) -> None:
        started.set()
        gate.wait(5.0)

    worker, mailbox = make(process)
    mailbox.offer(1)
    started.wait(3.0)
    mailbox.close()
    begun = time.monotonic()
    assert not worker.wait_until_idle(0.1)
    assert time.monotonic() - begun < 1.0
    gate.set()
    assert worker.wait_until_idle(3.0)


def test_stopping_cancels_the_calls_that_wait(make: Make) -> None:
    gate, started = threading.Event(), threading.Event()
    worker, _ = make()
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

    worker, mailbox = make(process)
    mailbox.offer(0)
    started.wait(3.0)
    first = worker.call(lambda: order.append("call 1"))
    with pytest.raises(ValueError, match="another request waits already"):
        worker.call(lambda: order.append("never"))
    mailbox.offer(1)
    gate.set()
    first.result(3.0)
    wait_for(lambda: order[-1] == "frame 1")
    gate.clear()
    started.clear()
    worker.call(lambda: (started.set(), gate.wait(5.0), order.append("call 2")))
    started.wait(3.0)
    last = worker.call(lambda: order.append("call 3"))
    mailbox.offer(2)
    gate.set()
    last.result(3.0)
    assert order == ["frame 0", "call 1", "frame 1", "call 2", "frame 2", "call 3"]


def test_the_work_and_its_time_are_known(make: Make) -> None:
    gate, started = threading.Event(), threading.Event()
    worker, mailbox = make(lambda frame, dropped: (started.set(), gate.wait(5.0)))
    assert worker.work_for(mailbox) is None
    mailbox.offer(0)
    started.wait(3.0)
    time.sleep(0.05)
    work = worker.work_for(mailbox)
    assert work is not None
    assert work.kind == "frame"
    assert 0.05 <= work.seconds < 3.0
    gate.set()
    wait_for(lambda: worker.work_for(mailbox) is None)


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

    _, mailbox = make()
    mailbox.open(process, fail)
    mailbox.offer(0)
    wait_for(lambda: "bad handler" in caplog.text)
    mailbox.offer(1)
    wait_for(lambda: seen == [1])


def test_a_stopped_thread_reports_nothing_any_more(make: Make, errors: list[Exception]) -> None:
    gate, started = threading.Event(), threading.Event()

    def process(frame: int, dropped: int) -> None:
        started.set()
        gate.wait(5.0)
        raise ValueError("its publishers are gone")

    worker, mailbox = make(process)
    mailbox.offer(0)
    started.wait(3.0)
    assert not worker.stop(0.05)
    gate.set()
    assert worker.stop(3.0)
    assert errors == []


def test_cameras_take_turns_and_a_slow_one_is_served_next(make: Make) -> None:
    gate, started = threading.Event(), threading.Event()
    order: list[str] = []

    def segment(camera: str, frame: int) -> None:
        order.append(f"{camera} {frame}")
        started.set()
        gate.wait(5.0)

    worker, fast = make(lambda frame, dropped: segment("fast", frame))
    other, slow = worker.mailbox(), worker.mailbox()
    other.open(lambda frame, dropped: segment("other", frame), print)
    slow.open(lambda frame, dropped: segment("slow", frame), print)
    fast.offer(0)
    started.wait(3.0)
    for frame in range(1, 9):
        fast.offer(frame)
        other.offer(frame)
    slow.offer(0)
    gate.set()
    wait_for(lambda: len(order) == 4)
    assert order == ["fast 0", "other 8", "slow 0", "fast 8"]


def test_each_camera_has_its_own_count_and_errors(make: Make, errors: list[Exception]) -> None:
    gate, started = threading.Event(), threading.Event()
    dropped_of_front: list[int] = []
    worker, left = make(lambda frame, dropped: (started.set(), gate.wait(5.0), 1 // 0))
    front = worker.mailbox()
    errors_of_front: list[Exception] = []
    front.open(lambda frame, dropped: dropped_of_front.append(dropped), errors_of_front.append)
    left.offer(0)
    started.wait(3.0)
    for frame in range(3):
        front.offer(frame)
    gate.set()
    wait_for(lambda: dropped_of_front == [2])
    assert [type(error) for error in errors] == [ZeroDivisionError]
    assert not errors_of_front


def test_a_camera_waits_for_the_frame_of_another_only_with_one_of_its_own(make: Make) -> None:
    gate, started = threading.Event(), threading.Event()
    worker, busy = make(lambda frame, dropped: (started.set(), gate.wait(5.0)))
    quiet = worker.mailbox()
    quiet.open(lambda frame, dropped: None, print)
    busy.offer(0)
    started.wait(3.0)
    assert worker.work_for(busy) is not None
    assert worker.work_for(quiet) is None
    quiet.offer(0)
    assert worker.work_for(quiet) is not None
    gate.set()
    wait_for(lambda: worker.work_for(quiet) is None)

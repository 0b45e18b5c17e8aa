"""The mailbox of one frame and its thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError

import pytest

from e2ec_ros.worker import LONGEST_PAUSE, InferenceWorker, Mailbox, Taken

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


class Cameras:
    """Mailboxes whose frames are taken together, and what was taken in which order."""

    def __init__(self, worker: InferenceWorker[int], first: Mailbox[int], wait: float) -> None:
        self.wait = wait
        self.worker = worker
        self.boxes = [first, worker.mailbox(), worker.mailbox()]
        self.taken: list[list[tuple[int, int, int]]] = []  # camera, frame, dropped
        self.gate, self.started = threading.Event(), threading.Event()
        self.gate.set()
        for camera, mailbox in enumerate(self.boxes):
            mailbox.open(lambda f, d, c=camera: self.take([(c, f, d)]), print)  # type: ignore[misc]
        worker.batch(lambda: self.wait, self.take_batch)

    def take_batch(self, frames: Sequence[Taken[int]]) -> None:
        self.take([(self.boxes.index(t.mailbox), t.frame, t.dropped) for t in frames])

    def take(self, frames: list[tuple[int, int, int]]) -> None:
        self.taken.append(frames)
        self.started.set()
        self.gate.wait(5.0)

    def let_all_be_heard(self) -> None:
        """One frame of each, from the thread's first work on."""
        for camera, mailbox in enumerate(self.boxes):
            mailbox.offer(-1)
            wait_for(lambda camera=camera: len(self.taken) > camera)  # type: ignore[misc]
        assert self.worker.wait_until_idle(3.0)
        self.taken.clear()
        self.started.clear()


@pytest.fixture
def cameras(make: Make) -> Callable[[float], Cameras]:
    """Makes three cameras that were all heard, with the time that frames wait."""

    def build(wait: float) -> Cameras:
        made = Cameras(*make(), wait=0.0)
        made.let_all_be_heard()
        made.wait = wait
        return made

    return build


def test_frames_of_all_cameras_are_taken_together_as_soon_as_the_last_is_there(
    cameras: Callable[[float], Cameras],
) -> None:
    all_three = cameras(60.0)
    for camera in (2, 0, 1):
        assert all_three.taken == []
        all_three.boxes[camera].offer(camera)
    wait_for(lambda: len(all_three.taken) == 1)
    assert sorted(all_three.taken[0]) == [(0, 0, 0), (1, 1, 0), (2, 2, 0)]


def test_a_frame_waits_its_time_for_the_others_and_no_longer(
    cameras: Callable[[float], Cameras],
) -> None:
    all_three = cameras(0.2)
    begun = time.monotonic()
    all_three.boxes[0].offer(1)
    all_three.boxes[1].offer(2)
    wait_for(lambda: len(all_three.taken) == 1)
    assert time.monotonic() - begun >= 0.2
    assert sorted(all_three.taken[0]) == [(0, 1, 0), (1, 2, 0)]
    all_three.boxes[2].offer(3)
    wait_for(lambda: len(all_three.taken) == 2)
    assert all_three.taken[1] == [(2, 3, 0)]  # by the mailbox's own function


def test_newer_frames_do_not_prolong_the_wait_and_drops_are_counted_by_camera(
    cameras: Callable[[float], Cameras],
) -> None:
    all_three = cameras(0.3)
    offered, begun = 0, time.monotonic()
    while not all_three.taken and time.monotonic() - begun < 3.0:
        all_three.boxes[0].offer(offered)
        offered += 1
        time.sleep(0.02)
    ((camera, frame, dropped),) = all_three.taken[0]
    assert camera == 0
    assert dropped == frame > 2
    all_three.boxes[1].offer(7)
    all_three.boxes[2].offer(8)
    wait_for(lambda: sum(map(len, all_three.taken)) >= 3)
    assert {(1, 7, 0), (2, 8, 0)} <= {each for batch in all_three.taken for each in batch}


def test_nobody_waits_for_a_camera_that_is_silent_or_closed(
    cameras: Callable[[float], Cameras],
) -> None:
    all_three = cameras(60.0)
    all_three.boxes[1].close()
    for camera in (0, 2):
        all_three.boxes[camera].offer(5)
    wait_for(lambda: len(all_three.taken) == 1)
    time.sleep(LONGEST_PAUSE)
    all_three.boxes[0].offer(6)
    wait_for(lambda: len(all_three.taken) == 2)
    assert all_three.taken[1] == [(0, 6, 0)]


def test_frames_that_came_while_the_thread_was_busy_wait_no_more(
    cameras: Callable[[float], Cameras],
) -> None:
    """And a call goes before those that wait."""
    all_three = cameras(0.2)
    all_three.gate.clear()
    all_three.boxes[0].offer(1)
    all_three.started.wait(3.0)
    all_three.boxes[1].offer(2)
    all_three.boxes[0].offer(3)
    time.sleep(0.2)
    all_three.wait = 60.0
    all_three.boxes[1].full_since -= 60.0  # as if the frame in work had taken that long
    all_three.gate.set()
    wait_for(lambda: len(all_three.taken) == 2)
    assert sorted(all_three.taken[1]) == [(0, 3, 0), (1, 2, 0)]
    all_three.boxes[0].offer(4)
    assert all_three.worker.call(lambda: "at once").result(3.0) == "at once"


def test_the_thread_ends_while_frames_wait(make: Make) -> None:
    all_three = Cameras(*make(), wait=0.0)
    all_three.let_all_be_heard()
    all_three.wait = 60.0
    all_three.boxes[0].offer(1)
    assert all_three.worker.stop(2.0)
    assert all_three.taken == []

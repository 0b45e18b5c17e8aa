"""Which measurement belongs to which result, and how long a result waits for it."""

from __future__ import annotations

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from e2ec_ros.pairing import MOST_WAITING, Pairing


class Stamped:
    def __init__(self, seconds: float) -> None:
        self.header = Header(stamp=Time(sec=int(seconds), nanosec=round(seconds % 1 * 1e9)))

    def __repr__(self) -> str:
        return f"{self.header.stamp.sec + self.header.stamp.nanosec / 1e9:g}"


def pairing(*stamps: float) -> Pairing:
    made: Pairing = Pairing(keep=5)
    for stamp in stamps:
        made.add_measurement(Stamped(stamp))
    return made


def take(made: Pairing, now: float = 0.0, tolerance: float = 0.05) -> list[str]:
    return [f"{a} {b} {off:.2f}" for a, b, off in made.take(now, tolerance, wait=0.2)]


def test_equal_stamps_are_a_pair_at_once() -> None:
    made = pairing(10.0, 10.1)
    made.add_result(Stamped(10.1), 0.0)
    assert take(made, tolerance=0.0) == ["10.1 10.1 0.00"]
    assert len(made) == 0


def test_a_result_waits_for_the_next_measurement_and_gets_the_nearest() -> None:
    made = pairing(10.0)
    made.add_result(Stamped(10.03), 0.0)
    assert take(made, 0.1) == []
    made.add_measurement(Stamped(10.04))
    assert take(made, 0.1) == ["10.03 10.04 0.01"]


def test_it_does_not_wait_for_ever() -> None:
    made = pairing(10.0)
    made.add_result(Stamped(10.03), 0.0)
    assert take(made, 0.19) == []
    assert take(made, 0.21) == ["10.03 10 0.03"]


def test_what_is_too_far_away_is_no_pair() -> None:
    made = pairing(10.0, 10.2)
    made.add_result(Stamped(10.1), 0.0)
    assert take(made) == ["10.1 None 0.10"]
    made.add_result(Stamped(10.11), 0.0)
    assert take(made, tolerance=0.0) == ["10.11 None 0.09"]
    nothing: Pairing = Pairing(keep=5)
    nothing.add_result(Stamped(1.0), 0.0)
    assert take(nothing) == []
    assert take(nothing, 1.0) == ["1 None inf"]


def test_old_measurements_and_old_results_are_given_up() -> None:
    made = pairing(*(float(i) / 10 for i in range(10)))
    made.add_result(Stamped(0.1), 0.0)
    assert take(made) == ["0.1 None 0.40"]
    for i in range(2 * MOST_WAITING):
        made.add_result(Stamped(2.0 + i), 0.0)
    assert len(made) == MOST_WAITING


def test_a_jump_back_in_time_starts_anew() -> None:
    made = pairing(100.0, 100.1, 5.0)
    made.add_result(Stamped(5.0), 0.0)
    made.add_result(Stamped(100.1), 0.0)
    assert take(made) == ["5 5 0.00"]
    assert take(made, 1.0) == ["100.1 None 95.10"]

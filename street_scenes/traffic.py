"""Traffic and people along a street at any moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from street_scenes.actors import RIDER_OF_KIND, Actor, ActorKind
from street_scenes.street import Street

VIEW_AHEAD_M = 110.0
VIEW_BEHIND_M = 12.0
CAMERA_LANE = 10

Mix = dict[ActorKind, float]
TRAFFIC: Mix = {"car": 0.76, "truck": 0.07, "bus": 0.06, "pickup": 0.05, "motorcycle": 0.06}
PARKED: Mix = {"car": 0.9, "pickup": 0.06, "motorcycle": 0.04}
CYCLISTS: Mix = {"bicycle": 1.0}
WALKERS: Mix = {"walker": 1.0}
STANDERS: Mix = {"stander": 0.85, "bicycle": 0.15}


@dataclass(frozen=True, kw_only=True)
class Row:
    """Evenly spaced slots along the street, some of them taken, all moving together.

    Attributes:
        number: Tells rows apart.
        across: Place across the street, m.
        spacing: m.
        share: Share of the slots that are taken.
        speed: m/s, negative for oncoming traffic.
        mix: Kinds and their shares.
        ridden: Whether bicycles and motorcycles have riders.
    """

    number: int
    across: float
    spacing: float
    share: float
    speed: float
    mix: Mix
    ridden: bool = True


def street_actors(street: Street, along: float, seconds: float, speed: float) -> Iterator[Actor]:
    """Everything of a class that stands or moves near a place.

    Every lane is an endless row of slots that moves as one, so a position at any time follows
    from the slot's number alone, and what shares a lane never meets.

    Args:
        street: The street.
        along: Where the camera is, m.
        seconds: Time.
        speed: Speed of the camera's lane, m/s.
    """
    for row in [*_driving(street, speed), *_beside(street)]:
        for actor in _row_actors(street, row, along, seconds):
            ahead = actor.x - along
            if row.number == CAMERA_LANE and -12 < ahead < 10:
                continue
            yield actor
            if actor.kind in RIDER_OF_KIND and row.ridden:
                yield actor.rider


def _driving(street: Street, speed: float) -> Iterator[Row]:
    for lane in range(street.lanes):
        across, faster = street.lane_center(lane), speed * (1 + 0.12 * lane)
        yield Row(number=CAMERA_LANE + lane, across=across, spacing=25.0, share=0.7,
                  speed=faster, mix=TRAFFIC)  # fmt: skip
        yield Row(number=20 + lane, across=-across, spacing=26.0, share=0.65,
                  speed=-0.9 * faster, mix=TRAFFIC)  # fmt: skip
    if street.cycling:
        middle = street.lanes * street.lane_width + street.cycling / 2
        for number, sign in ((50, -1), (51, 1)):
            yield Row(number=number, across=sign * middle, spacing=19.0, share=0.5,
                      speed=-sign * 4.6, mix=CYCLISTS)  # fmt: skip


def _beside(street: Street) -> Iterator[Row]:
    for number, sign in ((30, -1), (31, 1)):
        if street.parking:
            across = sign * (street.kerb - street.parking / 2 + 0.1)
            yield Row(number=number, across=across, spacing=6.4, share=0.55, speed=0.0,
                      mix=PARKED, ridden=False)  # fmt: skip
    for number in range(40, 46):
        sign = 1 if number % 2 else -1
        # Trees and lamps stand nearer to the kerb.
        across = sign * (street.kerb + 1.15 + (street.pavement - 1.5) * (number - 40) / 5)
        yield Row(number=number, across=across, spacing=14.0, share=0.6,
                  speed=1.3 if number % 4 < 2 else -1.25, mix=WALKERS)  # fmt: skip
    for number, sign in ((60, -1), (61, 1)):
        across = sign * (street.kerb + 0.36)
        yield Row(number=number, across=across, spacing=11.0, share=0.5, speed=0.0,
                  mix=STANDERS, ridden=False)  # fmt: skip


def _row_actors(street: Street, row: Row, along: float, seconds: float) -> Iterator[Actor]:
    shift = row.speed * seconds
    first = int(np.floor((along - VIEW_BEHIND_M - shift) / row.spacing))
    last = int(np.ceil((along + VIEW_AHEAD_M - shift) / row.spacing))
    for slot in range(first, last + 1):
        rng = np.random.default_rng([street.seed, row.number, slot + (1 << 30)])
        if rng.random() < row.share:
            yield _slot_actor(street, row, slot, seconds, rng)


def _slot_actor(
    street: Street, row: Row, slot: int, seconds: float, rng: np.random.Generator
) -> Actor:
    kinds = list(row.mix)
    kind = kinds[rng.choice(len(kinds), p=list(row.mix.values()))]
    sway = 0.03 if row.mix is PARKED else 0.12
    jitter = rng.uniform(-0.05, 0.05) * row.spacing, rng.uniform(-sway, sway)
    place = slot * row.spacing + float(jitter[0]) + row.speed * seconds
    if abs(row.speed) > 3:  # Drivers close up and fall back a little.
        place += 1.5 * float(np.sin(0.25 * seconds + rng.uniform(0, 6.28)))
    x, y = street.place(place, row.across + float(jitter[1]))
    backward = row.speed < 0 or (row.speed == 0 and row.across > 0)
    turn = float(rng.uniform(0, 6.28)) if kind == "stander" else float(rng.normal(0, 0.012))
    # A walker makes 0.68 gait cycles a metre, a cyclist turns the cranks once in 5 m.
    pace = 0.68 if kind == "walker" else 0.2
    return Actor(
        kind=kind,
        seed=int(rng.integers(1 << 30)),
        x=x,
        y=y,
        yaw=street.heading(place) + np.pi * backward + turn,
        # Slots of a row are met in turn, so ids repeat only after 100 000 of them.
        track_id=row.number * 100_000 + slot % 100_000,
        phase=abs(row.speed) * seconds * pace * 2 * np.pi + float(rng.uniform(0, 6.28)),
    )

"""Contours to messages, without a node."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header

from e2ec_core.contours import clip_to_image
from e2ec_core.message_fields import touches_border
from e2ec_ros.contour_messages import amodal_vertices_of, vertices_of
from e2ec_ros.messages import (
    contour_array,
    model_info,
    pipeline_delay,
)
from e2ec_ros.msg import InstanceContour, InstanceContourArray
from ros_contours import BORDER, MODEL, SQUARE, TIMING, contours


def test_an_instance_carries_box_area_and_vertices_in_order() -> None:
    header = Header(stamp=Time(sec=3, nanosec=4), frame_id="camera")
    message = contour_array(contours(SQUARE), MODEL, TIMING, header)
    assert message.header == header
    assert (message.width, message.height) == (60, 50)
    assert message.stage == InstanceContourArray.STAGE_FINAL
    instance = message.instances[0]
    assert instance.contour.tolist() == [10, 40, 20, 40, 20, 20, 10, 20]
    assert instance.box.tolist() == [10, 20, 20, 40]
    assert instance.area == 200
    assert instance.class_name == "car"
    assert instance.score == pytest.approx(0.9)
    assert instance.track_id == InstanceContour.NO_TRACK == -1
    assert not instance.truncated
    assert not instance.amodal


def test_amodal_contours_and_the_hidden_share_travel() -> None:
    plain = contour_array(contours(SQUARE), MODEL, TIMING, Header()).instances[0]
    assert len(plain.amodal_contour) == 0
    assert plain.hidden == 0
    whole = np.array([[[10, 60], [20, 60], [20, 20], [10, 20]]], np.float32)
    both = clip_to_image(replace(contours(SQUARE), amodal_vertices=whole))
    instance = contour_array(both, MODEL, TIMING, Header()).instances[0]
    assert amodal_vertices_of(instance).tolist() == [[10, 49.5], [20, 49.5], [20, 20], [10, 20]]
    assert instance.hidden == pytest.approx(1 - 20 / 29.5)
    assert instance.area == 200


def test_contours_of_one_object_share_their_number() -> None:
    header = Header()
    apart = contour_array(contours(SQUARE, BORDER, SQUARE), MODEL, TIMING, header)
    assert [instance.instance_id for instance in apart.instances] == [0, 1, 2]
    grouped = replace(contours(SQUARE, BORDER, SQUARE), instance_ids=np.array([4, 9, 4]))
    message = contour_array(grouped, MODEL, TIMING, header)
    assert [instance.instance_id for instance in message.instances] == [4, 9, 4]


def test_contours_carry_the_tracks_of_their_objects() -> None:
    tracked = replace(contours(SQUARE, BORDER), track_ids=np.array([12, 3]))
    message = contour_array(tracked, MODEL, TIMING, Header())
    assert [instance.track_id for instance in message.instances] == [12, 3]


def test_vertices_beyond_the_edge_are_moved_onto_it() -> None:
    outside = [[-7, 60], [70, 60], [70, -2], [-7, -2]]
    clipped = clip_to_image(contours(SQUARE, outside))
    np.testing.assert_array_equal(clipped.vertices[0], SQUARE)
    corners = [[-0.5, 49.5], [59.5, 49.5], [59.5, -0.5], [-0.5, -0.5]]
    np.testing.assert_array_equal(clipped.vertices[1], corners)
    assert clipped.vertices.dtype == np.float32
    assert clipped.areas[1] == 50 * 60


def test_messages_survive_the_wire() -> None:
    sent = contour_array(contours(SQUARE, BORDER), MODEL, TIMING, Header(frame_id="camera"))
    received = deserialize_message(serialize_message(sent), InstanceContourArray)
    assert serialize_message(received) == serialize_message(sent)
    assert received.header == sent.header
    np.testing.assert_array_equal(vertices_of(received.instances[1]), BORDER)
    assert received.instances[1].truncated


def test_nothing_found_gives_an_empty_message() -> None:
    message = contour_array(contours(), MODEL, TIMING, Header())
    assert message.instances == []
    assert deserialize_message(serialize_message(message), InstanceContourArray).instances == []


@pytest.mark.parametrize(("stage", "code"), [("initial", 0), ("coarse", 1), ("final", 2)])
def test_the_stage_is_reported(stage: str, code: int) -> None:
    staged = replace(contours(SQUARE), stage=stage)  # type: ignore[arg-type]
    assert contour_array(staged, MODEL, TIMING, Header()).stage == code


@pytest.mark.parametrize(
    ("box", "touches"),
    [
        ([0, 5, 9, 9], True),
        ([5, 0, 9, 9], True),
        ([5, 5, 59, 9], True),
        ([5, 5, 9, 49], True),
        ([1, 1, 58, 48], False),
        ([-4, 5, 9, 9], True),
    ],
)
def test_truncated_means_touching_the_outermost_pixels(box: list[int], touches: bool) -> None:
    assert touches_border(np.array([box], np.float32), (50, 60)).tolist() == [touches]


def test_the_delay_is_unknown_for_zero_stamps_and_other_clocks() -> None:
    now = 1_000_000_000_000
    recent = Header(stamp=Time(sec=999, nanosec=500_000_000))
    assert pipeline_delay(now, recent) == pytest.approx(0.5)
    assert math.isnan(pipeline_delay(now, Header()))
    assert math.isnan(pipeline_delay(now * 10**6, recent))


def test_the_model_describes_itself() -> None:
    info = model_info(MODEL, 0.25)
    assert info.class_names == ["car", "person"]
    assert info.colors[1].b == pytest.approx(0.2)
    assert (info.vertices, info.score_threshold, info.model) == (4, 0.25, "tiny")

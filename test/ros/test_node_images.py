"""Images through the active node over real DDS: what comes out, for good and for bad ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from e2ec_core.contours import clip_to_image
from e2ec_core.image_messages import to_rgb
from e2ec_ros.calibration import pinhole
from e2ec_ros.contour_messages import vertices_of
from e2ec_ros.images import encode_jpeg, fill_image
from e2ec_ros.playback.sources import open_source
from e2ec_ros.srv import SegmentImage
from ros_bench import Stream
from street_scenes import make_scene

if TYPE_CHECKING:
    from e2ec_ros.node import SegmentationNode
    from ros_bench import Bench

    MakeNode = Callable[..., SegmentationNode]
    Console = Callable[[], list[str]]

SIZES = {"short_side": 256, "long_side": 0}
CUP = {**SIZES, "classes": ["cup"]}
STAMPS = itertools.count(100)


@pytest.fixture(scope="module")
def coffee() -> NDArray[np.uint8]:
    """A photograph in which the weights that ship find a cup, uint8 [400, 600, 3]."""
    return list(open_source("photographs").images())[2].rgb


def header() -> Header:
    """A header with a stamp of its own and an unusual frame."""
    return Header(stamp=Time(sec=next(STAMPS), nanosec=7), frame_id="left/optical frame")


def activate(bench: Bench) -> None:
    assert bench.transition("configure")
    assert bench.transition("activate")


def info_width(node: SegmentationNode) -> int:
    """Width in the CameraInfo that the node holds, 0 without one."""
    source = node.engine.streams[0].input if node.engine is not None else None
    info = source.camera_info if source is not None else None
    return info.width if info is not None else 0


def predicted(
    rgb: NDArray[np.uint8], classes: tuple[str, ...] = ("cup",)
) -> list[NDArray[np.float32]]:
    """What the library finds without ROS, with the settings of the node under test."""
    from e2ec_core.inference import Predictor, PredictorSettings

    settings = PredictorSettings(**SIZES, classes=classes)
    predictor = Predictor.from_pretrained(settings=settings)
    return list(clip_to_image(predictor(rgb).contours).vertices)


def image(pixels: NDArray[np.uint8], encoding: str, padding: int = 0) -> Image:
    height, width = pixels.shape[:2]
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (0, padding)), constant_values=99)
    return Image(
        header=header(),
        height=height,
        width=width,
        encoding=encoding,
        step=rows.shape[1],
        data=rows.tobytes(),
    )


def test_node_and_library_agree_for_odd_sizes_padding_and_encodings(
    bench: Bench, make_node: MakeNode, coffee: NDArray[np.uint8]
) -> None:
    make_node(**CUP)
    activate(bench)
    stream = Stream(bench).ready()
    rgb = np.ascontiguousarray(coffee[7:374, 31:580])  # 367 x 549
    expected = predicted(rgb)
    assert expected
    alpha = np.full((*rgb.shape[:2], 1), 5, np.uint8)
    bgr = rgb[..., ::-1]
    for pixels, encoding, padding in (
        (rgb, "rgb8", 0),
        (rgb, "rgb8", 37),
        (bgr, "bgr8", 3),
        (np.concatenate([rgb, alpha], axis=2), "rgba8", 1),
        (np.concatenate([bgr, alpha], axis=2), "bgra8", 0),
    ):
        sent = image(np.ascontiguousarray(pixels), encoding, padding)
        answer = stream.ask(sent)
        assert answer.header == sent.header
        assert (answer.width, answer.height) == (549, 367)
        assert len(answer.instances) == len(expected)
        for instance, vertices in zip(answer.instances, expected, strict=True):
            np.testing.assert_array_equal(vertices_of(instance), vertices)


@pytest.mark.parametrize("size", [(375, 1242), (1242, 375), (481, 333)])
def test_a_street_of_any_shape_gives_what_the_library_gives(
    bench: Bench, make_node: MakeNode, size: tuple[int, int]
) -> None:
    height, width = size
    make_node(**SIZES)
    activate(bench)
    stream = Stream(bench).ready()
    street = make_scene(7, width, height).image_rgb
    sent = image(street, "rgb8", 5)
    answer = stream.ask(sent)
    expected = predicted(street, ())
    assert answer.header == sent.header
    assert (answer.width, answer.height) == (width, height)
    assert len(answer.instances) == len(expected) > 0
    for instance, vertices in zip(answer.instances, expected, strict=True):
        np.testing.assert_array_equal(vertices_of(instance), vertices)


def test_contours_are_in_source_pixels_at_any_resolution(
    bench: Bench, make_node: MakeNode, coffee: NDArray[np.uint8]
) -> None:
    make_node(**CUP)
    activate(bench)
    stream = Stream(bench).ready()
    small = stream.ask(image(coffee, "rgb8")).instances[0]
    large = np.repeat(np.repeat(coffee, 3, axis=0), 3, axis=1)
    tripled = stream.ask(image(large, "rgb8")).instances[0]
    assert small.class_name == tripled.class_name == "cup"
    # The centre of pixel x lies at 3x + 1 of the tripled image.
    np.testing.assert_allclose(tripled.box, 3 * small.box + 1, atol=3 * 6)
    assert tripled.area == pytest.approx(9 * small.area, rel=0.1)


def test_nothing_found_is_published_too_with_the_header_of_the_image(
    bench: Bench, active_node: SegmentationNode
) -> None:
    stream = Stream(bench).ready()
    sent = image(np.zeros((48, 64, 3), np.uint8), "rgb8")
    answer = stream.ask(sent)
    assert answer.header == sent.header
    assert answer.instances == []
    assert answer.model == "e2ec_lite"
    timing = answer.timing
    assert 0 < timing.inference <= timing.total < 30
    assert timing.queue + timing.preprocess + timing.inference + timing.postprocess <= (
        timing.total + 1e-3
    )
    assert np.isnan(timing.pipeline)  # the stamp is decades away from this machine's clock


def test_the_stage_and_the_threshold_change_while_the_node_runs(
    bench: Bench, make_node: MakeNode, coffee: NDArray[np.uint8]
) -> None:
    make_node(**CUP)
    activate(bench)
    stream = Stream(bench).ready()
    final = stream.ask(image(coffee, "rgb8"))
    assert bench.set("stage", "initial") == ""
    initial = stream.ask(image(coffee, "rgb8"))
    assert (final.stage, initial.stage) == (2, 0)
    assert final.instances[0].contour != initial.instances[0].contour
    assert bench.set("score_threshold", 1.0) == ""
    assert stream.ask(image(coffee, "rgb8")).instances == []


def test_compressed_images_are_taken(
    bench: Bench, make_node: MakeNode, coffee: NDArray[np.uint8]
) -> None:
    make_node(**CUP, image_transport="compressed")
    activate(bench)
    stream = Stream(bench, CompressedImage, "/image/compressed").ready()
    data = encode_jpeg(coffee, 95)
    sent = CompressedImage(header=header(), format="rgb8; jpeg compressed", data=data)
    answer = stream.ask(sent)
    assert answer.header == sent.header
    assert [instance.class_name for instance in answer.instances][:1] == ["cup"]
    assert (answer.width, answer.height) == (600, 400)


def test_bad_images_are_skipped_with_one_warning_and_the_node_goes_on(
    bench: Bench, make_node: MakeNode, console: Console
) -> None:
    diagnostics = bench.listen(DiagnosticArray, "/diagnostics")
    node = make_node()
    activate(bench)
    stream = Stream(bench).ready()
    assert node.engine is not None
    statistics = node.engine.streams[0].statistics
    changed: tuple[dict[str, object], ...] = (
        {"encoding": "nonsense"},
        {"width": 0},
        {"height": 0},
        {"step": 3},
        {"data": b"short"},
        {"encoding": "32FC1"},
        {"encoding": "bayer_rggb8", "step": 64, "data": b""},
    )
    for count, changes in enumerate(changed, start=1):
        bad = image(np.zeros((48, 64, 3), np.uint8), "rgb8")
        for name, value in changes.items():
            setattr(bad, name, value)
        stream.publisher.publish(bad)
        bench.wait(lambda count=count: statistics.totals.failed == count)
    assert stream.ask(image(np.zeros((48, 64, 3), np.uint8), "rgb8")).instances == []
    assert len(stream.answers) == 1
    warnings = [line for line in console() if line.startswith("image skipped")]
    assert "'nonsense'" in warnings[0]
    assert len(warnings) < len(changed)  # throttled

    def warned() -> bool:
        return any(a.status[0].level == DiagnosticStatus.WARN for a in diagnostics)

    bench.wait(warned, 5)
    assert bench.state() == "active"


def test_the_overlay_is_drawn_only_while_somebody_listens(
    bench: Bench, make_node: MakeNode, coffee: NDArray[np.uint8]
) -> None:
    node = make_node(**CUP)
    activate(bench)
    stream = Stream(bench).ready()
    infos = bench.node.create_publisher(CameraInfo, "/camera_info", 10)
    bench.wait(lambda: infos.get_subscription_count() > 0)
    stream.ask(image(coffee, "rgb8"))
    stream.ask(image(coffee, "rgb8"))
    assert node.engine is not None
    assert node.engine.streams[0].statistics.totals.overlays == 0

    overlays = bench.listen(Image, "/e2ec/overlay/image")
    overlay_infos = bench.listen(CameraInfo, "/e2ec/overlay/camera_info")
    jpegs = bench.listen(CompressedImage, "/e2ec/overlay/image/compressed")
    outputs = node.engine.streams[0].outputs
    for publisher in (outputs.overlay, outputs.overlay_info, outputs.compressed):
        bench.wait(lambda publisher=publisher: publisher.get_subscription_count() > 0)
    sent = image(coffee, "rgb8")
    infos.publish(pinhole((400, 600), 500.0, 500.0, 300.0, 200.0).fill(CameraInfo()))
    bench.wait(lambda: info_width(node) == 600)
    answer = stream.ask(sent)
    bench.wait(lambda: overlays and jpegs and overlay_infos)
    assert node.engine.streams[0].statistics.totals.overlays == 1
    assert overlays[0].header == jpegs[0].header == sent.header
    assert overlay_infos[0].header == sent.header
    assert overlay_infos[0].width == 600
    changed = np.abs(to_rgb(overlays[0]).astype(int) - coffee).sum(axis=2) > 60
    x, y = np.round(vertices_of(answer.instances[0]).mean(axis=0)).astype(int)
    assert changed[y - 3 : y + 4, x - 3 : x + 4].any()  # filled inside
    assert changed.mean() < 0.5
    assert to_rgb(jpegs[0]).shape == coffee.shape


def test_an_uncalibrated_camera_has_no_markers_and_no_calibration_which_is_said_once(
    bench: Bench, make_node: MakeNode, console: Console
) -> None:
    node = make_node()
    activate(bench)
    stream = Stream(bench).ready()
    infos = bench.node.create_publisher(CameraInfo, "/camera_info", 10)
    heard = bench.listen(CameraInfo, "/e2ec/overlay/camera_info")
    markers = bench.listen(MarkerArray, "/e2ec/markers")
    outputs = node.engine.streams[0].outputs  # type: ignore[union-attr]
    for publisher in (outputs.overlay_info, outputs.markers, infos):
        bench.wait(lambda publisher=publisher: publisher.get_subscription_count() > 0)
    infos.publish(CameraInfo(width=64, height=48))  # K and P are zeros
    bench.wait(lambda: info_width(node) == 64)
    for _ in range(3):
        stream.ask(image(np.zeros((48, 64, 3), np.uint8), "rgb8"))
    (line,) = (line for line in console() if "calibrated" in line)
    assert line.startswith("markers and overlay/camera_info need a calibrated CameraInfo")
    assert not heard
    assert not markers

    infos.publish(pinhole((48, 64), 50.0, 50.0, 32.0, 24.0).fill(CameraInfo()))
    bench.wait(lambda: stream.ask(image(np.zeros((48, 64, 3), np.uint8), "rgb8")) and heard)
    assert heard[0].k[0] == 50.0
    assert node.engine is not None
    assert node.engine.streams[0].statistics.totals.overlays == 0  # nobody wants the image


def test_markers_need_a_listener_and_a_calibrated_camera(
    bench: Bench, make_node: MakeNode, coffee: NDArray[np.uint8], console: Console
) -> None:
    node = make_node(**CUP)
    activate(bench)
    stream = Stream(bench).ready()
    markers = bench.listen(MarkerArray, "/e2ec/markers")
    assert node.engine is not None
    outputs = node.engine.streams[0].outputs
    bench.wait(lambda: outputs.markers.get_subscription_count() > 0)
    stream.ask(image(coffee, "rgb8"))
    bench.wait(lambda: any("need a calibrated CameraInfo" in line for line in console()), 10)
    assert not markers
    infos = bench.node.create_publisher(CameraInfo, "/camera_info", 10)
    bench.wait(lambda: infos.get_subscription_count() > 0)
    p = [500.0, 0.0, 299.5, 0.0, 0.0, 500.0, 199.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    infos.publish(CameraInfo(width=600, height=400, p=p))
    bench.wait(lambda: info_width(node) == 600)
    answer = stream.ask(image(coffee, "rgb8"))
    bench.wait(lambda: markers)
    strips = markers[0].markers[1:]
    assert [strip.ns for strip in strips] == [i.class_name for i in answer.instances]
    point, vertex = strips[0].points[0], vertices_of(answer.instances[0])[0]
    projected = (500 * point.x / point.z + 299.5, 500 * point.y / point.z + 199.5)
    np.testing.assert_allclose(projected, vertex, atol=1e-3)
    assert strips[0].lifetime.sec == strips[0].lifetime.nanosec == 0
    # A CameraInfo of twice the size belongs to the image too, one of another frame does not.
    doubled = [2 * value for value in p[:8]] + p[8:]
    infos.publish(CameraInfo(width=1200, height=800, p=doubled))
    bench.wait(lambda: info_width(node) == 1200)
    stream.ask(image(coffee, "rgb8"))
    bench.wait(lambda: len(markers) == 2)
    again = markers[1].markers[1].points[0]
    np.testing.assert_allclose([again.x, again.y], [point.x, point.y], atol=1e-6)
    infos.publish(CameraInfo(width=600, height=400, p=p, header=Header(frame_id="elsewhere")))
    bench.wait(lambda: info_width(node) == 600)
    stream.ask(image(coffee, "rgb8"))
    bench.wait(lambda: any("it belongs to frame 'elsewhere'" in line for line in console()), 10)
    assert bench.transition("deactivate")
    bench.wait(lambda: len(markers) == 3)
    assert [marker.action for marker in markers[2].markers] == [Marker.DELETEALL]


def test_one_image_can_be_segmented_by_service_also_while_inactive(
    bench: Bench, make_node: MakeNode, coffee: NDArray[np.uint8]
) -> None:
    make_node(**CUP)
    sent = fill_image(Image(header=header()), coffee)
    early = bench.call(SegmentImage, "/e2ec/segment", SegmentImage.Request(image=sent))
    assert not early.success
    assert "configure the node first" in early.message
    assert bench.transition("configure")
    answer = bench.call(SegmentImage, "/e2ec/segment", SegmentImage.Request(image=sent))
    assert answer.success
    assert answer.result.header == sent.header
    assert answer.result.instances[0].class_name == "cup"
    strict = SegmentImage.Request(image=sent, score_threshold=1.0)
    assert bench.call(SegmentImage, "/e2ec/segment", strict).result.instances == []
    for request, words in (
        (SegmentImage.Request(image=Image(encoding="rgb8")), "0x0 px"),
        (SegmentImage.Request(image=sent, score_threshold=2.0), "score_threshold is 2"),
    ):
        refused = bench.call(SegmentImage, "/e2ec/segment", request)
        assert not refused.success
        assert words in refused.message


def test_a_request_is_answered_also_when_the_node_is_cleaned_up_meanwhile(
    bench: Bench, make_node: MakeNode, coffee: NDArray[np.uint8]
) -> None:
    make_node(short_side=512, long_side=0)
    assert bench.transition("configure")
    client = bench.node.create_client(SegmentImage, "/e2ec/segment")
    assert client.wait_for_service(20.0)
    request = SegmentImage.Request(image=fill_image(Image(), coffee))
    answers = [client.call_async(request) for _ in range(3)]
    assert bench.transition("cleanup")
    bench.wait(lambda: all(answer.done() for answer in answers))
    for answer in answers:
        assert answer.result().success or answer.result().message
    assert bench.state() == "unconfigured"


def test_a_png_and_its_pixels_give_the_same(
    bench: Bench, make_node: MakeNode, coffee: NDArray[np.uint8], tmp_path: Path
) -> None:
    make_node(**CUP)
    activate(bench)
    path = tmp_path / "coffee.png"
    cv2.imwrite(str(path), coffee[..., ::-1])
    stream = Stream(bench).ready()
    first = stream.ask(image(coffee, "rgb8"))
    second = stream.ask(image(next(open_source(str(path)).images()).rgb, "rgb8"))
    assert first.instances
    assert [i.contour for i in first.instances] == [i.contour for i in second.instances]

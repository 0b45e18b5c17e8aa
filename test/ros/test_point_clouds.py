"""Point clouds and depth images of every layout as arrays, and back with their instances."""

from __future__ import annotations

import re

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header

from e2ec_ros.point_clouds import labelled_points, read_depth, read_points, with_instances

HEADER = Header(stamp=Time(sec=3, nanosec=4), frame_id="lidar")
POINTS = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9], [-1, np.nan, 0.5]], np.float32)
KINDS = {"f4": PointField.FLOAT32, "f8": PointField.FLOAT64, "u2": PointField.UINT16}


def cloud_of(
    kind: str = "f4", order: str = "<", height: int = 1, padding: int = 0, gap: int = 0
) -> PointCloud2:
    """POINTS as drivers pack them: ring first, then z, y, x with a gap, rows padded."""
    offsets = {"ring": 0, "z": 4, "y": 4 + gap + 8, "x": 4 + gap + 16}
    layout = np.dtype(
        {
            "names": list(offsets),
            "formats": [f"{order}u2"] + [f"{order}{kind}"] * 3,
            "offsets": list(offsets.values()),
            "itemsize": 32 + gap,
        }
    )
    values = np.zeros(len(POINTS), layout)
    values["ring"] = np.arange(len(POINTS))
    for i, name in enumerate("xyz"):
        values[name] = POINTS[:, i]
    width = len(POINTS) // height
    rows = values.view("u1").reshape(height, -1)
    data = np.pad(rows, ((0, 0), (0, padding))).tobytes()
    fields = [
        PointField(name=n, offset=o, datatype=KINDS["u2" if n == "ring" else kind], count=1)
        for n, o in offsets.items()
    ]
    return PointCloud2(
        header=HEADER,
        height=height,
        width=width,
        fields=fields,
        is_bigendian=order == ">",
        point_step=layout.itemsize,
        row_step=layout.itemsize * width + padding,
        data=data,
        is_dense=False,
    )


LAYOUTS = [
    {},
    {"kind": "f8"},
    {"order": ">"},
    {"height": 2},
    {"height": 2, "padding": 5, "gap": 3, "kind": "f8", "order": ">"},
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_positions_are_read_from_every_layout(layout: dict) -> None:
    points = read_points(cloud_of(**layout))
    np.testing.assert_array_equal(points, POINTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_instances_are_one_field_more(layout: dict) -> None:
    cloud = cloud_of(**layout)
    labels = np.array([0, -1, 70_000, 2], np.int32)
    labelled = with_instances(cloud, labels)
    np.testing.assert_array_equal(read_points(labelled), POINTS)
    assert (labelled.height, labelled.width) == (cloud.height, cloud.width)
    assert labelled.header == HEADER
    assert len(labelled.data) == labelled.row_step * labelled.height
    field = labelled.fields[-1]
    assert (field.name, field.datatype) == ("instance", PointField.INT32)
    rows = np.frombuffer(labelled.data, np.uint8).reshape(-1, labelled.point_step)
    kind = ">i4" if labelled.is_bigendian else "<i4"
    found = rows[:, field.offset : field.offset + 4].copy().view(kind)[:, 0]
    np.testing.assert_array_equal(found, labels)
    again = with_instances(labelled, labels[::-1].copy())
    assert [f.name for f in again.fields].count("instance") == 1


def test_points_become_a_cloud() -> None:
    points = np.array([[1.0, 2, 3], [4, 5, 6]])
    cloud = labelled_points(points, np.array([5, 6], np.int32), HEADER)
    np.testing.assert_array_equal(read_points(cloud), points)
    assert labelled_points(points[:0], np.zeros(0, np.int32), HEADER).width == 0


def test_an_empty_cloud_has_no_points() -> None:
    cloud = PointCloud2(fields=cloud_of().fields, point_step=32)
    assert read_points(cloud).shape == (0, 3)
    assert with_instances(cloud, np.zeros(0, np.int32)).width == 0


def broken(**changes: object) -> PointCloud2:
    cloud = cloud_of(height=2)
    for name, value in changes.items():
        setattr(cloud, name, value)
    return cloud


@pytest.mark.parametrize(
    ("cloud", "words"),
    [
        (broken(fields=[]), "the cloud has no float field x; its fields are none"),
        (broken(fields=cloud_of().fields[:3]), "no float field x; its fields are ring, z, y"),
        (broken(point_step=20), "point_step is 20 bytes, too few for x, y and z"),
        (broken(data=b"123"), "has 3 bytes in rows of 64, which do not fit"),
        (broken(row_step=10), "in rows of 10, which do not fit"),
    ],
)
def test_clouds_that_cannot_be_read_are_named(cloud: PointCloud2, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        read_points(cloud)


def depth_image(encoding: str, pixels: np.ndarray, padding: int = 0) -> Image:
    rows = np.ascontiguousarray(pixels).view("u1").reshape(len(pixels), -1)
    return Image(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(pixels.dtype.byteorder == ">"),
        step=rows.shape[1] + padding,
        data=np.pad(rows, ((0, 0), (0, padding))).tobytes(),
    )


def test_depth_is_in_metres() -> None:
    millimetres = np.array([[0, 500, 1234], [65535, 1, 2]])
    expected = millimetres / 1000
    for kind in ("<u2", ">u2"):
        image = depth_image("16UC1", millimetres.astype(kind), padding=3)
        np.testing.assert_allclose(read_depth(image), expected, rtol=1e-6)
    metres = np.array([[0.5, np.nan], [np.inf, 80]], np.float32)
    np.testing.assert_array_equal(read_depth(depth_image("32FC1", metres)), metres)


def test_depth_that_cannot_be_read_is_named() -> None:
    image = depth_image("32FC1", np.ones((2, 2), np.float32))
    image.encoding = "rgb8"
    with pytest.raises(ValueError, match="has encoding 'rgb8'; give one of 32FC1, 16UC1"):
        read_depth(image)
    image.encoding, image.height = "32FC1", 3
    with pytest.raises(ValueError, match="depth image of 2x3 px with step 8 has 16 bytes"):
        read_depth(image)

"""Point clouds and depth images as arrays, and clouds with one field more.

Read with NumPy alone, by the fields of the messages, so that it works without sensor_msgs_py and
for clouds whose fields have gaps, different types or padded rows.
"""

from __future__ import annotations

import array
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header

INSTANCE_FIELD = "instance"
_TYPES = {
    PointField.INT8: "i1",
    PointField.UINT8: "u1",
    PointField.INT16: "i2",
    PointField.UINT16: "u2",
    PointField.INT32: "i4",
    PointField.UINT32: "u4",
    PointField.FLOAT32: "f4",
    PointField.FLOAT64: "f8",
}
_FLOATS = (PointField.FLOAT32, PointField.FLOAT64)
# encoding: (type, m of one unit), as REP-118 has them
_DEPTHS = {"32FC1": ("f4", 1.0), "16UC1": ("u2", 0.001), "mono16": ("u2", 0.001)}


def read_points(cloud: PointCloud2) -> NDArray[Any]:
    """Reads the positions of a cloud, float32 or float64 [n, 3] (x, y, z), row by row; m.

    Raises:
        ValueError: it has no such fields, or its data is too short; one line.
    """
    found = {field.name: field for field in cloud.fields}
    order = ">" if cloud.is_bigendian else "<"
    offsets, kinds = [], []
    for name in "xyz":
        field = found.get(name)
        if field is None or field.datatype not in _FLOATS:
            names = ", ".join(found) or "none"
            raise ValueError(f"the cloud has no float field {name}; its fields are {names}")
        offsets.append(field.offset)
        kinds.append(order + _TYPES[field.datatype])
    size = max(cloud.point_step, 1)
    if max(o + np.dtype(k).itemsize for o, k in zip(offsets, kinds, strict=True)) > size:
        raise ValueError(f"the cloud's point_step is {size} bytes, too few for x, y and z")
    layout = np.dtype(
        {"names": list("xyz"), "formats": kinds, "offsets": offsets, "itemsize": size}
    )
    points = np.frombuffer(_point_bytes(cloud), layout)
    return np.stack([points["x"], points["y"], points["z"]], axis=1)


def with_instances(cloud: PointCloud2, labels: NDArray[np.int32]) -> PointCloud2:
    """The cloud, in its own frame and shape, with the field `instance`.

    Args:
        cloud: as received.
        labels: int32 [n], the position of each point's instance in the contours, -1 for none.
    """
    order = ">" if cloud.is_bigendian else "<"
    points = _point_bytes(cloud)
    data = np.concatenate([points, labels.astype(f"{order}i4").view("u1").reshape(-1, 4)], axis=1)
    kept = [field for field in cloud.fields if field.name != INSTANCE_FIELD]
    step = cloud.point_step + 4
    return PointCloud2(
        header=cloud.header,
        height=cloud.height,
        width=cloud.width,
        fields=[*kept, _field(INSTANCE_FIELD, cloud.point_step, PointField.INT32)],
        is_bigendian=cloud.is_bigendian,
        point_step=step,
        row_step=step * cloud.width,
        data=_to_array(data),
        is_dense=cloud.is_dense,
    )


def labelled_points(
    points: NDArray[np.float64], labels: NDArray[np.int32], header: Header
) -> PointCloud2:
    """A cloud of points [n, 3], m, with the field `instance` of `labels` [n]."""
    kind = np.dtype([("xyz", "<f4", 3), (INSTANCE_FIELD, "<i4")])
    data = np.empty(len(points), kind)
    data["xyz"], data[INSTANCE_FIELD] = points, labels
    fields = [_field(name, 4 * i, PointField.FLOAT32) for i, name in enumerate("xyz")]
    return PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=[*fields, _field(INSTANCE_FIELD, 12, PointField.INT32)],
        point_step=kind.itemsize,
        row_step=kind.itemsize * len(points),
        data=_to_array(data.view("u1")),
        is_dense=True,
    )


def read_depth(image: Image) -> NDArray[np.float32]:
    """Reads a depth image of 16UC1 (mm) or 32FC1 (m), float32 [H, W], m; holes are 0 or NaN.

    Raises:
        ValueError: another encoding, or data that is too short; one line.
    """
    if image.encoding not in _DEPTHS:
        known = ", ".join(_DEPTHS)
        raise ValueError(f"depth image has encoding {image.encoding!r}; give one of {known}")
    name, unit = _DEPTHS[image.encoding]
    kind = np.dtype((">" if image.is_bigendian else "<") + name)
    height, width = image.height, image.width
    needed = (height - 1) * image.step + width * kind.itemsize
    if not height or not width or image.step < width * kind.itemsize or len(image.data) < needed:
        raise ValueError(
            f"depth image of {width}x{height} px with step {image.step} has {len(image.data)} "
            "bytes, which do not fit"
        )
    data = np.frombuffer(image.data, np.uint8)
    pixels = np.ndarray((height, width), kind, data, 0, (image.step, kind.itemsize))
    return pixels.astype(np.float32) * np.float32(unit)


def _point_bytes(cloud: PointCloud2) -> NDArray[np.uint8]:
    """The bytes of each point, uint8 [n, point_step], without what pads the rows."""
    used = cloud.width * cloud.point_step
    if not cloud.width or not cloud.height:
        return np.zeros((0, cloud.point_step), np.uint8)
    needed = (cloud.height - 1) * cloud.row_step + used
    if cloud.row_step < used or len(cloud.data) < needed:
        raise ValueError(
            f"cloud of {cloud.width}x{cloud.height} points of {cloud.point_step} bytes has "
            f"{len(cloud.data)} bytes in rows of {cloud.row_step}, which do not fit"
        )
    data = np.frombuffer(cloud.data, np.uint8)
    rows = np.ndarray((cloud.height, used), np.uint8, data, 0, (cloud.row_step, 1))
    return np.ascontiguousarray(rows).reshape(-1, cloud.point_step)


def _field(name: str, offset: int, datatype: int) -> PointField:
    return PointField(name=name, offset=offset, datatype=datatype, count=1)


def _to_array(data: NDArray[np.uint8]) -> array.array[int]:
    """Copies bytes as `uint8[]` fields take them without checking each value."""
    buffer = array.array("B")
    buffer.frombytes(data.tobytes())
    return buffer

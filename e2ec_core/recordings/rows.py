"""One line of JSON for each frame. Numbers keep every bit, so nothing else has to be stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2ec_core.contours import Contours, Stage
from e2ec_core.recordings.recording import Frame, Recording

Row = dict[str, Any]


def row_of(
    recording: Recording, frame: Frame, contours: Contours | None, class_names: Sequence[str]
) -> Row:
    """What is known of a frame, as JSON takes it.

    Args:
        recording: that it is of.
        frame: the frame.
        contours: what was found in it, inside the image; None: nothing could be looked for.
        class_names: name of each class id.

    Returns:
        source, topic (bags), frame, stamp (bags, ns), frame_id (bags), width, height (px), and
        instances, best first: class_id, class, score, contour (x0, y0, x1, y1, ..., px, (0, 0)
        the centre of the top-left pixel), amodal_contour and hidden where they were asked for,
        instance_id and track_id where there are such. An `error` tells why there is none.
    """
    row: Row = {"source": recording.path}
    row |= {"topic": recording.topic} if recording.topic else {}
    row["frame"] = frame.index
    if frame.stamp is not None:
        row |= {"stamp": frame.stamp, "frame_id": frame.frame_id}
    if contours is None:
        return row | {"error": frame.error, "instances": []}
    height, width = contours.image_size
    row |= {"width": width, "height": height}
    return row | {"instances": [_instance(contours, i, class_names) for i in range(len(contours))]}


def contours_of(row: Row, stage: Stage) -> Contours | None:
    """The contours of a frame, equal to those that were written in every bit; None after an error.

    Args:
        row: as `row_of` made it.
        stage: of the model, which rows do not tell.
    """
    if "error" in row:
        return None
    instances = row["instances"]

    def column(name: str, kind: type) -> NDArray[Any] | None:
        known = bool(instances) and name in instances[0]
        return np.array([one[name] for one in instances], kind) if known else None

    vertices, amodal = column("contour", np.float32), column("amodal_contour", np.float32)
    return Contours(
        vertices=np.zeros((0, 0, 2), np.float32) if vertices is None else _pairs(vertices),
        scores=np.array([one["score"] for one in instances], np.float32),
        class_ids=np.array([one["class_id"] for one in instances], np.int64),
        stage=stage,
        image_size=(row["height"], row["width"]),
        instance_ids=column("instance_id", np.int64),
        track_ids=column("track_id", np.int64),
        amodal_vertices=None if amodal is None else _pairs(amodal),
    )


def _pairs(flat: NDArray[Any]) -> NDArray[Any]:
    return flat.reshape(len(flat), -1, 2)


def _instance(contours: Contours, index: int, class_names: Sequence[str]) -> Row:
    class_id = int(contours.class_ids[index])
    instance: Row = {
        "class_id": class_id,
        "class": class_names[class_id],
        "score": float(contours.scores[index]),
        "contour": contours.vertices[index].reshape(-1).tolist(),
    }
    if contours.amodal_vertices is not None and contours.hidden is not None:
        instance["amodal_contour"] = contours.amodal_vertices[index].reshape(-1).tolist()
        instance["hidden"] = float(contours.hidden[index])
    for name, ids in (("instance_id", contours.instance_ids), ("track_id", contours.track_ids)):
        if ids is not None:
            instance[name] = int(ids[index])
    return instance

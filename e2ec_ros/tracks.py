"""Track ids for the contours of the stream. SciPy is imported here, where tracks are wanted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from std_msgs.msg import Header

from e2ec_core.contours import Contours
from e2ec_ros.msg import InstanceContourArray
from e2ec_ros.parameters import NodeParameters

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from e2ec_core.tracking import Tracker


def make_tracker(parameters: NodeParameters) -> Tracker | None:
    """The tracker that the parameters ask for.

    Raises:
        ValueError: SciPy cannot be imported; one line that names the remedy.
    """
    if not parameters.tracks:
        return None
    try:
        from e2ec_core.tracking import Tracker
    except ImportError as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"tracks need SciPy ({reason}): install python3-scipy or `pip install scipy`, "
            "or set tracks to false"
        ) from error
    return Tracker()


def add_tracks(
    contours: Contours, tracker: Tracker, header: Header, parameters: NodeParameters
) -> tuple[Contours, NDArray[np.bool_]]:
    """The contours of the next image with their tracks, and which of these are confirmed, [K]."""
    tracker.memory = parameters.track_memory
    found = tracker.update(contours, header.stamp.sec + header.stamp.nanosec / 1e9)
    return replace(contours, track_ids=found.ids), found.confirmed


def only_confirmed(
    message: InstanceContourArray, confirmed: NDArray[np.bool_]
) -> InstanceContourArray:
    """The same message with the instances of confirmed tracks alone."""
    fields = {name: getattr(message, name) for name in message.get_fields_and_field_types()}
    pairs = zip(message.instances, confirmed.tolist(), strict=True)
    return InstanceContourArray(**fields | {"instances": [one for one, kept in pairs if kept]})

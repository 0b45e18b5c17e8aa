"""Track ids for the contours of the stream. SciPy is imported here, where tracks are wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from std_msgs.msg import Header

from e2ec_core.contours import Contours
from e2ec_ros.parameters import NodeParameters

if TYPE_CHECKING:
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
) -> Contours:
    """The contours of the next image with their tracks."""
    tracker.memory = parameters.track_memory
    return tracker.update(contours, header.stamp.sec + header.stamp.nanosec / 1e9)

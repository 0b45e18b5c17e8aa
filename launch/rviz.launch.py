"""Opens RViz on what e2ec.launch.py started, on this computer or another one.

ros2 launch e2ec_ros rviz.launch.py image:=/camera/image_raw fixed_frame:=camera_optical
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import Action, LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

CONFIG = Path(__file__).resolve().parent.parent / "config"
BOOLEAN = ["true", "false"]
# Topics of the layouts, which are those of the empty namespace.
RESULTS = ("e2ec/overlay/image", "e2ec/markers", "distance/markers", "distance/points")
IMAGE = "/camera/image"
ARGUMENTS = [
    DeclareLaunchArgument(
        "image",
        default_value="camera/image",
        description="Topic of the images, in the namespace unless it begins with /.",
    ),
    DeclareLaunchArgument(
        "namespace",
        default_value="",
        description="Namespace of the results: that of the node, with the name of one of several "
        "cameras (robot/front).",
    ),
    DeclareLaunchArgument(
        "fixed_frame",
        default_value="camera_optical_frame",
        description="Frame that everything is shown in: the images' frame_id, or one that TF "
        "connects with it.",
    ),
    DeclareLaunchArgument(
        "distance",
        default_value="false",
        choices=BOOLEAN,
        description="Open the layout with the distance node's boxes and cloud.",
    ),
    DeclareLaunchArgument(
        "use_sim_time",
        default_value="false",
        choices=BOOLEAN,
        description="Take the time from /clock.",
    ),
]


def generate_launch_description() -> LaunchDescription:
    """Declares the arguments; RViz is started once their values are known."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[Action]:
    """Starts RViz with the layout that fits; ValueError if it is not installed."""
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError as error:
        distro = os.environ.get("ROS_DISTRO", "DISTRO")
        raise ValueError(
            f"rviz2 is not installed, which rviz:=true needs: apt install ros-{distro}-rviz2"
        ) from error
    values = {a.name: LaunchConfiguration(a.name).perform(context) for a in ARGUMENTS}
    layout = "e2ec_distance.rviz" if values["distance"] == "true" else "e2ec.rviz"
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            arguments=["-d", str(CONFIG / layout), "-f", values["fixed_frame"]],
            parameters=[{"use_sim_time": values["use_sim_time"] == "true"}],
            remappings=remappings(values["namespace"], values["image"]),
        )
    ]


def remappings(namespace: str, image: str) -> list[tuple[str, str]]:
    """Returns what leads the layouts' topics to those of a namespace and of an image topic.

    They become relative names, which follow the namespace of a launch file around this one.

    The Camera display takes the calibration from beside its image. It gets the node's, which fits
    the image and is not there for an uncalibrated camera, for which the display would show an
    error.
    """
    camera_info = str(PurePosixPath(IMAGE).with_name("camera_info"))
    pairs = {f"/{topic}": topic for topic in RESULTS}
    pairs |= {IMAGE: image, camera_info: "e2ec/overlay/camera_info"}
    return [(old, str(PurePosixPath(namespace, new))) for old, new in pairs.items()]

"""Starts the segmentation node and, where asked for, something that plays images, and RViz.

ros2 launch e2ec_ros e2ec.launch.py image:=/camera/image_raw rviz:=true
ros2 launch e2ec_ros e2ec.launch.py input:=drive.mp4
"""

from __future__ import annotations

import os
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import Action, LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnProcessStart
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

SHARE = Path(__file__).resolve().parent.parent
BOOLEAN = ["true", "false"]
# Before Kilted, Fast DDS knew its profile variable by another name.
PROFILE_VARIABLE = (
    "FASTRTPS_DEFAULT_PROFILES_FILE"
    if os.environ.get("ROS_DISTRO") in ("humble", "jazzy")
    else "FASTDDS_DEFAULT_PROFILES_FILE"
)
ARGUMENTS = [
    DeclareLaunchArgument(
        "image",
        default_value="camera/image",
        description="Topic of the images, in the namespace unless it begins with /.",
    ),
    DeclareLaunchArgument(
        "input",
        default_value="",
        description="Played on the image topic in place of a camera: an image, a folder, a video, "
        "a rosbag2, a webcam (/dev/video0), a stream (rtsp://...), or the built-in `synthetic` or "
        "`photographs`. Empty: a camera publishes.",
    ),
    DeclareLaunchArgument(
        "loop", default_value="false", choices=BOOLEAN, description="Play the input for ever."
    ),
    DeclareLaunchArgument(
        "player_params",
        default_value="",
        description="Parameter file of the node that plays the input: rate, stamps, bag_topic ...",
    ),
    DeclareLaunchArgument(
        "weights",
        default_value="",
        description="Weights file. Empty: as in the parameter file, else those that ship.",
    ),
    DeclareLaunchArgument(
        "device",
        default_value="",
        description="auto, cpu, cuda or cuda:N. Empty: as in the parameter file.",
    ),
    DeclareLaunchArgument(
        "params",
        default_value=str(SHARE / "config" / "e2ec.yaml"),
        description="Parameter file of the segmentation node.",
    ),
    DeclareLaunchArgument(
        "autostart",
        default_value="true",
        choices=BOOLEAN,
        description="Configure and activate the node; false leaves that to a lifecycle manager.",
    ),
    DeclareLaunchArgument(
        "rviz", default_value="false", choices=BOOLEAN, description="Open RViz on the results."
    ),
    DeclareLaunchArgument(
        "namespace", default_value="", description="Namespace of the nodes; one per camera."
    ),
    DeclareLaunchArgument(
        "use_sim_time",
        default_value="false",
        choices=BOOLEAN,
        description="Take the time from /clock.",
    ),
    DeclareLaunchArgument(
        "dds_profile",
        default_value=os.environ.get(PROFILE_VARIABLE, str(SHARE / "config" / "fastdds_shm.xml")),
        description="Fast DDS profile of the nodes started here; the camera driver needs the same "
        "for images above 0.5 MB. none: no profile.",
    ),
    DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn ..."),
]


def generate_launch_description() -> LaunchDescription:
    """Declares the arguments; the nodes are made once their values are known."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[Action]:
    """Makes the actions from the values of the arguments; ValueError names an impossible one."""
    values = {a.name: LaunchConfiguration(a.name).perform(context) for a in ARGUMENTS}
    for name in ("params", "player_params", "dds_profile"):
        if values[name] not in ("", "none") and not Path(values[name]).is_file():
            raise ValueError(f"{name} is {values[name]!r}, which is no file")
    node = segmentation_node(values)
    actions: list[Action] = [node]
    if values["autostart"] == "true":
        # The handlers stand before the node, so that none of its events is missed.
        actions = [*bring_up(node), *actions]
    if values["input"]:
        actions.append(camera_node(values))
    if values["rviz"] == "true":
        actions.append(rviz(values))
    return actions


def common(values: dict[str, str]) -> dict[str, object]:
    """Returns the arguments that all nodes of this package share."""
    return {
        "package": "e2ec_ros",
        "namespace": values["namespace"],
        "remappings": [("image", values["image"])],
        "additional_env": environment(values),
        "ros_arguments": ["--log-level", values["log_level"]],
        "output": "screen",
    }


def environment(values: dict[str, str]) -> dict[str, str]:
    """Returns the variables of every process: the DDS profile, and threads that wait asleep."""
    variables = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
    if values["dds_profile"] not in ("", "none"):
        variables[PROFILE_VARIABLE] = values["dds_profile"]
    return variables


def simulated_time(values: dict[str, str]) -> list[dict[str, object]]:
    """Returns the parameters that make a node take its time from /clock, if asked for."""
    return [{"use_sim_time": True}] if values["use_sim_time"] == "true" else []


def segmentation_node(values: dict[str, str]) -> LifecycleNode:
    """Returns the segmentation node; given arguments win over the parameter file."""
    given = {
        name: ParameterValue(values[name], value_type=str)
        for name in ("weights", "device")
        if values[name]
    }
    return LifecycleNode(
        name="e2ec",
        executable="e2ec_node",
        parameters=[values["params"], *([given] if given else []), *simulated_time(values)],
        **common(values),
    )


def camera_node(values: dict[str, str]) -> Node:
    """Returns the node that plays the input; it waits until the segmentation node listens."""
    parameters = {
        "source": ParameterValue(values["input"], value_type=str),
        "loop": values["loop"] == "true",
        "wait_for_subscriber": True,
    }
    file = [values["player_params"]] if values["player_params"] else []
    return Node(
        name="camera",
        executable="camera_node",
        parameters=[*file, parameters, *simulated_time(values)],
        **common(values),
    )


def rviz(values: dict[str, str]) -> Node:
    """Returns RViz with the package's layout, whose topics are those of the empty namespace.

    Raises:
        ValueError: RViz is not installed.
    """
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError as error:
        distro = os.environ.get("ROS_DISTRO", "DISTRO")
        raise ValueError(
            f"rviz is true, but rviz2 is not installed: apt install ros-{distro}-rviz2"
        ) from error
    namespace = values["namespace"].strip("/")
    topics = ("overlay/image", "overlay/camera_info", "markers")
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(SHARE / "config" / "e2ec.rviz")],
        parameters=simulated_time(values),
        additional_env=environment(values),
        remappings=[(f"/e2ec/{t}", f"/{namespace}/e2ec/{t}") for t in topics if namespace],
    )


def bring_up(node: LifecycleNode) -> list[Action]:
    """Returns what configures the node once it runs and activates it once it is configured.

    Works from Humble on, unlike the `autostart` of LifecycleNode.
    """

    def change(transition: int) -> EmitEvent:
        matches = matches_action(node)
        return EmitEvent(
            event=ChangeState(lifecycle_node_matcher=matches, transition_id=transition)
        )

    return [
        RegisterEventHandler(
            OnProcessStart(target_action=node, on_start=[change(Transition.TRANSITION_CONFIGURE)])
        ),
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=node,
                start_state="configuring",
                goal_state="inactive",
                entities=[change(Transition.TRANSITION_ACTIVATE)],
            )
        ),
    ]

"""Starts the segmentation node and, where asked for, something that plays images, and RViz.

ros2 launch e2ec_ros e2ec.launch.py image:=/camera/image_raw rviz:=true
ros2 launch e2ec_ros e2ec.launch.py input:=drive.mp4
"""

from __future__ import annotations

import os
from pathlib import Path

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
        "image", default_value="/camera/image", description="Topic of the images."
    ),
    DeclareLaunchArgument(
        "input",
        default_value="",
        description="Played on the image topic in place of a camera: an image, a folder, a video, "
        "a rosbag2, or the built-in `synthetic` or `photographs`. Empty: a camera publishes.",
    ),
    DeclareLaunchArgument(
        "loop", default_value="false", choices=BOOLEAN, description="Play the input for ever."
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
    for name in ("params", "dds_profile"):
        if values[name] != "none" and not Path(values[name]).is_file():
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
    profile = values["dds_profile"]
    return {
        "package": "e2ec_ros",
        "namespace": values["namespace"],
        "remappings": [("image", values["image"])],
        "additional_env": {PROFILE_VARIABLE: profile} if profile != "none" else {},
        "ros_arguments": ["--log-level", values["log_level"]],
        "output": "screen",
    }


def segmentation_node(values: dict[str, str]) -> LifecycleNode:
    """Returns the segmentation node; given arguments win over the parameter file."""
    given = {
        name: ParameterValue(values[name], value_type=str)
        for name in ("weights", "device")
        if values[name]
    }
    if values["use_sim_time"] == "true":
        given["use_sim_time"] = ParameterValue(True, value_type=bool)
    return LifecycleNode(
        name="e2ec",
        executable="e2ec_node",
        parameters=[values["params"], *([given] if given else [])],
        **common(values),
    )


def camera_node(values: dict[str, str]) -> Node:
    """Returns the node that plays the input; it waits until the segmentation node listens."""
    parameters = {
        "source": ParameterValue(values["input"], value_type=str),
        "loop": values["loop"] == "true",
        "wait_for_subscriber": True,
    }
    return Node(name="camera", executable="camera_node", parameters=[parameters], **common(values))


def rviz(values: dict[str, str]) -> Node:
    """Returns RViz with the package's layout, whose topics are those of the empty namespace."""
    namespace = values["namespace"].strip("/")
    topics = ("overlay/image", "overlay/camera_info", "markers")
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(SHARE / "config" / "e2ec.rviz")],
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

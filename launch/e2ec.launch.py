"""Starts the segmentation node and, where asked for, something that plays images, and RViz.

ros2 launch e2ec_ros e2ec.launch.py image:=/camera/image_raw rviz:=true
ros2 launch e2ec_ros e2ec.launch.py input:=drive.mp4
ros2 launch e2ec_ros e2ec.launch.py cameras:=front,left params:=gpu
"""

from __future__ import annotations

import os
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

SHARE = Path(__file__).resolve().parent.parent
BOOLEAN = ["true", "false"]
PRESETS = sorted(file.stem for file in (SHARE / "config" / "presets").glob("*.yaml"))
RESPAWN_DELAY = 2.0  # s
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
        description="Topic of the images, in the namespace unless it begins with /; "
        "of several cameras in the namespace of each.",
    ),
    DeclareLaunchArgument(
        "cameras",
        default_value="",
        description="Names of several cameras that share one node and its model: front,left. "
        "Each is a namespace of images and results. Empty: one camera.",
    ),
    DeclareLaunchArgument(
        "input",
        default_value="",
        description="Played on the image topic in place of a camera: an image, a folder, a video, "
        "a rosbag2, a webcam (/dev/video0), a stream (rtsp://...), or the built-in `synthetic` or "
        "`photographs`. For several cameras one for all, or one for each: front.mp4,left.mp4. "
        "Empty: a camera publishes.",
    ),
    DeclareLaunchArgument(
        "loop",
        default_value="",
        choices=[*BOOLEAN, ""],
        description="Play the input for ever. Empty: as in player_params, else false.",
    ),
    DeclareLaunchArgument(
        "lock_step",
        default_value="false",
        choices=BOOLEAN,
        description="Play each image of the input when the contours of the one before are there, "
        "so that none is dropped.",
    ),
    DeclareLaunchArgument(
        "end_with_input",
        default_value="false",
        choices=BOOLEAN,
        description="End all nodes when the input has ended.",
    ),
    DeclareLaunchArgument(
        "player_params",
        default_value="",
        description="Parameter file of the node that plays the input: rate, stamps, bag_topic "
        "and all others.",
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
        description="Parameter file of the segmentation node, or the name of one that ships: "
        + ", ".join(PRESETS),
    ),
    DeclareLaunchArgument(
        "autostart",
        default_value="true",
        choices=BOOLEAN,
        description="Configure and activate the node; false leaves that to a lifecycle manager.",
    ),
    DeclareLaunchArgument(
        "respawn",
        default_value="false",
        choices=BOOLEAN,
        description="Start the segmentation node again if its process ends.",
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
    if values["params"] in PRESETS:
        values["params"] = str(SHARE / "config" / "presets" / f"{values['params']}.yaml")
    for name in ("params", "player_params", "dds_profile"):
        if values[name] not in ("", "none") and not Path(values[name]).is_file():
            also = f" and none of {', '.join(PRESETS)}" if name == "params" else ""
            raise ValueError(f"{name} is {values[name]!r}, which is no file{also}")
    cameras = camera_names(values)
    if cameras and values["image"].startswith("/"):
        raise ValueError(
            f"image is {values['image']!r}, but each of the cameras {', '.join(cameras)} needs "
            "a topic of its own; give a name without / at its beginning"
        )
    node = segmentation_node(values)
    actions: list[Action] = [node]
    if values["input"]:
        inputs = inputs_of(cameras, values["input"])
        players = [camera_node(values, *pair) for pair in inputs.items() if pair[1]]
        actions += players
        if values["end_with_input"] == "true":
            actions = [*end_with(players), *actions]  # before the processes, to miss no event
    if values["rviz"] == "true":
        actions.append(rviz(values))
    return actions


def camera_names(values: dict[str, str]) -> list[str]:
    """Returns the names of several cameras; none for the only one."""
    return [name.strip() for name in values["cameras"].split(",") if name.strip()]


def inputs_of(cameras: list[str], text: str) -> dict[str, str]:
    """Returns what is played as each camera: of several separated by commas, or the same as all.

    Raises:
        ValueError: there are more or fewer than cameras.
    """
    inputs = text.split(",") if cameras else [text]
    if len(inputs) == 1:
        inputs *= len(cameras) or 1
    if cameras and len(inputs) != len(cameras):
        raise ValueError(
            f"input is {text!r}, which is for {len(inputs)} cameras, and cameras are "
            f"{', '.join(cameras)}; give one for each, empty for a real one, or one for all"
        )
    return dict(zip(cameras or [""], inputs, strict=True))


def common(values: dict[str, str]) -> dict[str, object]:
    """Returns the arguments that all nodes of this package share."""
    return {
        "package": "e2ec_ros",
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
    given: dict[str, object] = {
        name: ParameterValue(values[name], value_type=str)
        for name in ("weights", "device", "cameras")
        if values[name]
    }
    given["autostart"] = values["autostart"] == "true"
    return LifecycleNode(
        name="e2ec",
        executable="e2ec_node",
        namespace=values["namespace"],
        remappings=[("image", values["image"])]
        + [(f"{camera}/image", f"{camera}/{values['image']}") for camera in camera_names(values)],
        respawn=values["respawn"] == "true",
        respawn_delay=RESPAWN_DELAY,
        parameters=[values["params"], given, *simulated_time(values)],
        **common(values),
    )


def camera_node(values: dict[str, str], camera: str, source: str) -> Node:
    """Returns the node that plays a source as one camera, whose name is empty if it is the only.

    It waits until the segmentation node listens, unless the parameter file says otherwise.
    """
    parameters: dict[str, object] = {"source": ParameterValue(source, value_type=str)}
    if values["loop"]:
        parameters["loop"] = values["loop"] == "true"
    if values["lock_step"] == "true":
        parameters["wait_for_contours"] = "e2ec/contours"  # in the camera's namespace
    file = [values["player_params"]] if values["player_params"] else []
    return Node(
        name="camera",
        executable="camera_node",
        namespace="/".join(part for part in (values["namespace"], camera) if part),
        remappings=[("image", values["image"])],
        parameters=[{"wait_for_subscriber": True}, *file, parameters, *simulated_time(values)],
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
    # Of several cameras the first.
    namespace = "/".join([values["namespace"].strip("/"), *camera_names(values)[:1]]).strip("/")
    topics = ("overlay/image", "overlay/camera_info", "markers")
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(SHARE / "config" / "e2ec.rviz")],
        parameters=simulated_time(values),
        additional_env=environment(values),
        remappings=[(f"/e2ec/{t}", f"/{namespace}/e2ec/{t}") for t in topics if namespace],
    )


def end_with(players: list[Node]) -> list[Action]:
    """Returns what ends all nodes once the last of the players has ended."""
    playing = set(players)

    def on_exit(event: ProcessExited, _: LaunchContext) -> list[Action]:
        playing.discard(event.action)
        return [] if playing else [Shutdown(reason="the input has ended")]

    return [
        RegisterEventHandler(OnProcessExit(target_action=player, on_exit=on_exit))
        for player in players
    ]

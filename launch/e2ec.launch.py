"""Starts the segmentation node and, where asked for, something that plays images, and RViz.

ros2 launch e2ec_ros e2ec.launch.py image:=/camera/image_raw rviz:=true
ros2 launch e2ec_ros e2ec.launch.py input:=drive.mp4
ros2 launch e2ec_ros e2ec.launch.py cameras:=front,left params:=gpu
ros2 launch e2ec_ros e2ec.launch.py distance:=points distance_topic:=/lidar/points rviz:=true
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import Parameter, ParameterValue

from e2ec_ros.distro import FAST_DDS_PROFILE

SHARE = Path(__file__).resolve().parent.parent
BOOLEAN = ["true", "false"]
SWITCH = ("false", BOOLEAN)  # default and choices
PRESETS = sorted(file.stem for file in (SHARE / "config" / "presets").glob("*.yaml"))
RESPAWN_DELAY = 2.0  # s
NUMBERS = {"rate": "images per second", "intrinsics": "fx,fy,cx,cy in px"}


def argument(
    name: str, description: str, default: str = "", choices: list[str] | None = None
) -> DeclareLaunchArgument:
    """Returns a launch argument, which takes any text where no choices are given."""
    return DeclareLaunchArgument(
        name, default_value=default, description=description, choices=choices
    )


ARGUMENTS = [
    argument(
        "image",
        "Topic of the images, in the namespace unless it begins with /; of several cameras in the "
        "namespace of each.",
        "camera/image",
    ),
    argument(
        "cameras",
        "Names of several cameras that share one node and its model: front,left. Each is a "
        "namespace of images and results. Empty: one camera.",
    ),
    argument(
        "input",
        "Played on the image topic in place of a camera: an image, a folder, a video, a rosbag2, "
        "a webcam (/dev/video0), a stream (rtsp://...), or the built-in `synthetic` or "
        "`photographs`. For several cameras one for all, or one for each: front.mp4,left.mp4; "
        "none for a real one. Empty: a camera publishes.",
    ),
    argument(
        "loop",
        "Play the input for ever. Empty: as in player_params, else false.",
        choices=[*BOOLEAN, ""],
    ),
    argument("rate", "Images per second of the input. Empty: as in player_params, else its own."),
    argument(
        "intrinsics",
        "fx,fy,cx,cy in px of an input that does not know its own. Empty: as in player_params, "
        "else not calibrated, which leaves no markers.",
    ),
    argument(
        "lock_step",
        "Play each image of the input when the contours of the one before are there, so that none "
        "is dropped.",
        *SWITCH,
    ),
    argument("end_with_input", "End all nodes when the input has ended.", *SWITCH),
    argument(
        "player_params",
        "Parameter file of the node that plays the input: stamps, bag_topic and all others.",
    ),
    argument("weights", "Weights file. Empty: as in the parameter file, else those that ship."),
    argument("device", "auto, cpu, cuda or cuda:N. Empty: as in the parameter file."),
    argument(
        "tracks",
        "Give objects ids that stay with them. Empty: as in the parameter file.",
        choices=[*BOOLEAN, ""],
    ),
    argument(
        "params",
        "Parameter file of the segmentation node, or the name of one that ships: "
        + ", ".join(PRESETS),
        str(SHARE / "config" / "e2ec.yaml"),
    ),
    argument(
        "autostart",
        "Configure and activate the node; false leaves that to a lifecycle manager.",
        "true",
        BOOLEAN,
    ),
    argument("respawn", "Start the segmentation node again if its process ends.", *SWITCH),
    argument(
        "distance",
        "Start the distance node too, with a lidar's points or a registered depth image.",
        "off",
        ["off", "points", "depth"],
    ),
    argument(
        "distance_topic",
        "Topic of the points or depth images, as `image` is given. Empty: points or depth.",
    ),
    argument(
        "distance_params",
        "Parameter file of the distance node: extrinsic, sync.tolerance and all others.",
    ),
    argument("rviz", "Open RViz on the results, of several cameras on the first one's.", *SWITCH),
    argument(
        "fixed_frame",
        "Frame in which RViz shows everything: the frame_id of the images, or one that TF "
        "connects with it. Empty: the frame_id of an input that has none of its own.",
    ),
    argument("namespace", "Namespace of the nodes; one per camera."),
    argument("use_sim_time", "Take the time from /clock.", *SWITCH),
    argument(
        "dds_profile",
        "Fast DDS profile of the nodes started here; a camera driver needs the same for images "
        "above 0.5 MB. none: no profile.",
        os.environ.get(FAST_DDS_PROFILE, str(SHARE / "config" / "fastdds_shm.xml")),
    ),
    argument("log_level", "debug, info, warn ...", "info"),
]


def generate_launch_description() -> LaunchDescription:
    """Declares the arguments; the nodes are made once their values are known."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[Action]:
    """Makes the actions from the values of the arguments; ValueError names an impossible one."""
    values = {a.name: LaunchConfiguration(a.name).perform(context) for a in ARGUMENTS}
    if values["params"] in PRESETS:
        values["params"] = str(SHARE / "config" / "presets" / f"{values['params']}.yaml")
    for name in ("params", "player_params", "distance_params", "dds_profile"):
        if values[name] not in ("", "none") and not Path(values[name]).is_file():
            also = f" and none of {', '.join(PRESETS)}" if name == "params" else ""
            raise ValueError(f"{name} is {values[name]!r}, which is no file{also}")
    cameras = camera_names(values)
    if cameras and values["image"].startswith("/"):
        raise ValueError(
            f"image is {values['image']!r}, but each of the cameras {', '.join(cameras)} needs "
            "a topic of its own; give a name without / at its beginning"
        )
    actions: list[Action] = [segmentation_node(values)]
    if values["input"]:
        inputs = inputs_of(cameras, values["input"])
        players = [camera_node(values, *pair) for pair in inputs.items() if pair[1] != "none"]
        actions += players
        if values["end_with_input"] == "true":
            actions = [*end_with(players), *actions]  # before the processes, to miss no event
    if values["distance"] != "off":
        actions += [distance_node(values, camera) for camera in cameras or [""]]
    if values["rviz"] == "true":
        actions.insert(0, rviz(values))  # where it is missing, no process is left behind
    return actions


def camera_names(values: dict[str, str]) -> list[str]:
    """Returns the names of several cameras; none for the only one."""
    return [name.strip() for name in values["cameras"].split(",") if name.strip()]


def namespace_of(values: dict[str, str], camera: str) -> str:
    """Returns where a camera's images and results are; the name of the only one is empty."""
    return "/".join(part for part in (values["namespace"], camera) if part)


def numbers(values: dict[str, str], name: str) -> list[float]:
    """Returns the numbers of an argument, separated by commas; ValueError unless it has them."""
    try:
        found = [float(word) for word in values[name].strip("[]").split(",")]
    except ValueError:
        found = []
    if len(found) != len(NUMBERS[name].split(",")):
        raise ValueError(f"{name} is {values[name]!r}; give {NUMBERS[name]}")
    return found


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
            f"{', '.join(cameras)}; give one for each, none for a real one, or one for all"
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
        variables[FAST_DDS_PROFILE] = values["dds_profile"]
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
    if values["tracks"]:
        given["tracks"] = values["tracks"] == "true"
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
    if values["rate"]:
        parameters["rate"] = numbers(values, "rate")[0]
    if values["intrinsics"]:
        parameters["intrinsics"] = numbers(values, "intrinsics")
    if values["lock_step"] == "true":
        parameters["wait_for_contours"] = "e2ec/contours"  # in the camera's namespace
    file = [values["player_params"]] if values["player_params"] else []
    waiting = Parameter("wait_for_subscriber", True)
    return Node(
        name="camera",
        executable="camera_node",
        namespace=namespace_of(values, camera),
        remappings=[("image", values["image"])],
        # Not as a dictionary, which would name the node: a file for all nodes, named later, would
        # then win over all dictionaries.
        parameters=[waiting, *file, parameters, *simulated_time(values)],
        **common(values),
    )


def distance_node(values: dict[str, str], camera: str) -> Node:
    """Returns the distance node of one camera, whose name is empty if it is the only."""
    source = values["distance"]
    info = PurePosixPath(values["image"]).with_name("camera_info")
    file = [values["distance_params"]] if values["distance_params"] else []
    return Node(
        name="distance",
        executable="distance_node",
        namespace=namespace_of(values, camera),
        remappings=[(source, values["distance_topic"] or source), ("camera_info", str(info))],
        parameters=[*file, {"source": source}, *simulated_time(values)],
        **common(values),
    )


def rviz(values: dict[str, str]) -> Action:
    """Returns what opens RViz on the results, of several cameras on those of the first."""
    namespace = namespace_of(values, next(iter(camera_names(values)), ""))
    name = namespace.rpartition("/")[2] or "camera"  # as the node that plays has it
    given = {
        "image": values["image"],
        "namespace": namespace,
        "fixed_frame": values["fixed_frame"] or f"{name}_optical_frame",
        "distance": str(values["distance"] != "off").lower(),
        "use_sim_time": values["use_sim_time"],
    }
    source = PythonLaunchDescriptionSource(str(SHARE / "launch" / "rviz.launch.py"))
    return GroupAction([IncludeLaunchDescription(source, launch_arguments=given.items())])


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

"""Three cameras and one segmentation node with one model; an example to copy.

ros2 launch e2ec_ros three_cameras.launch.py
ros2 launch e2ec_ros three_cameras.launch.py front:=front.mp4 left:=left.mp4 rear:=rear.mp4

Images are on front/image, left/image and rear/image, results on front/e2ec/contours and so on. A
camera with a driver of its own is given as rear:=none and publishes rear/image.
The arguments of e2ec.launch.py (params, device, lock_step ...) can be given too.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

CAMERAS = ("front", "left", "rear")


def generate_launch_description() -> LaunchDescription:
    """Declares what each camera plays, and starts all nodes."""
    arguments = [
        DeclareLaunchArgument(
            camera,
            default_value="synthetic",
            description=f"What is played as the camera {camera}; none for a real one.",
        )
        for camera in CAMERAS
    ]
    inputs = chain.from_iterable((",", LaunchConfiguration(camera)) for camera in CAMERAS)
    segmentation = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(Path(__file__).resolve().parent / "e2ec.launch.py")),
        launch_arguments={
            "cameras": ",".join(CAMERAS),
            "image": "image",
            "input": list(inputs)[1:],  # separated by commas
        }.items(),
    )
    return LaunchDescription([*arguments, segmentation])

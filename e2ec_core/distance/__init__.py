"""How far objects are: contours of an image and points of a lidar or of a depth image."""

from e2ec_core.distance.objects import Location, locate, main_group, measure
from e2ec_core.distance.samples import (
    Samples,
    check_extrinsic,
    check_projection,
    lift_depth,
    project_cloud,
    rays_at,
)

__all__ = [
    "Location",
    "Samples",
    "check_extrinsic",
    "check_projection",
    "lift_depth",
    "locate",
    "main_group",
    "measure",
    "project_cloud",
    "rays_at",
]

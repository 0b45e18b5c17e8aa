"""Outlines against geometry that can be computed by hand."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from street_scenes import Camera
from street_scenes.light import random_light
from street_scenes.mesh import (
    OPENING_LAYER,
    Mesh,
    box,
    disc,
    ellipsoid,
    face_normals,
    join,
    limbs,
    torus,
)
from street_scenes.outline import Silhouette, signed_area, trace
from street_scenes.raster import paint_mesh

CAMERA = Camera(width=320, height=240, focal_px=300, position=(0.0, 0.0, 1.5))
GREY = (0.5, 0.5, 0.5)


def _outline(mesh: Mesh, camera: Camera = CAMERA) -> Silhouette | None:
    patch = paint_mesh(mesh, camera, random_light(np.random.default_rng(0)))
    return trace(patch) if patch else None


def test_point_straight_ahead_falls_on_the_principal_point() -> None:
    pixel, depth = CAMERA.project(np.array([10.0, 0.0, 1.5]))
    assert pixel == pytest.approx([159.5, 119.5])
    assert depth == pytest.approx(10)
    # One metre to the left at ten metres is thirty pixels to the left.
    assert CAMERA.project(np.array([10.0, 1.0, 0.5]))[0] == pytest.approx([129.5, 149.5])


@pytest.mark.parametrize("yaw", [0.0, 0.4, 1.1, 2.0])
def test_outline_of_a_box_is_the_hull_of_its_projected_corners(yaw: float) -> None:
    mesh = box((2, 1, 1.2), (0, 0, 0.6), GREY).moved(7, 0.5, yaw=yaw)
    corners, _ = CAMERA.project(mesh.vertices[:8])
    hull = cv2.convexHull(corners.astype(np.float32))[:, 0]
    outline = _outline(mesh)
    assert outline is not None
    assert -signed_area(outline.polygon) == pytest.approx(abs(signed_area(hull)), rel=0.02)
    for corner in hull:
        distance = cv2.pointPolygonTest(outline.polygon, corner.tolist(), True)
        assert abs(distance) < 0.5


def test_outline_of_a_ball_has_the_area_of_its_disc() -> None:
    outline = _outline(ellipsoid((12, 0, 1.5), (1, 1, 1), GREY, rings=30, sides=60))
    assert outline is not None
    radius_px = 300 * 1 / np.sqrt(12**2 - 1)
    # Twice the polar angle 0.12 at which the mesh's caps are cut is flat: a percent of area.
    assert outline.area == pytest.approx(np.pi * radius_px**2, rel=0.03)


def test_outline_is_cut_at_the_image_border() -> None:
    outline = _outline(box((1, 4, 1), (4, 3, 1.5), GREY))
    assert outline is not None
    assert outline.polygon[:, 0].min() == pytest.approx(-0.5, abs=0.26)


def test_nothing_behind_or_beside_the_camera_has_an_outline() -> None:
    assert _outline(box((1, 1, 1), (-5, 0, 1), GREY)) is None
    assert _outline(box((1, 1, 1), (5, 40, 1), GREY)) is None


def test_hole_of_a_wheel_belongs_to_it_even_at_the_border() -> None:
    tyre = torus((0, 0, 0), 0.5, 0.03, GREY, segments=40)
    planes = [disc((0, 0, 0), 0, 0.48, GREY, facing=side, layer=OPENING_LAYER) for side in (-1, 1)]
    wheel = join([tyre, *planes])
    wheel = replace(wheel, sides=np.zeros_like(wheel.sides))
    # Seen face on, and so low that the image's lower border cuts it through its hub.
    outline = _outline(wheel.moved(4, 0, 1.5 - 120 / 300 * 4, yaw=np.pi / 2))
    assert outline is not None
    radius_px = 0.5 * 300 / 4
    assert outline.area == pytest.approx(np.pi * radius_px**2 / 2, rel=0.03)


@pytest.mark.parametrize(
    "solid",
    [
        box((1, 2, 3), (0, 0, 0), GREY),
        ellipsoid((0, 0, 0), (1, 2, 3), GREY),
        limbs(np.zeros((1, 3)), np.array([[0.3, 0.8, 0.1]]), np.array([[0.1, 0.2]]), [GREY]),
        limbs(np.zeros((1, 3)), np.array([[0.0, 0.1, 1.0]]), np.array([[0.1, 0.1]]), [GREY]),
        torus((0, 0, 0), 1, 0.1, GREY),
    ],
    ids=["box", "ellipsoid", "sideways limb", "upright limb", "torus"],
)
def test_faces_of_solids_look_outward(solid: Mesh) -> None:
    corners = solid.vertices[solid.faces]
    # Divergence theorem: the flux of the position vector is positive for outward normals.
    assert (face_normals(corners) * corners.mean(1)).sum() > 0

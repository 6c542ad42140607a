"""A camera that goes round a ball on a floor inside a round wall, drawn by geometry.

The world's y points up. At azimuth 0 the camera stands on the z axis; azimuth grows towards x, that
is counter-clockwise as seen from above, and to the camera's own right.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

SIZE = (150, 200)
FOCAL = 190.0
"""Of frames of `SIZE`, in pixels."""

BALL, WALL = 0.08, 2.5
"""Radii, in metres."""
CENTRE = np.array([0.0, BALL, 0.0])


class Camera(NamedTuple):
    """Where a camera stands and how it is turned."""

    place: np.ndarray
    axes: np.ndarray
    """Columns: right, up, backwards."""

    def pose(self) -> list[float]:
        """As Record3D writes it: a quaternion x, y, z, w, and a position."""
        return [*Rotation.from_matrix(self.axes).as_quat().tolist(), *self.place.tolist()]


def camera(azimuth: float, *, aside: float = 0.0, height: float = 0.3) -> Camera:
    """At an azimuth in degrees, looking at the ball, or so many metres to the right of it."""
    angle = np.radians(azimuth)
    place = np.array([0.5 * np.sin(angle), height, 0.5 * np.cos(angle)])
    side = np.array([np.cos(angle), 0.0, -np.sin(angle)])
    view = CENTRE + aside * side - place
    view /= np.linalg.norm(view)
    right = np.cross(view, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    return Camera(place, np.stack([right, np.cross(right, view), -view], axis=1))


def texture(seed: int, across: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Smooth noise at some coordinates, in cells."""
    grid = np.random.default_rng(seed).uniform(20, 235, (64, 64))
    return map_coordinates(grid, [across % 63, along % 63], order=1, mode="grid-wrap")


@cache
def seen(
    azimuth: float, aside: float = 0.0, height: float = 0.3, room: int = 0
) -> tuple[Image.Image, Image.Image]:
    """A frame and the ball's mask in it; every room has other patterns."""
    eye, axes = camera(azimuth, aside=aside, height=height)
    u, v = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    flat = [(u - (SIZE[0] - 1) / 2) / FOCAL, ((SIZE[1] - 1) / 2 - v) / FOCAL, -np.ones_like(u)]
    rays = np.stack(flat, axis=-1) @ axes.T
    # The wall: |(x, z)| = WALL.
    a = rays[..., 0] ** 2 + rays[..., 2] ** 2
    b = eye[0] * rays[..., 0] + eye[2] * rays[..., 2]
    far = (-b + np.sqrt(b**2 - a * (eye[0] ** 2 + eye[2] ** 2 - WALL**2))) / a
    wall = eye + far[..., None] * rays
    turn = np.arctan2(wall[..., 0], wall[..., 2]) / (2 * np.pi) * 63
    grey = texture(10 * room + 1, turn, wall[..., 1] / 0.25)
    # The floor: y = 0.
    with np.errstate(divide="ignore"):
        down = np.where(rays[..., 1] < 0, -eye[1] / rays[..., 1], np.inf)
    floor = down < far
    spot = eye + np.where(floor, down, 0)[..., None] * rays
    grey = np.where(floor, texture(10 * room + 2, spot[..., 0] / 0.08, spot[..., 2] / 0.08), grey)
    # The ball.
    length = (rays**2).sum(-1)
    half = (rays * (eye - CENTRE)).sum(-1)
    rest = half**2 - length * (((eye - CENTRE) ** 2).sum() - BALL**2)
    ball = rest > 0
    hit = (eye - CENTRE) + ((-half - np.sqrt(np.maximum(rest, 0))) / length)[..., None] * rays
    skin = np.arctan2(hit[..., 0], hit[..., 2]) * 3
    grey = np.where(ball, texture(10 * room + 3, skin, hit[..., 1] / 0.03), grey)
    frame = Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    return frame, Image.fromarray(ball.astype(np.uint8) * 255)

"""How far a camera went round an object, and which way: from its poses, or from what it saw.

Both answers are angles in degrees, summed up frame by frame, and grow while the camera moves to its
own right, which is counter-clockwise round the object as seen from above.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import binary_dilation, gaussian_filter
from scipy.spatial.transform import Rotation

WIDTH = 120
"""Pixels that frames are reduced to before their backgrounds are compared."""

LEAST_MATCH = 0.5
"""Correlation under which two backgrounds do not match."""

LEAST_BACKGROUND = 0.1
"""Part of a frame that must be background."""

MOST_UNKNOWN = 0.25
"""Part of the steps that may go unmatched."""


def turned_by_poses(poses: Float[np.ndarray, "frame 7"]) -> Float[np.ndarray, "frame"] | None:
    """The camera's angle round the object that it looks at, from 0 at the first frame.

    Args:
        poses: camera to world: a quaternion (x, y, z, w) and a position; the world's y points up,
            the camera looks along -z, as Record3D and ARKit have it.

    Returns:
        None where the views meet nowhere in front of the camera.
    """
    sane = np.isfinite(poses).all() and np.abs(poses).max() < 1e6
    if not sane or (np.linalg.norm(poses[:, :4], axis=1) < 1e-6).any():
        return None
    place = poses[:, 4:]
    view = -Rotation.from_quat(poses[:, :4]).as_matrix()[:, :, 2]
    across = np.eye(3) - view[:, :, None] * view[:, None, :]
    # The point closest to all lines of sight.
    sight = (across @ place[:, :, None]).sum(0)[:, 0]
    center = np.linalg.lstsq(across.sum(0), sight, rcond=None)[0]
    if not (((center - place) * view).sum(1) > 0).all():
        return None
    x, z = (place - center)[:, 0], (place - center)[:, 2]
    # Positive about +y: from z towards x.
    steps = np.arctan2(z[:-1] * x[1:] - x[:-1] * z[1:], x[:-1] * x[1:] + z[:-1] * z[1:])
    return np.degrees(np.concatenate(([0.0], np.cumsum(steps))))


class View(NamedTuple):
    """A reduced frame."""

    grey: Float[np.ndarray, "height width"]
    """Brightness without its coarse pattern."""
    behind: Bool[np.ndarray, "height width"]
    """What is surely behind the object."""
    middle: float
    """Of the object, from the left, in reduced pixels."""


def view_of(frame: Image.Image, mask: Bool[np.ndarray, "height width"]) -> View | None:
    """A frame as the comparison needs it; None where there is no object or no background.

    What is above the middle of an object that stands on something is farther away than it; what
    is below may be nearer, and moves the other way.
    """
    if not mask.any():
        return None
    size = WIDTH, max(1, round(frame.height * WIDTH / frame.width))
    grey = np.asarray(frame.convert("L").resize(size, Image.Resampling.BOX), dtype=float)
    small = np.asarray(Image.fromarray(mask).convert("L").resize(size, Image.Resampling.BOX)) > 127
    rows, columns = np.nonzero(small)
    if not len(rows):
        return None
    behind = np.logical_not(binary_dilation(small, iterations=3))
    behind[(rows.min() + rows.max()) // 2 :] = False
    if behind.mean() < LEAST_BACKGROUND:
        return None
    return View(grey - gaussian_filter(grey, 8), behind, float(columns.mean()))


def turned_by_background(
    views: Iterable[View | None], focal: float
) -> Float[np.ndarray, "frame"] | None:
    """About the camera's angle round the object, from 0 at the first frame.

    Seen with the object at rest, what is behind it moves to the side that the camera moves to. The
    angle is exact for a background infinitely far away, and too small for a near one.

    Args:
        views: reduced frames, in the order in which they were shot.
        focal: focal length in reduced pixels.

    Returns:
        None where too many steps cannot be followed.
    """
    moves = [_moved(one, other) if one and other else None for one, other in pairwise(views)]
    known = np.array([np.nan if m is None else np.degrees(np.arctan(m / focal)) for m in moves])
    unknown = np.isnan(known)
    if not len(known) or unknown.mean() > MOST_UNKNOWN:
        return None
    known[unknown] = np.median(known[~unknown])
    return np.concatenate(([0.0], np.cumsum(known)))


def _moved(before: View, after: View) -> float | None:
    """How far the background went to the right of the object; None if it cannot be found again."""
    height, width = before.grey.shape
    match = _correlation(before, after)
    down, right = height // 8, width // 4
    near = match[height - 1 - down : height + down, width - 1 - right : width + right]
    if near.max() < LEAST_MATCH:
        return None
    shift = float(np.unravel_index(near.argmax(), near.shape)[1]) - right
    return shift - (after.middle - before.middle)


def _correlation(one: View, other: View) -> Float[np.ndarray, "shift_down shift_right"]:
    """Correlation of two backgrounds where they overlap, for every shift of the second.

    Normalized over the overlap of the two masks (Padfield, "Masked object registration in the
    Fourier domain", 2012); -1 where they overlap in less than 40 % of what they can.
    """
    a, b = one.behind.astype(float), other.behind.astype(float)
    f, g = one.grey * a, other.grey * b
    count = np.maximum(_sums(a, b), 1e-9)
    first, second = _sums(f, b), _sums(a, g)
    both = _sums(f, g) - first * second / count
    spread = (_sums(f * f, b) - first**2 / count) * (_sums(a, g * g) - second**2 / count)
    match = both / np.sqrt(np.maximum(spread, 1e-9))
    return np.where((count >= 0.4 * count.max()) & (spread > 1e-3), match, -1.0)


def _sums(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Sum of one times the other, shifted; no shift stands in the middle."""
    height, width = one.shape
    size = next_fast_len(2 * height - 1, real=True), next_fast_len(2 * width - 1, real=True)
    waves = np.asarray(rfft2(other, size)) * np.asarray(rfft2(one[::-1, ::-1], size))
    return np.asarray(irfft2(waves, size))[: 2 * height - 1, : 2 * width - 1]

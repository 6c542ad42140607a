"""Points that stand out in an image: corners, strongest first."""

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy.ndimage import gaussian_filter, maximum_filter, sobel

WORKING_SIDE = 512
"""Pixels of the longer side of the image in which corners are looked for."""

APART = 12
"""Working pixels between one corner and the next."""

WEAKEST = 0.02
"""A corner has at least this part of the strength of the image's strongest."""


def corners(image: Image.Image, most: int = 60) -> Float[np.ndarray, "corner 2"]:
    """The strongest corners of an RGB image as (x, y), in its own pixels.

    A corner is where brightness changes in every direction: where the smaller eigenvalue of the
    gradients' local covariance has a maximum (Shi and Tomasi, 1994).
    """
    factor = min(1.0, WORKING_SIDE / max(image.size))
    width, height = (max(1, round(length * factor)) for length in image.size)
    grey = np.asarray(image.convert("L").resize((width, height), Image.Resampling.BOX), dtype=float)
    across, down = sobel(grey, axis=1), sobel(grey, axis=0)
    xx, yy, xy = (
        gaussian_filter(a * b, 2) for a, b in ((across,) * 2, (down,) * 2, (across, down))
    )
    strength = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    peaks = (strength == maximum_filter(strength, size=2 * APART + 1)) & (
        strength > max(WEAKEST * strength.max(), 1e-6)
    )
    rows, columns = np.nonzero(peaks)
    order = np.argsort(-strength[rows, columns], kind="stable")[:most]
    scale = np.array([image.width / width, image.height / height])
    return (np.stack([columns[order], rows[order]], axis=1) + 0.5) * scale - 0.5

"""Representative: whether calibration images look like images that ranges can be learnt from."""

from __future__ import annotations

import numpy as np

from edgeprune.core.samples import Floats

_FAR = 20.0
"""Normalised images stay within a few units; bytes that nobody divided reach 255."""
_OUTSIDE = 0.01
"""Share of the selection images' values beyond the calibration images' extremes that is no chance."""


def doubts(calibration: Floats, selection: Floats) -> list[str]:
    """What makes calibration images doubtful, one line each; both of shape (images, channels, ...)."""
    found = []
    flat = calibration.reshape(len(calibration), -1)
    constant = int((flat.max(1) == flat.min(1)).sum())
    if constant:
        found.append(
            f"{constant} of {len(flat)} calibration images are of one value: integer ranges learnt from them "
            "are too narrow"
        )
    reach = float(np.abs(flat).max())
    if reach > _FAR:
        found.append(
            f"calibration images reach {reach:.4g}: "
            "say in the recipe how they are normalised (scale, mean, std)"
        )
    outside = float(((selection < flat.min()) | (selection > flat.max())).mean())
    if outside > _OUTSIDE:
        found.append(
            f"{100 * outside:.1f} % of the selection images' values lie beyond the calibration images' "
            "extremes: take more calibration images (--images), drawn as the device will see them"
        )
    return found

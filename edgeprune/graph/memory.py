"""Memory: how many images at once a network's values leave room for."""

from __future__ import annotations

import numpy as np

from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling

_MOST = 100
_TRANSIENT = 3e8
"""Bytes that the values of one batch may take within a network."""


def images_per_batch(coupling: Coupling) -> int:
    """A hundred, or fewer where the largest values of a large network would take too much."""
    return int(np.clip(_TRANSIENT / max(1, count(coupling).peak_activation_bytes), 1, _MOST))

"""Image rows: whose the rows of a value are, where its batch axis holds several for each image.

Windows and tokens are often merged with the batch. `view(batch * windows, ...)` puts those of one image side
by side; attention that goes by tokens first (`nn.MultiheadAttention`) puts those of one place side by side,
image after image. Nothing in a graph says which, so two equal images are asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import Node

from edgeprune.graph.capture import Program
from edgeprune.graph.nodes import tensor_shape
from edgeprune.graph.replay import observe

Order = Literal["image by image", "place by place"]


def orders(program: Program, image: Tensor, nodes: Iterable[Node]) -> dict[Node, Order]:
    """How the rows of these nodes are ordered, of an image of shape (1, ...).

    Left out is what is the same for every image, and where two equal images have no equal rows.
    """
    found: dict[Node, Order] = {}

    def seen(node: Node, value: Tensor) -> None:
        rows = value.movedim(_batch_axis(node), 0)
        half = len(rows) // 2
        if torch.allclose(rows[:half], rows[half:]):
            found[node] = "image by image"
        elif torch.allclose(rows[::2], rows[1::2]):
            found[node] = "place by place"

    several = [node for node in nodes if None in tensor_shape(node.meta["val"])]
    if several:
        observe(program, torch.cat([image, image]), several, seen)
    return found


def means(node: Node, value: Tensor, axis: int, images: int, order: Order) -> NDArray[np.float64]:
    """Means over everything but an axis, shape (images, size)."""
    batch = _batch_axis(node)
    others = [other for other in range(value.ndim) if other not in {batch, axis}]
    # In single precision: double takes ten times as long on large maps (1.6 ms instead of 0.15 for 100 of
    # 16x32x32, where running the network is to cost no fifth more) and moves F by about 1e-6.
    left = value.mean(others) if others else value
    rows = (left if batch < axis else left.T).double().numpy()
    if order == "image by image":
        return np.asarray(rows.reshape(images, -1, rows.shape[1]).mean(1))
    return np.asarray(rows.reshape(-1, images, rows.shape[1]).mean(0))


def _batch_axis(node: Node) -> int:
    return tensor_shape(node.meta["val"]).index(None)

"""Interface: how a file is fed and what it answers, where it is to spare the device some work."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edgeprune.core.document import Document
from edgeprune.core.errors import RequestError, did_you_mean

Layout = Literal["nchw", "nhwc"]
Answer = Literal["scores", "softmax", "argmax", "top5"]
TOP = 5
Floats = NDArray[np.float32]


class Interface(Document):
    """What goes into a file and what comes out; as the network has it, where nothing is said."""

    batch: Literal["one", "free"] | None = Field(
        default=None, description="inputs at a time; null: free where the format can have it so"
    )
    layout: Layout = Field(default="nchw", description="of the input's axes")
    camera: bool = Field(
        default=False, description="8-bit images go in; the file casts and normalises them itself"
    )
    answer: Answer = Field(default="scores", description="scores: whatever the network answers")

    @property
    def plain(self) -> bool:
        """Whether the file takes and gives what the network does."""
        return self.layout == "nchw" and not self.camera and self.answer == "scores"

    @property
    def takes_images(self) -> bool:
        """Whether it only makes sense for inputs of channels x height x width."""
        return self.layout != "nchw" or self.camera

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of a file's outputs; the first one is the decision."""
        return ("classes", "scores") if self.answer == "top5" else ("output",)

    @property
    def exact(self) -> bool:
        """Whether answers are numbers that can be close; a class is right or wrong."""
        return self.answer in {"scores", "softmax"}

    def laid_out(self, images: NDArray[np.generic]) -> NDArray[np.generic]:
        """Images of shape (n, channels, height, width) as the file takes them."""
        return np.ascontiguousarray(images.transpose(0, 2, 3, 1)) if self.layout == "nhwc" else images

    def expected(self, scores: Floats) -> Floats:
        """What the file should answer where the network answers `scores`, as `read` gives it back."""
        if self.answer == "scores":
            return scores
        if self.answer == "softmax":
            raised = np.exp(scores - scores.max(1, keepdims=True))
            return np.asarray(raised / raised.sum(1, keepdims=True), dtype=np.float32)
        order = np.argsort(-scores, axis=1, kind="stable")[:, : 1 if self.answer == "argmax" else TOP]
        return _ranked(order, scores.shape[1])

    def read(self, answered: NDArray[np.generic], classes: int) -> Floats:
        """A file's first output as one number per class: the largest one is its decision.

        Parameters
        ----------
        answered : array of shape (n, classes), (n,) or (n, 5)
            Scores, the best class, or the best five.
        """
        if self.exact:
            return np.asarray(answered, dtype=np.float32)
        return _ranked(answered.reshape(len(answered), -1), classes)


def interface_of(batch: str | None, layout: str, answer: str, *, camera: bool) -> Interface:
    """The interface of the options `--batch`, `--layout`, `--answer` and `--camera`.

    Raises
    ------
    RequestError
        A value that an option does not know.
    """
    batches = {None: None, "1": "one", "free": "free"}
    for option, value, known in (
        ("batch", batch, batches),
        ("layout", layout, get_args(Layout)),
        ("answer", answer, get_args(Answer)),
    ):
        if value not in known:
            names = [str(name) for name in known if name]
            raise RequestError(f"unknown --{option} '{value}'", hint=did_you_mean(str(value), names))
    given = {"batch": batches[batch], "layout": layout, "answer": answer, "camera": camera}
    return Interface.parse(given, source="options")


def _ranked(order: NDArray[np.generic], classes: int) -> Floats:
    """The best class gets as many points as there are ranks, the next one less, the rest nothing."""
    points = np.zeros((len(order), classes), dtype=np.float32)
    ranks = np.arange(order.shape[1], 0, -1, dtype=np.float32)
    np.put_along_axis(points, order.astype(np.int64), np.broadcast_to(ranks, order.shape), axis=1)
    return points

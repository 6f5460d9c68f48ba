"""Files: a runtime that needs none, and what every quantizer with ranges must make of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.artifact import Format
from edgeprune.core.protocols import CalibratedQuantizer, Runtime
from edgeprune.core.ranges import chosen


@dataclass
class FakeSession:
    """Answers with the mean of its input, in a time that it is told."""

    nanoseconds: int = 1_000_000
    calls: list[int] = field(default_factory=list)

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """One image of 3 x 8 x 8."""
        return (1, 3, 8, 8)

    def infer(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Means per channel, shape (batch, channels)."""
        self.calls.append(len(inputs))
        return np.asarray(inputs.reshape(*inputs.shape[:2], -1).mean(2), dtype=np.float32)

    def time(self, inputs: NDArray[np.float32], *, warmup: int, runs: int) -> list[int]:
        """As long as it was told, every time."""
        return [self.nanoseconds] * runs

    def facts(self) -> Mapping[str, str]:
        """It says that it is a fake."""
        return {"runtime": "fake", "version": "0"}


@dataclass(frozen=True)
class FakeRuntime:
    """Opens any file as a FakeSession."""

    threads: int = 1
    format: Format = field(default="onnx", init=False)

    def open(self, path: Path) -> FakeSession:
        """A session; the file is not looked at."""
        return FakeSession()


def check_calibrated_quantizer(
    quantizer: CalibratedQuantizer,
    runtime: Runtime,
    source: Path,
    images: NDArray[np.float32],
    folder: Path,
) -> None:
    """Every quantizer with ranges writes what it is told to, answers nearly alike, and gives back operators.

    With every operator back the file answers as its source does.

    Parameters
    ----------
    source : path
        A float32 file that `runtime` loads.
    images : array
        A batch of the network's inputs, ten or more: the ranges are those of the first half.
    folder : path
        Where files may be written.
    """
    operators = quantizer.operators(source)
    everything = [one.name for one in operators]
    assert operators, "nothing in the source computes in integers"
    assert len(set(everything)) == len(everything), "two operators share a name"
    before = source.read_bytes()
    ranges = chosen(quantizer.observe(source, [images[: len(images) // 2]]), "min-max")
    assert all(low <= 0 <= high for low, high in ranges.values())

    def answers(name: str, floats: Sequence[str]) -> NDArray[np.float32]:
        quantizer.quantize_within(source, folder / name, ranges, floats)
        return runtime.open(folder / name).infer(images)

    expected = runtime.open(source).infer(images)
    scale = float(np.abs(expected).max())
    integers, again = answers("integers", ()), answers("again", ())
    assert 0 < float(np.abs(integers - expected).max()) < 0.2 * scale, "it does not answer nearly alike"
    assert (folder / "integers").read_bytes() == (folder / "again").read_bytes()
    assert (integers == again).all()
    floats = answers("floats", everything)
    np.testing.assert_allclose(floats, expected, atol=1e-5 * scale)
    for name in everything:
        answers("one", [name])
        assert (folder / "one").read_bytes() != (folder / "integers").read_bytes(), (
            f"{name} stays in integers"
        )
    narrow = {name: (low / 100, high / 100) for name, (low, high) in ranges.items()}
    quantizer.quantize_within(source, folder / "narrow", narrow)
    narrowed = runtime.open(folder / "narrow").infer(images)
    assert np.abs(narrowed - expected).max() > np.abs(integers - expected).max(), "it takes no ranges"
    assert source.read_bytes() == before, "it changed its source"

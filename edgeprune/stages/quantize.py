"""Quantize: smaller files from the float32 ones, static where there are images to calibrate on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.artifact import Artifact, Precision
from edgeprune.core.errors import ModelError
from edgeprune.core.files import written_whole
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.protocols import Quantizer
from edgeprune.core.registry import build, names
from edgeprune.core.samples import Split

_BATCH = 100


def quantize(
    sources: Sequence[Artifact],
    precisions: Sequence[Precision],
    calibration: Split | None,
    folder: Path,
    *,
    progress: Progress | None = None,
) -> tuple[list[Artifact], dict[str, str]]:
    """Every precision for every file, and why some could not be made.

    Without images, static int8 is replaced by dynamic int8, which needs no ranges.
    """
    progress = progress or Silent()
    wanted = dict.fromkeys(_without_data(one) if calibration is None else one for one in precisions)
    jobs = [
        (source, precision)
        for source in sources
        for precision in wanted
        if f"{source.format}-{precision}" in names("quantizers")
    ]
    progress.start("quantize", len(jobs))
    written, failed = [], {}
    for source, precision in jobs:
        quantizer: Quantizer = build("quantizers", f"{source.format}-{precision}")
        path = folder / f"model.{precision}.{source.format}"
        try:
            with written_whole(path) as scratch:
                quantizer.quantize(folder / source.path, scratch, _inputs(calibration))
        except ModelError as error:
            failed[path.name] = error.message
        else:
            written.append(
                Artifact.of_file(
                    path,
                    format=source.format,
                    precision=precision,
                    parent=source.sha256,
                    inputs=source.inputs,
                    outputs=source.outputs,
                )
            )
        progress.advance()
    progress.finish()
    return written, failed


def calibrated(precision: Precision) -> bool:
    """Whether files of a precision have ranges found on images, so that they can be chosen and guarded."""
    return precision in {"int8-static", "int8w-int16a"}


def _inputs(calibration: Split | None) -> Iterator[NDArray[np.float32]]:
    """Read batch by batch: a quantizer stops when it has seen enough."""
    return iter(()) if calibration is None else calibration.inputs(_BATCH)


def _without_data(precision: Precision) -> Precision:
    return "int8-dynamic" if calibrated(precision) else precision

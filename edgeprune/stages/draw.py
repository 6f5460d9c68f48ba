"""Draw: open the dataset and deal out disjoint images for calibration, selection and test."""

from __future__ import annotations

from pathlib import Path

from edgeprune.core.dataset import open_dataset
from edgeprune.core.errors import DataError
from edgeprune.core.request import Request
from edgeprune.core.samples import Splits, draw_splits
from edgeprune.core.units import format_shape
from edgeprune.graph.capture import Program


def draw(request: Request, program: Program) -> Splits | None:
    """The splits of the request's data; None without data.

    Raises
    ------
    DataError
        Images of another size than the network's, labels it has no output for, or too few images.
    """
    if request.data is None:
        return None
    pools = open_dataset(request.data, Path(request.data_base))
    classes = program.run(program.example(1)).shape[1]
    if request.labels and len(request.labels) != classes:
        raise DataError(
            f"the recipe names {len(request.labels)} labels, the network has {classes} outputs",
            hint="list one label per output, in order",
        )
    calibration, selection = request.images.counts(pools.train.size)
    splits = draw_splits(
        pools,
        request.preprocess,
        calibration=calibration,
        selection=selection,
        test=request.images.test,
        classes=classes,
        seed=request.seed,
    )
    size = next(splits.calibration.take(1).batches(1))[0].shape[1:]
    if size != program.input_size:
        raise DataError(
            f"{pools.train.name}: images of {format_shape(size)}, "
            f"but the network takes {format_shape(program.input_size)}",
            hint="crop or resize in the recipe, or capture the network at the images' size with --input",
        )
    return splits


def image_size(request: Request) -> tuple[int, ...] | None:
    """Input size as the data shows it, where neither option nor recipe says it."""
    if request.data is None:
        return None
    train = open_dataset(request.data, Path(request.data_base)).train
    raw = train.read([0])
    crop = request.preprocess.crop
    return (*raw.shape[1:2], crop, crop) if crop else tuple(raw.shape[1:])

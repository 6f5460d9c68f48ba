"""Draw: open the dataset and deal out disjoint images for calibration, selection and test."""

from __future__ import annotations

from pathlib import Path

from edgeprune.core.alike import are_scores
from edgeprune.core.dataset import open_dataset
from edgeprune.core.errors import DataError, RequestError
from edgeprune.core.request import Calibration, Images, Request
from edgeprune.core.samples import Samples, Split, Splits, draw_calibration, draw_splits
from edgeprune.core.units import format_shape
from edgeprune.graph.capture import Program


def draw(request: Request, program: Program) -> Splits | None:
    """The splits of the request's data; None without data.

    Raises
    ------
    DataError
        Images of another size than the network's, labels it has no output for, or too few images.
    RequestError
        Training of a network whose answers are no scores of classes.
    """
    if request.data is None:
        return None
    answered = _answered(program)
    if request.epochs and not are_scores(answered):
        raise RequestError(
            f"--epochs trains by scores of classes, the network answers with {format_shape(answered[1:])}",
            hint="leave --epochs out: the refit goes on; or train by your own loop with --train-command",
        )
    pools = open_dataset(request.data, Path(request.data_base))
    _check_classes(pools.train, answered)
    judging = request.budget.max_drop is not None
    calibration, selection = request.images.counts(pools.train.size, judging=judging)
    splits = draw_splits(
        pools,
        request.preprocess,
        calibration=calibration,
        selection=selection,
        test=request.images.test,
        classes=_classes(answered, request.labels),
        seed=request.seed,
    )
    _check_size(splits.calibration, program)
    return splits if are_scores(answered) else splits.unjudged()


def draw_to_screen(wanted: Calibration, program: Program) -> Split:
    """The images to take statistics on: those that a run with the same seed would calibrate on.

    Raises
    ------
    DataError
        Images of another size than the network's, labels it has no output for, or too few images.
    """
    pools = open_dataset(wanted.data, Path(wanted.data_base))
    answered = _answered(program)
    _check_classes(pools.train, answered)
    split = draw_calibration(
        pools,
        wanted.preprocess,
        count=Images(calibration=wanted.images).counts(pools.train.size)[0],
        classes=_classes(answered, wanted.labels),
        seed=wanted.seed,
    )
    _check_size(split, program)
    return split


def image_size(asked: Request | Calibration) -> tuple[int, ...] | None:
    """Input size as the data shows it, where neither option nor recipe says it."""
    if asked.data is None:
        return None
    train = open_dataset(asked.data, Path(asked.data_base)).train
    raw = train.read([0])
    crop = asked.preprocess.crop
    return (*raw.shape[1:2], crop, crop) if crop else tuple(raw.shape[1:])


def _answered(program: Program) -> tuple[int, ...]:
    """The shape of the answer to one input."""
    return tuple(program.run(program.example(1)).shape)


def _classes(answered: tuple[int, ...], labels: tuple[str, ...]) -> int | None:
    """How many classes the network scores, which must be those the recipe names; None for other answers."""
    if not are_scores(answered):
        return None
    classes = answered[1]
    if labels and len(labels) != classes:
        raise DataError(
            f"the recipe names {len(labels)} labels, the network has {classes} outputs",
            hint="list one label per output, in order",
        )
    return classes


def _check_classes(train: Samples, answered: tuple[int, ...]) -> None:
    """Refuse targets that are whole numbers; only scores say how many classes there are."""
    if train.labels is None or are_scores(answered) or not train.size:
        return
    if (most := int(train.labels.max())) >= train.size // 2:
        raise DataError(
            f"{train.name}: labels run to {most} on {train.size} images, so they are no class indices",
            hint="leave the labels out: refit, taylor, wanda and l2 rank without them",
        )


def _check_size(split: Split, program: Program) -> None:
    size = next(split.take(1).batches(1))[0].shape[1:]
    if size != program.input_size:
        raise DataError(
            f"{split.samples.name}: images of {format_shape(size)}, "
            f"but the network takes {format_shape(program.input_size)}",
            hint="crop or resize in the recipe, or capture the network at the images' size with --input",
        )

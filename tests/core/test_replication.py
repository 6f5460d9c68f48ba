"""Images that show no class twice cannot be compared by classes, and what is said names them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edgeprune.core.errors import RequestError
from edgeprune.core.recipe import Preprocess
from edgeprune.core.registry import build_from
from edgeprune.core.replication import incomparable, ranked_without_f, require_replicates
from edgeprune.core.samples import Samples, Split


def images_of(labels: Sequence[int] | None) -> Split:
    count = 4 if labels is None else len(labels)
    known = None if labels is None else np.asarray(labels)
    samples = Samples(count, lambda chosen: np.zeros((len(chosen), 1, 2, 2), np.float32), known, "labels")
    return Split(samples, np.arange(count), Preprocess())


@pytest.mark.parametrize(
    ("labels", "shared", "own"),
    [
        ([0, 1, 2], "no class has two of the 3 images", "no class has two of the 3 images"),
        ([2], "only one class is among the 1 images", "only one class is among the 1 images"),
        ([2, 2, 2], "only one class is among the 3 images", "only one class is among the 3 images"),
        ([0, 5, 5], None, "only one class has two of the 3 images"),
        ([0, 1, 0, 1, 2], None, None),
        (None, None, None),
    ],
)
def test_classes_can_be_compared_where_one_shows_its_variance_or_two_show_their_own(
    labels: list[int] | None, shared: str | None, own: str | None
) -> None:
    assert incomparable(images_of(labels)) == shared
    assert incomparable(images_of(labels), 2) == own


def test_nothing_is_said_without_images() -> None:
    assert incomparable(None) is None


@pytest.mark.parametrize(
    ("criterion", "labels", "why"),
    [
        ("f", [0, 1, 2], "no class has two of the 3 images"),
        ("refit?separation=0.5", [0, 1, 2], "no class has two of the 3 images"),
        ("welch", [0, 1, 1], "only one class has two of the 3 images"),
    ],
)
def test_a_criterion_that_has_nothing_else_to_rank_by_is_refused(
    criterion: str, labels: list[int], why: str
) -> None:
    with pytest.raises(RequestError) as caught:
        require_replicates(build_from("criteria", criterion), images_of(labels), criterion, others="l2")
    assert caught.value.message == f"criterion '{criterion}' compares classes, but {why}"
    assert caught.value.hint == "give more with --images, or choose one that compares none: l2"


@pytest.mark.parametrize(
    ("criterion", "labels"),
    [("f", [0, 1, 1]), ("screening", [0, 1]), ("refit", [0]), ("l2", [0, 1]), ("f", None)],
)
def test_others_go_on(criterion: str, labels: list[int] | None) -> None:
    require_replicates(build_from("criteria", criterion), images_of(labels), criterion, others="l2")


def test_a_report_says_what_ranked_and_what_to_do() -> None:
    assert ranked_without_f("no class has two of the 3 images", "screening") == (
        "no class has two of the 3 images, so F is not defined and screening ranked without it; "
        "--images gives more"
    )

"""A cut that keeps impossible units cannot be written down."""

from __future__ import annotations

import pytest

from edgeprune.core.errors import DocumentError
from edgeprune.core.plan import Cut


def test_what_goes_is_what_does_not_stay() -> None:
    assert Cut(group="body", units=5, kept=(1, 4)).removed == (0, 2, 3)
    assert Cut(group="body", units=2, kept=(0, 1)).removed == ()


@pytest.mark.parametrize(
    ("kept", "fault"),
    [
        ([], "group 'body' keeps nothing; at least one unit must stay"),
        ([2, 1], "kept must be ascending, each unit once"),
        ([1, 1], "kept must be ascending, each unit once"),
        ([-1, 0], "kept must lie in 0..3"),
        ([0, 4], "kept must lie in 0..3"),
    ],
)
def test_kept_units_exist_once_in_order(kept: list[int], fault: str) -> None:
    with pytest.raises(DocumentError) as caught:
        Cut.parse({"group": "body", "units": 4, "kept": kept}, source="cut")
    assert caught.value.message == f"cut: {fault}"

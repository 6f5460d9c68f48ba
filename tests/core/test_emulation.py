"""What was counted is compared with an earlier check of the same file on the same board."""

from __future__ import annotations

import pytest

from edgeprune.core.emulation import EmulatedFile, Emulation, Instructions, Likeness, grown


def counted(total: int, *, path: str = "run/model.onnx", board: str = "rpi4", why: str = "") -> EmulatedFile:
    likeness = Likeness(inputs=1, equal=not why, differing=0, max_abs=0, relative=0, max_lsb=None, top1=100)
    return EmulatedFile(
        path=path,
        sha256="",
        format="onnx",
        precision="fp32",
        board=board,
        runtime="onnxruntime",
        version="1",
        likeness=likeness,
        instructions=Instructions(
            total=total,
            float_multiply_add=1,
            dot_product=0,
            integer_multiply_add=0,
            load_store=1,
            branch=1,
            totals=(total,),
        ),
        passed=not why,
        why=why,
    )


def checked(*files: EmulatedFile) -> Emulation:
    return Emulation(qemu="7.2", host="here", inputs="1", uncounted="", files=files)


def test_a_file_is_found_again_by_path_then_by_name() -> None:
    now = checked(counted(110, path="new/model.onnx"))
    before = checked(counted(100), counted(50, board="rpi5"))
    (row,) = now.growth(before)
    assert (row.before, row.after) == (100, 110)
    assert row.percent == pytest.approx(10)


def test_a_name_that_stands_for_two_files_is_no_baseline() -> None:
    before = checked(counted(100, path="a/model.onnx"), counted(90, path="b/model.onnx"))
    assert checked(counted(110, path="c/model.onnx")).growth(before) == []
    assert len(checked(counted(110, path="a/model.onnx")).growth(before)) == 1


@pytest.mark.parametrize(("after", "percent", "grew"), [
    (100_000, 0, False), (100_099, 0, False), (100_101, 0, True), (104_000, 5, False), (106_000, 5, True),
    (96_000, -5, True),
])  # fmt: skip
def test_growth_is_beyond_what_counts_repeat_to(after: int, percent: float, grew: bool) -> None:
    rows = checked(counted(after)).growth(checked(counted(100_000)))
    assert bool(grown(rows, percent)) is grew


def test_a_failure_names_file_board_and_reason() -> None:
    assert checked(counted(1, why="it differs")).failures() == ["run/model.onnx on rpi4: it differs"]


def test_a_check_is_read_as_it_was_written() -> None:
    document = checked(counted(5))
    assert Emulation.model_validate_json(document.to_json()) == document

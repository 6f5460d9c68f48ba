"""The benchmark on MNIST tells finished rows, names those that are not, and touches nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from core.documents import THINNED, a_report, delivered, measured

from benchmarks.accuracy import lenets
from benchmarks.page import replace_section


def test_every_row_is_a_run_of_its_own() -> None:
    rows = [row for _, _, rows in lenets.SECTIONS.values() for row in rows]
    assert len({row.folder for row in rows}) == len({tuple(row.command()) for row in rows}) == len(rows)


def test_the_default_criterion_is_not_named_in_the_command() -> None:
    ours, taylor = lenets.CONNECTIONS[:2]
    assert "--criterion" not in ours.command()
    assert taylor.command() == [*ours.command(), "--criterion", "taylor"]


def test_a_finished_row_is_told_with_its_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lenets, "RUNS", tmp_path)
    file = delivered(here=measured()).model_copy(update={"deflated": 1234})
    kept = THINNED.model_copy(update={"kept": {"a": 2662}, "parameters": 500})
    row, other = lenets.CONNECTIONS[0], lenets.CONNECTIONS[4]
    row.folder.mkdir(parents=True)
    a_report(file, thinned=kept).save(row.folder / "report.json")
    lines = [*lenets.table((row, other))]
    assert lines[2] == (
        "| lenet_300_100 | screening | 1 | 8.50 | 5.40-13.20 | 8.50 | 2,662 | 100.0x | 500 | 2.0x | 1,234 |"
    )
    assert lines[3] == "| lenet_300_100 | screening | | not run yet | | | | | | | |"
    assert lines[-2:] == [f"    {' '.join(one.command())}" for one in (row, other)]


def test_a_run_that_goes_on_from_another_is_measured_against_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lenets, "RUNS", tmp_path)
    row = next(one for one in lenets.CONNECTIONS if one.after is not None)
    assert row.after is not None
    file = delivered(here=measured())
    for one, parameters in ((row, 430), (row.after, 500)):
        one.folder.mkdir(parents=True)
        thinned = THINNED.model_copy(update={"kept": {"a": 2152}, "parameters": parameters})
        a_report(file, thinned=thinned if one is row else None).save(one.folder / "report.json")
    line = [*lenets.table((row,))][2]
    assert line.startswith("| lenet_5, narrow | screening |")
    assert "| 2,152 | 200.0x | 430 | 2.3x |" in line  # 430,500 weights, 1,000 parameters before the first run


def test_the_recipe_goes_with_a_network_that_was_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lenets, "RUNS", tmp_path)
    before = replace(lenets.STRUCTURED[0], network="cut")
    before.folder.mkdir()
    (before.folder / "model.pt2").write_bytes(b"network")
    lenets.prepare(tmp_path / "narrow" / "cut_narrow.pt2", before)
    assert (tmp_path / "narrow" / "cut_narrow.pt2").read_bytes() == b"network"
    assert f'data = "{lenets.MODELS}/data.py:mnist"' in (tmp_path / "narrow" / "edgeprune.toml").read_text()


def test_a_section_is_replaced_and_the_rest_of_the_page_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n<!-- begin a -->\nold\n<!-- end -->\n\nby hand\n")
    replace_section(page, "a", ["new \\1", "lines"])
    replace_section(page, "b", ["more"])
    assert page.read_text() == (
        "# Page\n\n<!-- begin a -->\nnew \\1\nlines\n<!-- end -->\n\nby hand\n\n"
        "<!-- begin b -->\nmore\n<!-- end -->\n"
    )

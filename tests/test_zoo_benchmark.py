"""The zoo's page: what is counted, what is a failure, what is reused, and which networks are in it."""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import page
from benchmarks.zoo import child, cutting, jobs, main, networks, patterns, random_networks, reductions, tables
from edgeprune.core.group import Group, Reason, Slice

EXACT: dict[str, Any] = {
    "inputs": ["3x8x8"],
    "model_bytes": 1_000_000,
    "seconds": {"capture": 1.0, "couple": 0.25, "shrink": 0.125},
    "peak_bytes": 2_500_000,
    "nodes": 1234,
    "groups": 3,
    "free": 2,
    "kinds": {"channels": 2},
    "locked": {"the network's output": 1},
    "macs": [2_000_000_000, 500_000_000],
    "parameters": [4_000_000, 1_000_000],
    "error": 2e-16,
    "refused_groups": {},
    "same_shapes": True,
    "difference": 0.5,
    "as_predicted": True,
    "exact": True,
}


def group(units: int, width: int = 1, locked: Reason | None = None) -> Group:
    indices = np.arange(units * width).reshape(units, width)
    return Group("g", units, (Slice("g.weight", 0, "producer", indices),), locked)


# The page


def test_a_section_replaces_only_itself_and_keeps_the_order(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    for name, text in (("second", "old"), ("first", "one"), ("second", "new")):
        page.put_section(file, "# Title\n", ("first", "second", "third"), name, [text])

    assert file.read_text() == (
        "# Title\n\n<!-- begin first -->\none\n<!-- end -->\n\n<!-- begin second -->\nnew\n<!-- end -->\n"
    )


# Verdicts and totals


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "exact"),
        ({"crash": "ValueError"}, "crash"),
        ({"exact": False}, "failed oracle"),
        ({"same_shapes": False}, "changed output shape"),
        ({"as_predicted": False}, "wrong prediction"),
        ({"exact": False, "crash": "killed by signal 9"}, "crash"),
    ],
)
def test_the_worst_thing_that_happened_is_the_verdict(change: dict[str, Any], expected: str) -> None:
    assert tables.verdict(EXACT | change) == expected


def test_a_refused_capture_is_no_crash() -> None:
    assert tables.verdict({"refused": "the network returns a list, not one tensor"}) == "refused"


def test_totals_count_every_kind_of_failure() -> None:
    rows = [EXACT, EXACT | {"exact": False, "error": 0.1}, {"crash": "x"}, {"refused": "y"}]
    rows.append({"refused": jobs.NOT_MEASURED})

    assert tables.cutting_totals(rows) == [
        "**5 networks: 1 cut exactly, 1 crashes, 1 failed oracles, 0 changed output shapes, "
        "0 costs that were not as predicted, 1 refused captures, 1 not measured.**",
        "Largest oracle error 1e-01. 0 networks have nothing that may be cut; 0 cuts left the answer as "
        "it was.",
    ]


def test_a_row_shows_everything_that_was_measured() -> None:
    assert tables.cutting_table([("net", EXACT)])[-1] == (
        "| net | 3x8x8 | 2 of 3 | 1 the network's output | 2.00 -> 0.50 G | 4.00 -> 1.00 M | "
        "1.00 / 0.25 / 0.12 | 1,234 | 2 MB (2.5x) | 2e-16 |"
    )


def test_a_crash_after_the_timed_part_keeps_its_figures() -> None:
    row = {key: value for key, value in EXACT.items() if key not in {"error", "exact", "same_shapes"}}
    line = tables.cutting_table([("net", row | {"crash": "not done after 1200 s (during: oracle)"})])[-1]

    assert "2.00 -> 0.50 G" in line
    assert line.endswith("| crash: not done after 1200 s (during: oracle) |")


def test_rows_stay_within_their_cells() -> None:
    for row in (EXACT, {"crash": "a | b\nc"}, {"refused": "a | b"}):
        header, _, line = tables.cutting_table([("net", row)])
        assert line.replace("\\|", "").count("|") == header.count("|")


def test_a_long_complaint_keeps_its_beginning_and_its_end() -> None:
    text = tables.shortened("The network refuses this. " + "x" * 500 + " (capture.py:3)")

    assert len(text) < 250
    assert text.startswith("The network refuses this.")
    assert text.endswith("(capture.py:3)")


def test_the_slowest_and_the_hungriest_are_named_on_both_sides_of_100_million() -> None:
    large = EXACT | {"parameters": [200_000_000, 1], "seconds": {"capture": 30.0}, "model_bytes": 8e8}

    assert tables.time_and_memory([("small", EXACT), ("large", large), ("gone", {"crash": "x"})]) == [
        "- up to 100 M parameters: at most 1.4 s (small), at most 2.5 times the model (small, 1 MB).",
        "- over 100 M parameters: at most 30.0 s (large), at most 0.0 times the model (large, 800 MB).",
    ]


def test_growth_finds_the_slope() -> None:
    (ours,) = tables.growth([(100, 1.0, None), (200, 2.0, None), (400, 4.0, None)])

    assert "10.00 ms per node" in ours
    assert "power 1.00" in ours
    assert "1.00 times those of the smallest" in ours


def test_the_last_column_needs_the_bar_and_the_peer() -> None:
    theirs = {"torchs": [100, 30]}
    for after, expected in ((20, "yes"), (35, "one of two"), (60, "no")):
        ours = {"own": [100, after], "torchs": [100, after]}
        assert tables.reached((1.0, 0.4), ours, theirs) == expected
    assert tables.reached((1.0, 0.4), {"crash": "x"}, theirs) == "no"


def test_failures_of_random_networks_are_counted_over_all_batches_and_machines() -> None:
    failure = {"why": "AssertionError", "line": "assert x", "drawn": "..."}
    here = {"machine": "a, 2 cores", "versions": "torch 2.13.0", "taken": "2026-11-20 10:00"}
    there = {"machine": "b, 16 cores", "versions": "torch 2.11.0", "taken": "2026-11-21 10:00"}
    rows = [
        here | {"examples": 50, "failures": [], "seconds": 60},
        there | {"examples": 50, "failures": [failure], "seconds": 30},
        there | {"examples": 50, "failures": [], "seconds": 30, "taken": "2026-11-21 11:00"},
        there | {"crash": "killed by signal 9"},
        {"refused": jobs.NOT_MEASURED},
    ]

    assert tables.random_lines(rows) == [
        "**150 random networks and plans, 1 failures.**",
        "",
        "- 50 of them up to 2026-11-20 10:00 UTC on a, 2 cores, torch 2.13.0: 60 s of one process.",
        "- 100 of them up to 2026-11-21 11:00 UTC on b, 16 cores, torch 2.11.0: 60 s of one process.",
        "- 1 of 5 batches were not drawn.",
        "- A batch of examples crashed: killed by signal 9",
        "- AssertionError: `assert x`",
    ]


def columns(line: str) -> int:
    return line.replace("\\|", "").count("|")


def test_every_table_keeps_its_columns_whatever_crashed() -> None:
    crash = {"crash": "not done | after 150 s"}
    ours = {"own": [2e9, 1e9], "torchs": [2e9, 1e9], "error": 0.0, "seconds": 1.0, "same_shapes": True}
    steps = ("capture", "couple", "screen", "plan", "shrink")
    here = {"nodes": 100, "seconds": dict.fromkeys(steps, 0.1)}
    there = {"seconds": {"graph": 0.1, "step": 0.2}}
    pattern = {
        "error": 0.0,
        "refused_groups": {},
        "free": {"stem": ["channels", 8]},
        "locked": {"head": "the network's output (output)", "body": "a | reason"},
        "peer": "crash",
        "peer_detail": "IndexError: a | b",
    }
    for made in (
        tables.reduction_table([("a", (1.0, 0.5), ours, ours), ("b", (1.0, 0.5), crash, crash)]),
        tables.scaling_table(
            [("a", [here], [there]), ("b", [here | {"nodes": 200}], [crash]), ("c", [crash], [crash])]
        ),
        tables.pattern_table([("a", "b", pattern), ("c", "d", crash)]),
    ):
        lines = [line for line in made if line.startswith("|")]
        assert {columns(line) for line in lines} == {columns(lines[0])}, lines


def test_patterns_count_as_whole_when_only_the_output_is_locked() -> None:
    free, output = {"stem": ["channels", 8]}, {"head": "the network's output (output)"}
    row = {"error": 0.0, "refused_groups": {}, "free": free, "locked": output, "peer": "crash"}
    rows = [row, row | {"locked": output | {"body": "why"}, "peer": "right"}, {"crash": "x"}]

    assert tables.pattern_totals(rows) == [
        "**3 patterns. edgeprune: 2 exact, 1 of them with nothing locked but the output. "
        "Torch-Pruning: 1 crash, 1 right, 1 no answer.**"
    ]


# What is cut


def test_half_of_the_units_are_kept_and_always_the_same() -> None:
    first, again = cutting.halved([group(5)]), cutting.halved([group(5)])

    assert first == again
    assert [len(cut.kept) for cut in first] == [2]
    kept = cutting.halved([group(64)])[0].kept
    # Every second one could be the attention of every layer, and nothing else.
    assert {place % 2 for place in kept} == {0, 1}


@pytest.mark.parametrize(
    ("units", "width", "kept"),
    [(64, 1, 32), (24, 1, 8), (40, 1, 16), (15, 1, 0), (16, 1, 8), (6, 4, 2), (8, 32, 4), (3, 8, 1)],
)
def test_kept_widths_are_multiples_of_eight_and_at_most_half(units: int, width: int, kept: int) -> None:
    cuts = reductions.aligned([group(units, width)])

    assert [len(cut.kept) for cut in cuts] == ([kept] if kept else [])


def test_a_missing_rule_is_counted_by_operator() -> None:
    unknown = Reason("read by an operator without a rule", "aten.roll.default", "net.py:3")
    output = Reason("the network's output", "output")

    assert cutting.locked_reasons(
        [group(4, 1, unknown), group(4, 1, unknown), group(4, 1, output), group(4)]
    ) == {
        "read by an operator without a rule: aten.roll.default": 2,
        "the network's output": 1,
    }


def test_the_peers_worst_answer_counts() -> None:
    right, nothing = ("right", "8 -> 4 parameters"), ("prunes nothing", "")

    assert patterns.worst([nothing, right]) == right
    assert patterns.worst([right, nothing]) == nothing
    assert patterns.worst([right, ("wrong numbers", "a"), nothing]) == ("wrong numbers", "a")
    assert patterns.worst([("crash", "b"), ("wrong numbers", "a"), right]) == ("crash", "b")


def test_every_pattern_has_its_situation() -> None:
    assert len(patterns.PATTERNS) == 31
    assert set(patterns.PATTERNS.values()) <= set(patterns.situations())


def test_random_networks_go_on_where_they_stopped_and_lines_of_two_machines_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "RESULTS", tmp_path)
    measured = []

    def draw(job: jobs.Job) -> dict[str, Any]:
        measured.append(job.name)
        return {"examples": 50, "failures": [], "sources": jobs.sources("random")}

    monkeypatch.setattr(jobs, "_measured", draw)
    first, second = tmp_path / "one" / "first.jsonl", tmp_path / "second.jsonl"
    main.random_section(main.Request(only=("0", "1"), processes=2, lines=first))
    main.random_section(main.Request(only=("0", "1"), lines=first))
    main.random_section(main.Request(only=("2",), lines=second))
    assert sorted(measured) == ["0-100", "1-100", "2-100"]

    # A line that was cut off in the middle is as if it had not been written.
    first.write_text(first.read_text() + second.read_text() + '{"job": "3-100", "exa')
    page = main.random_section(main.Request(kept=True, lines=first))

    assert "**150 random networks and plans, 0 failures.**" in page
    assert "- 97 of 100 batches were not drawn." in page


def test_results_of_other_sources_are_drawn_again_but_may_be_written_down(tmp_path: Path) -> None:
    lines = jobs.Lines(tmp_path / "lines.jsonl", "random")
    lines.add(jobs.Job("random", ("0", "50")), {"examples": 50, "sources": "older"})

    assert list(lines.read()) == ["0-50"]
    assert lines.read(current=True) == {}


def test_packages_that_are_not_installed_have_no_version() -> None:
    assert page.versions(["numpy", "no-such-package"]) == f"numpy {np.__version__}"


def test_each_random_network_is_cut_by_several_plans(tmp_path: Path) -> None:
    notes = child.Notes(tmp_path / "found.json")
    random_networks.try_networks(notes, "0", str(2 * random_networks.PLANS))
    assert (notes.found["examples"], notes.found["failures"]) == (2 * random_networks.PLANS, [])
    assert (
        random_networks.EXAMPLES % random_networks.CHUNK == random_networks.CHUNK % random_networks.PLANS == 0
    )


def test_a_cut_that_is_not_exact_is_counted_and_the_next_plan_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test, notes, calls = random_networks.property_test(), child.Notes(tmp_path / "found.json"), []

    def wrong(coupling: object, cuts: object) -> None:
        calls.append(cuts)
        assert len(calls) > 1

    monkeypatch.setattr(test, "require_exact_and_as_predicted", wrong)
    random_networks.try_networks(notes, "0", str(random_networks.PLANS))
    assert len(calls) == notes.found["examples"] == random_networks.PLANS
    assert len(notes.found["failures"]) == 1


# Networks


def test_a_hundred_timm_models_are_listed_once_and_sorted() -> None:
    assert len(networks.TIMM) == 100
    assert sorted(set(networks.TIMM)) == networks.TIMM


def test_all_torchvision_builders_are_there_and_the_largest_come_last() -> None:
    found = networks.torchvision_networks()
    sizes = [networks.torchvision_parameters(one.name) for one in found]

    assert sum(one.family == "classification" for one in found) == 80
    assert {one.family for one in found} == set(networks.FAMILIES)
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    ("name", "family", "sizes"),
    [
        ("resnet18", "classification", ((3, 224, 224),)),
        ("inception_v3", "classification", ((3, 299, 299),)),
        ("swin_v2_t", "classification", ((3, 256, 256),)),
        ("vit_h_14", "classification", ((3, 224, 224),)),
        ("r3d_18", "video", ((3, 16, 112, 112),)),
        ("ssd300_vgg16", "detection", ((3, 300, 300),)),
        ("raft_small", "optical_flow", ((3, 128, 128), (3, 128, 128))),
    ],
)
def test_inputs_are_the_networks_own(name: str, family: str, sizes: networks.Sizes) -> None:
    assert networks.torchvision_sizes(name, family) == sizes


def test_every_torchvision_builder_has_an_input() -> None:
    for one in networks.torchvision_networks():
        for size in networks.torchvision_sizes(one.name, one.family):
            assert len(size) in {3, 4}


def test_no_weight_of_a_woken_network_is_constant_and_gains_stay_positive() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1))
    nn.init.zeros_(module[2].weight)
    random = module[0].weight.detach().clone()

    networks.woken(module)

    for name, tensor in module.named_parameters():
        assert float(tensor.detach().std()) > 1e-3, name
    assert float(module[1].running_var.min()) > 0.5
    assert torch.equal(module[0].weight, random)


# Jobs


def test_every_kind_of_job_has_its_function_and_its_sources() -> None:
    for kind, place in child.KINDS.items():
        module, _, function = place.partition(":")
        assert callable(getattr(importlib.import_module(f"benchmarks.zoo.{module}"), function))
        assert len(jobs.sources(kind)) == 16


def test_a_killed_process_leaves_what_it_knew(tmp_path: Path) -> None:
    notes = child.Notes(tmp_path / "row.json")
    notes.doing("oracle", nodes=7)

    left = json.loads((tmp_path / "row.json").read_text())
    assert (left["doing"], left["nodes"]) == ("oracle", 7)


def test_results_of_the_same_sources_are_reused_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "RESULTS", tmp_path)
    monkeypatch.setattr(jobs, "_measured", lambda job: {"measured": True})
    job = jobs.Job("network", ("timm", "net", ""))
    job.file.parent.mkdir(parents=True)
    for kept, expected in (
        ({"sources": jobs.sources("network")}, {"sources": jobs.sources("network")}),
        ({"sources": "older"}, {"measured": True}),
        ({"sources": jobs.sources("network"), "doing": "oracle"}, {"measured": True}),
    ):
        job.file.write_text(json.dumps(kept))
        assert jobs.run_jobs([job]) == [expected]
    job.file.write_text(json.dumps({"sources": jobs.sources("network")}))
    assert jobs.run_jobs([job], fresh=True) == [{"measured": True}]


def test_a_crash_names_its_type_line_and_step() -> None:
    try:
        raise ValueError("no such axis\nmore")
    except ValueError as error:
        text = child.crash_text(error, "couple")

    assert text.startswith("ValueError: no such axis (test_zoo_benchmark.py:")
    assert text.endswith("during: couple)")


def test_a_network_is_measured_in_a_process_of_its_own_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way of one row, on the smallest job there is; a pattern needs torch-pruning."""
    pytest.importorskip("torch_pruning", reason="torch-pruning is not installed; `make zoo` brings it")
    monkeypatch.setattr(jobs, "RESULTS", tmp_path)

    (row,) = jobs.run_jobs([jobs.Job("pattern", ("frozen",), 120)])

    assert row["error"] <= 1e-9
    assert row["peer"] == "prunes nothing"
    assert "crash" not in row


def test_ctrl_c_in_a_child_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "RESULTS", tmp_path)
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, -signal.SIGINT)
    )
    job = jobs.Job("network", ("timm", "net", ""))

    with pytest.raises(KeyboardInterrupt):
        jobs.run_jobs([job])

    assert not job.file.exists()

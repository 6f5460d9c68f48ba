"""`edgeprune inspect`: every group, what it would save, and why it is locked."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from command import ROOT, Here

from cli.conftest import DIGITS

WORDS_AND_IMAGE = """\
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.image, self.head = nn.Embedding(11, 8), nn.Linear(12, 8), nn.Linear(8, 3)

    def forward(self, words, image):
        return self.head(self.table(words).mean(1) + self.image(image))
"""

ATTENTION = """\
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x):
        return self.attend(x, x, x, need_weights=False)[0]
"""
GROUPED = """\
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 12, 3), nn.Conv2d(12, 8, 1, groups=4), nn.Conv2d(8, 4, 1))
"""
LANES = """\
 group     kind      units  members  MACs    parameters
 0/groups  groups    4      5        75.0 %  74.3 %
 0         channels  3      3        61.1 %  59.4 %      each of 4 groups may keep different channels
 1         channels  2      3        7.4 %   7.9 %       each of 4 groups may keep different channels
 2         channels  4      2                            locked: the network's output
input 3x6x6: 6.08 k MACs, 404 parameters; 1 of 4 groups locked
with one unit left in every free group: 512 MACs, 38 parameters
"""
TABLE = """\
 group              kind      units  members  MACs    parameters
 stem.0             channels  32     18       34.6 %  15.4 %
 fine.first.0       channels  32     6        29.9 %  9.7 %
 halve.plain.0      channels  32     18       34.9 %  45.2 %
 halve.pointwise.0  channels  32     18       31.5 %  40.9 %
 coarse1.first.0    channels  64     6        30.4 %  39.3 %
 coarse2.first.0    channels  64     6        30.4 %  39.3 %
 head.0             channels  96     6        2.6 %   3.9 %
 classify           channels  10     2                            locked: the network's output
 blocks             blocks    3      30       61.7 %  80.0 %
input 1x8x8: 3.83 M MACs, 185 k parameters; 1 of 9 groups locked
with one unit left in every free group: 2.07 k MACs, 82 parameters
"""
TREE = """\
1x8x8
├── stem
│   └── 0: conv2d 1 -> 32, 32 channels
├── fine
│   ├── first
│   │   └── 0: conv2d 32 -> 32, 32 channels
│   └── second
│       └── 0: conv2d 32 -> 32, with stem.0
├── halve
│   ├── plain
│   │   └── 0: conv2d 32 -> 32, 32 channels
│   ├── depthwise
│   │   └── 0: conv2d 32, with stem.0
│   └── pointwise
│       └── 0: conv2d 32 -> 32, 32 channels
├── coarse1, coarse2 x2
│   ├── first
│   │   └── 0: conv2d 64 -> 64, 64 channels
│   └── second
│       └── 0: conv2d 64 -> 64, with halve.plain.0 and 1 more
├── head
│   └── 0: conv2d 64 -> 96, 96 channels
└── classify: linear 96 -> 10, 10 channels; locked: the network's output
"""
FOLDED = """\
 group             kind      units   members  MACs    parameters
 embed and 1 more  channels  12..20  18                           locked: normalised over this axis (layer_norm, normed.py:12, normed.py:25)
 blocks.0.up       channels  32      3        37.2 %  32.5 %
 blocks.1.up       channels  32      3        37.2 %  32.5 %
 head              channels  10      2                            locked: the network's output
 blocks            blocks    2       12       38.4 %  35.0 %
input 6x16: 12 k MACs, 2.39 k parameters; 3 of 6 groups locked
with one unit left in every free group: 2.94 k MACs, 775 parameters
ceiling if layer_norm were allowed: 124 MACs, 47 parameters
locked (2): allow it with --allow-inexact layer_norm
"""  # noqa: E501 - as wide as it is printed
NORMED_TREE = """\
6x16
├── embed: linear 16 -> 12, 12 channels; locked: normalised over this axis (layer_norm, normed.py:12)
├── blocks
│   └── 0..1 x2
│       ├── up: linear 12 -> 32, 32 channels
│       └── down: linear 32 -> 12, with embed (locked)
├── widen: linear 12 -> 20, 20 channels; locked: normalised over this axis (layer_norm, normed.py:25)
└── head: linear 20 -> 10, 10 channels; locked: the network's output
"""
ALLOWED = """\
 group        kind      units  members  MACs    parameters
 embed        channels  12     13       90.1 %  78.8 %      not exact under layer_norm
 blocks.0.up  channels  32     3        37.2 %  32.5 %
 blocks.1.up  channels  32     3        37.2 %  32.5 %
 widen        channels  20     5        13.0 %  19.9 %      not exact under layer_norm
 head         channels  10     2                            locked: the network's output
 blocks       blocks    2      12       38.4 %  35.0 %
input 6x16: 12 k MACs, 2.39 k parameters; 1 of 6 groups locked
with one unit left in every free group: 124 MACs, 47 parameters
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_groups_of_the_embedded_example(here: Here) -> None:
    answer = here("inspect", DIGITS)
    assert (answer.code, answer.text, answer.err) == (0, TABLE, "")


def test_the_readme_shows_it_as_it_is_printed() -> None:
    assert f"```text\n{TABLE}```" in (ROOT / "README.md").read_text()


def test_json_fits_the_published_schema(here: Here) -> None:
    document = json.loads(here("inspect", DIGITS, "--json").out)
    schema = json.loads(here("schema", "inspection").out)
    jsonschema.validate(document, schema, cls=jsonschema.Draft202012Validator)
    assert document["cost"]["parameters"] == 184906
    assert [row["id"] for row in document["groups"] if row["locked"]] == ["classify"]
    assert next(row["macs"] for row in document["groups"] if row["id"] == "blocks") == 2359296


def test_an_architecture_alone_is_enough(here: Here) -> None:
    arch = f"{DIGITS.with_name('model.py')}:digits_net"
    answer = here("inspect", "--arch", arch, "--input", "1x8x8")
    assert (answer.code, answer.text) == (0, TABLE)


def test_the_module_hierarchy_with_siblings_that_look_alike_once(here: Here) -> None:
    answer = here("inspect", DIGITS, "--tree")
    summary = "".join(TABLE.splitlines(keepends=True)[-2:])
    assert (answer.code, answer.text, answer.err) == (0, TREE + summary, "")


def test_groups_locked_alike_share_a_line_and_say_what_would_free_them(here: Here, normed: list[str]) -> None:
    answer = here("inspect", *normed)
    assert (answer.code, answer.text, answer.err) == (0, FOLDED, "")
    assert here("inspect", *normed, "--tree").text.startswith(NORMED_TREE)


def test_all_gives_every_locked_group_and_every_sibling_a_line_of_its_own(
    here: Here, normed: list[str]
) -> None:
    lines = here("inspect", *normed, "--all").text.splitlines()
    assert [line.split()[0] for line in lines[1:7]] == [
        *("embed", "blocks.0.up", "blocks.1.up", "widen", "head", "blocks"),
    ]
    tree = here("inspect", *normed, "--tree", "--all").text
    assert " x2" not in tree
    assert tree.count("up: linear 12 -> 32, 32 channels") == 2


def test_heads_are_told_at_the_layer_that_makes_them(here: Here, desk: Path) -> None:
    (desk / "net.py").write_text(ATTENTION)
    tree = here("inspect", "--arch", "net.py:Net", "--input", "6x16", "--tree").text
    assert "attend: linear 16 -> 48, 2 heads, 8 width\n" in tree


def test_groups_that_may_keep_different_channels_are_marked(here: Here, desk: Path) -> None:
    (desk / "net.py").write_text(GROUPED)
    answer = here("inspect", "--arch", "net.py:Net", "--input", "3x6x6")
    assert (answer.code, answer.text, answer.err) == (0, LANES, "")


def test_what_an_allowed_operator_frees_is_marked(here: Here, normed: list[str]) -> None:
    answer = here("inspect", *normed, "--allow-inexact", "layer_norm")
    assert (answer.code, answer.text, answer.err) == (0, ALLOWED, "")


def test_an_operator_that_cannot_be_allowed(here: Here, normed: list[str]) -> None:
    answer = here("inspect", *normed, "--allow-inexact", "layernorm")
    assert (answer.code, answer.refusal) == (
        2,
        ("'layernorm' is no inexact operator that can be allowed", "did you mean 'layer_norm'?"),
    )


def test_several_inputs_and_integers(here: Here, desk: Path) -> None:
    (desk / "net.py").write_text(WORDS_AND_IMAGE)
    answer = here("inspect", "--arch", "net.py:Net", "--input", "5:int<11", "--input", "12")
    assert answer.code == 0
    assert "input 5:int<11 and 12: " in answer.text
    assert [line.split()[:3] for line in answer.text.splitlines()[1:3]] == [
        ["table", "channels", "8"],
        ["head", "channels", "3"],
    ]


def test_an_input_that_is_none(here: Here) -> None:
    answer = here("inspect", "--arch", "net.py:Net", "--input", "5:float")
    assert (answer.code, answer.refusal) == (
        2,
        (
            "--input '5:float' is not an input",
            "write 3x224x224, or 16:int<30000 for integers; several inputs: --input once for each",
        ),
    )


def test_nothing_to_inspect(here: Here) -> None:
    answer = here("inspect")
    assert (answer.code, answer.refusal) == (
        2,
        ("nothing to inspect", "give a model file, or --arch and --input"),
    )

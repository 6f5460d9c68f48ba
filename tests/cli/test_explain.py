"""`edgeprune explain`: the way of one layer's channels, in lines."""

from __future__ import annotations

import json

import jsonschema
import pytest
from command import ROOT, Here

from cli.conftest import DIGITS

STEM = """\
stem.0: conv2d 1 -> 32 (model.py:30)
its input comes from the network's input
group stem.0: 32 channels, may be cut
  pass  batch_norm (stem.1, model.py:30)
  pass  relu (model.py:30)
  read  conv2d (fine.first.0, model.py:47)
  meet  add (fine, model.py:47): cut alike with fine.second.0
  pass  relu (fine, model.py:47)
  pass  conv2d (halve.depthwise.0, model.py:61)
  pass  batch_norm (halve.depthwise.1, model.py:61)
  pass  relu (halve, model.py:61)
  read  conv2d (halve.pointwise.0, model.py:61)
  read  conv2d (halve.plain.0, model.py:62)
one unit of stem.0: 42.7 k MACs, 920 parameters
  stem.0.weight 9, stem.1.weight 1, stem.1.bias 1, fine.first.0.weight 288 and 8 more
"""
EMBED = """\
embed: linear 16 -> 12 (normed.py:25)
its input comes from the network's input
group embed: 12 channels, locked
  normalised over this axis (layer_norm, normed.py:12)
  allow it with --allow-inexact layer_norm
  pass  layer_norm (blocks.0.norm, normed.py:12)
  read  linear (blocks.0.up, normed.py:12)
  meet  add (blocks.0, normed.py:12): cut alike with blocks.0.down
  pass  layer_norm (blocks.1.norm, normed.py:12)
  read  linear (blocks.1.up, normed.py:12)
  meet  add (blocks.1, normed.py:12): cut alike with blocks.1.down
  read  linear (widen, normed.py:25)
one unit of embed: 984 MACs, 171 parameters
  embed.weight 16, embed.bias 1, blocks.0.norm.weight 1, blocks.0.norm.bias 1 and 9 more
"""
BLOCK = """\
blocks.1.norm: layer_norm 12 (normed.py:12)
  group embed: 12 channels, locked
    normalised over this axis (layer_norm, normed.py:12)
    allow it with --allow-inexact layer_norm
  read by linear (blocks.1.up, normed.py:12)
blocks.1.up: linear 12 -> 32 (normed.py:12)
  group blocks.1.up: 32 channels, may be cut
  read by linear (blocks.1.down, normed.py:12)
blocks.1.down: linear 32 -> 12 (normed.py:12)
  group embed: 12 channels, locked
    normalised over this axis (layer_norm, normed.py:12)
    allow it with --allow-inexact layer_norm
  read by linear (widen, normed.py:25)
"""
UP = """\
blocks.1.up: linear 12 -> 32 (normed.py:12)
its input comes from embed, blocks.0.down
group blocks.1.up: 32 channels, may be cut
  pass  relu (blocks.1, normed.py:12)
  read  linear (blocks.1.down, normed.py:12)
one unit of blocks.1.up: 144 MACs, 25 parameters
  blocks.1.up.weight 12, blocks.1.up.bias 1, blocks.1.down.weight 12
it goes altogether where the residual branch blocks.1 is cut (group blocks)
"""


def test_the_first_layer_of_the_embedded_example(here: Here) -> None:
    answer = here("explain", DIGITS, "stem.0")
    assert (answer.code, answer.out, answer.err) == (0, STEM, "")


def test_the_readme_shows_it_as_it_is_printed(here: Here) -> None:
    shown = here("explain", DIGITS, "coarse1.first.0").out
    assert f"```text\n{shown}```" in (ROOT / "README.md").read_text()


def test_a_lock_and_a_branch_are_told_without_weights(here: Here, normed: list[str]) -> None:
    answer = here("explain", "embed", *normed)
    assert (answer.code, answer.out, answer.err) == (0, EMBED, "")
    assert here("explain", "blocks.1.up", *normed).out == UP


def test_the_start_of_a_name_explains_every_layer_below_briefly(here: Here, normed: list[str]) -> None:
    assert here("explain", "blocks.1", *normed).out == BLOCK


def test_what_is_allowed_is_no_lock_but_is_told(here: Here, normed: list[str]) -> None:
    lines = here("explain", "embed", *normed, "--allow-inexact", "layer_norm").out.splitlines()
    assert lines[2] == "group embed: 12 channels, not exact under layer_norm"


def test_json_fits_the_published_schema_and_names_everything(here: Here) -> None:
    document = json.loads(here("explain", DIGITS, "stem.0", "--json").out)
    schema = json.loads(here("schema", "explanation").out)
    jsonschema.validate(document, schema, cls=jsonschema.Draft202012Validator)
    (layer,) = document["layers"]
    (group,) = layer["groups"]
    assert len(group["parameters"]) == 12
    assert sum(group["parameters"].values()) == 920


def test_all_shows_every_name(here: Here) -> None:
    shown = here("explain", DIGITS, "stem.0", "--all").out
    assert " more" not in shown
    assert "halve.plain.0.weight 288" in shown


@pytest.mark.parametrize("layer", ["stemm.0", "stem.0.weight"])
def test_an_unknown_layer(here: Here, layer: str) -> None:
    answer = here("explain", DIGITS, layer)
    assert (answer.code, answer.refusal) == (2, (f"no layer is called '{layer}'", "did you mean 'stem.0'?"))


def test_no_layer(here: Here) -> None:
    answer = here("explain", DIGITS)
    assert (answer.code, answer.refusal) == (
        2,
        ("no layer is named", "edgeprune explain MODEL layer4.0.conv1"),
    )

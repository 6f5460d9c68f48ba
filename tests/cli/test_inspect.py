"""`edgeprune inspect`: every group, what it would save, and why it is locked."""

from __future__ import annotations

import json

import jsonschema
from command import Here

from cli.conftest import DIGITS

TABLE = """\
 group              units  members  MACs    parameters  locked because
 blocks             3      0        61.7 %  80.0 %
 halve.plain.0      32     18       34.9 %  45.2 %
 stem.0             32     18       34.6 %  15.4 %
 halve.pointwise.0  32     18       31.5 %  40.9 %
 coarse1.first.0    64     6        30.4 %  39.3 %
 coarse2.first.0    64     6        30.4 %  39.3 %
 fine.first.0       32     6        29.9 %  9.7 %
 head.0             96     6        2.6 %   3.9 %
 classify           10     2                            the network's output (output)
input 1x8x8: 3.83 M MACs, 185 k parameters; 1 of 9 groups locked
with one unit left in every free group: 2.07 k MACs, 82 parameters
"""


def test_the_groups_of_the_embedded_example(here: Here) -> None:
    answer = here("inspect", DIGITS)
    assert (answer.code, answer.text, answer.err) == (0, TABLE, "")


def test_json_fits_the_published_schema(here: Here) -> None:
    document = json.loads(here("inspect", DIGITS, "--json").out)
    schema = json.loads(here("schema", "inspection").out)
    jsonschema.validate(document, schema, cls=jsonschema.Draft202012Validator)
    assert document["cost"]["parameters"] == 184906
    assert [row["id"] for row in document["groups"] if row["locked"]] == ["classify"]


def test_an_architecture_alone_is_enough(here: Here) -> None:
    arch = f"{DIGITS.with_name('model.py')}:digits_net"
    answer = here("inspect", "--arch", arch, "--input", "1x8x8")
    assert (answer.code, answer.text) == (0, TABLE)


def test_nothing_to_inspect(here: Here) -> None:
    answer = here("inspect")
    assert (answer.code, answer.refusal) == (
        2,
        ("nothing to inspect", "give a model file, or --arch and --input"),
    )

"""`edgeprune schema`: the shape of every document, as JSON Schema."""

from __future__ import annotations

import json

import jsonschema
import pytest
from command import Here

from edgeprune.cli.schema import _documents


@pytest.mark.parametrize("name", sorted(_documents()))
def test_every_document_has_a_valid_schema(here: Here, name: str) -> None:
    answer = here("schema", name)
    shape = json.loads(answer.out)
    jsonschema.Draft202012Validator.check_schema(shape)
    assert (answer.code, answer.err) == (0, "")
    assert shape["properties"]["kind"]["const"] == f"{name}/1"
    assert shape["additionalProperties"] is False

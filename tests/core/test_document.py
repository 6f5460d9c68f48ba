"""A document says all its faults at once, and comes back from a file as it was written."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgeprune.core
from core.documents import EXAMPLES, REQUEST
from edgeprune.core.document import Document, read_mapping
from edgeprune.core.errors import DocumentError
from edgeprune.core.plan import Plan
from edgeprune.core.recipe import Recipe
from edgeprune.core.report import Delivery
from edgeprune.core.target import Target

FAULTY = """\
nam = "board"
threads = 0
precisions = ["fp32", "fp64"]

[host]
machin = "aarch64"

[runtimes]
onnx = "onnxruntime"

[channels]
multiple = "eight"
source = "a guess"
"""


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def kinds(cls: type[Document] = Document) -> Iterator[type[Document]]:
    for child in cls.__subclasses__():
        if "kind" in child.model_fields and isinstance(child.model_fields["kind"].default, str):
            yield child
        yield from kinds(child)


def test_all_faults_of_a_file_are_reported_at_once_with_key_paths(tmp_path: Path) -> None:
    path = written(tmp_path, "board.toml", FAULTY)
    with pytest.raises(DocumentError) as caught:
        Target.load(path)
    assert caught.value.message == (
        f"{path}: 8 faults\n"
        "  name: missing\n"
        "  summary: missing\n"
        "  host.machine: missing\n"
        "  host.machin: unknown key (did you mean 'machine'?)\n"
        "  precisions.1: input should be 'fp32', 'fp16', 'int8-static', 'int8-dynamic', "
        "'int8-weight-only', 'int8w-int16a' or 'int4-weight-only'\n"
        "  threads: input should be greater than 0\n"
        "  channels.multiple: input should be a valid integer, unable to parse string as an integer\n"
        "  nam: unknown key (did you mean 'name'?)"
    )


def test_a_single_fault_takes_one_line() -> None:
    with pytest.raises(DocumentError) as caught:
        Recipe.parse({"input": "3x8x8", "weather": "fine"}, source="edgeprune.toml")
    assert caught.value.message == "edgeprune.toml: weather: unknown key"


def test_a_rule_of_ours_is_reported_in_our_words() -> None:
    plan = next(one for one in EXAMPLES if isinstance(one, Plan)).model_dump()
    plan["cuts"] = [{"group": "body", "units": 4, "kept": [3, 0]}]
    with pytest.raises(DocumentError) as caught:
        Plan.parse(plan, source="plan.json")
    assert caught.value.message == "plan.json: cuts.0: kept must be ascending, each unit once"


def test_another_kind_of_document_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", '{"kind": "recipe/2"}')
    with pytest.raises(DocumentError) as caught:
        Recipe.load(path)
    assert caught.value.message == f"{path}: kind: input should be 'recipe/1'"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"kind": ', "not valid JSON: Expecting value: line 1 column 10 (char 9)"),
        ("a.toml", "kind = \nx = 1", "not valid TOML: Invalid value (at line 1, column 8)"),
        ("b.json", "[1, 2]", "expected a table of keys at the top level"),
    ],
)
def test_a_broken_file_says_where_it_breaks(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = written(tmp_path, name, text)
    with pytest.raises(DocumentError) as caught:
        read_mapping(path)
    assert caught.value.message == f"{path}: {message}"


def test_an_absent_file_a_folder_and_other_encodings_are_refused(tmp_path: Path) -> None:
    absent, latin = tmp_path / "absent.toml", tmp_path / "latin.toml"
    latin.write_bytes('name = "ü"'.encode("latin-1"))
    for path, message in (
        (absent, f"{absent}: no such file"),
        (tmp_path, f"{tmp_path}: cannot be read ([Errno 21] Is a directory: '{tmp_path}')"),
        (latin, f"{latin}: cannot be read ('utf-8' codec can't decode byte 0xfc in position 8: "),
    ):
        with pytest.raises(DocumentError) as caught:
            read_mapping(path)
        assert caught.value.message.startswith(message)


def test_lists_of_numbers_take_one_line_and_texts_stay_as_they_are() -> None:
    parsed = Recipe.parse({"labels": ["[ 1, 2 ]", "cat"], "preprocess": {"mean": [0.5, -1e-7, 2]}}, source="")
    assert parsed.to_json() == (
        "{\n"
        '  "kind": "recipe/1",\n'
        '  "arch": null,\n'
        '  "input": null,\n'
        '  "data": null,\n'
        '  "labels": [\n'
        '    "[ 1, 2 ]",\n'
        '    "cat"\n'
        "  ],\n"
        '  "preprocess": {\n'
        '    "crop": null,\n'
        '    "scale": null,\n'
        '    "mean": [0.5, -1e-07, 2.0],\n'
        '    "std": []\n'
        "  },\n"
        '  "augment": null\n'
        "}"
    )


def test_every_kind_of_document_has_an_example() -> None:
    for module in pkgutil.iter_modules(edgeprune.core.__path__, "edgeprune.core."):
        importlib.import_module(module.name)
    assert {type(one) for one in EXAMPLES} == set(kinds())


@pytest.mark.parametrize("document", EXAMPLES, ids=lambda one: type(one).__name__)
def test_a_document_comes_back_from_its_file_unchanged(tmp_path: Path, document: Document) -> None:
    path = tmp_path / "document.json"
    document.save(path)
    assert type(document).load(path) == document
    assert json.loads(path.read_text())["kind"] == document.kind


def test_a_document_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="Instance is frozen"):
        REQUEST.seed = 4


def test_documents_without_a_kind_come_back_too(tmp_path: Path) -> None:
    delivery = Delivery(artifacts=(), failed={"tflite": "no operator"})
    delivery.save(tmp_path / "a.json")
    assert Delivery.load(tmp_path / "a.json") == delivery

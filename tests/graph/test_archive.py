"""A torch.export archive is loaded only when it can do no more than hold a program.

The hostile archives below are real: one child process loads, unlifts and runs most of them, and the file
each of them leaves behind proves that refusing it is not caution about nothing.
"""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from edgeprune.graph.archive.program import check_program
from edgeprune.graph.archive.recognise import named_globals, recognise
from edgeprune.graph.archive.scan import scan
from edgeprune.graph.capture import capture, from_exported

Members = dict[str, bytes]
Attack = Callable[[Members, Path], None]

SAMPLES = "data/sample_inputs/model.pt"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


class Tiny(nn.Module):
    """A parameter, a buffer and a constant: one of each table's entries."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.register_buffer("scale", torch.ones(2))
        self.shift = torch.ones(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.scale + self.shift


class Shapes(nn.Module):
    """Guards, symbolic sizes, a branch and a dict output."""

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        grown = nn.functional.interpolate(x[None, None], size=(x.shape[0] * 3 // 2, x.shape[1]))
        branch = torch.cond(x.sum() > 0, lambda v: v + 1, lambda v: v - 1, (x,))
        return {"a": x.view(-1, 6)[::2] + 1, "b": branch, "c": y.reshape(x.shape[0] * 2, -1), "d": grown}


class Unbacked(nn.Module):
    """Sizes that depend on values."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            size = x.max().item()
        torch._check(size >= 2)
        torch._check(size <= 10)
        return torch.zeros(size, 4) + 1.5, x.nonzero()


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean(1)


def export(module: nn.Module, *inputs: Tensor, dynamic_shapes: Any) -> torch.export.ExportedProgram:
    return torch.export.export(module.eval(), inputs, dynamic_shapes=dynamic_shapes)


def tiny() -> torch.export.ExportedProgram:
    return export(Tiny(), torch.randn(2, 4), dynamic_shapes=({0: Dim("n", max=64)},))


HONEST: dict[str, Callable[[], torch.export.ExportedProgram]] = {
    "linear": tiny,
    "guards_and_branches": lambda: export(
        Shapes(),
        torch.randn(6, 4),
        torch.randn(12, 5),
        dynamic_shapes={"x": {0: Dim.AUTO, 1: Dim.AUTO}, "y": {0: Dim.AUTO}},
    ),
    "unbacked_sizes": lambda: export(Unbacked(), torch.tensor([3, 4]), dynamic_shapes=None),
    "transformer": lambda: export(Encoder(), torch.randn(2, 5, 16), dynamic_shapes=({0: Dim("n")},)),
    "half_precision": lambda: export(
        nn.Conv2d(1, 2, 3).bfloat16(), torch.randn(2, 1, 5, 5).bfloat16(), dynamic_shapes=({0: Dim("n")},)
    ),
}


@pytest.mark.parametrize("name", HONEST)
def test_what_torch_export_saves_is_accepted(name: str, tmp_path: Path) -> None:
    torch.export.save(HONEST[name](), tmp_path / "m.pt2")
    assert recognise(tmp_path / "m.pt2") == "exported"
    assert scan(tmp_path / "m.pt2") == []


def test_what_edgeprune_saves_is_accepted_and_says_the_same(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    program = capture(network, (3, 8, 8))
    program.save(tmp_path / "m.pt2")
    assert scan(tmp_path / "m.pt2") == []
    loaded = from_exported(torch.export.load(tmp_path / "m.pt2"))
    assert torch.equal(loaded.run(loaded.example(3)), program.run(program.example(3)))


# Hostile archives: each edits the members of an honest one so that `marker` would be created.


class Touch:
    """An object whose unpickling creates a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Callable[[str, str], Any], tuple[str, str]]:
        return open, (self.marker, "w")


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def code(marker: Path) -> str:
    return f"open('{marker}','w').close()"


def edit(members: Members, change: Callable[[Any], object], name: str = "models/model.json") -> None:
    document = json.loads(members[name])
    change(document)
    members[name] = json.dumps(document).encode()


def graph(document: Any) -> Any:
    return document["graph_module"]["graph"]


def signature(document: Any) -> Any:
    return document["graph_module"]["module_call_graph"][0]["signature"]


def renamed(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {(new if key == old else key): renamed(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [renamed(item, old, new) for item in value]
    return new if value == old else value


def node(target: str, *inputs: tuple[str, dict[str, Any]], output: dict[str, Any] | None = None) -> Any:
    return {
        "target": target,
        "inputs": [{"name": name, "arg": arg, "kind": 2 if name else 1} for name, arg in inputs],
        "outputs": [output or {"as_none": True}],
        "metadata": {},
        "name": "w",
    }


def sample_inputs(members: Members, marker: Path) -> None:
    members[SAMPLES] = saved(((Touch(marker),), {}))


def sample_inputs_by_stack_global(members: Members, marker: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(members[SAMPLES])) as inner:
        parts = {name.split("/", 1)[1]: inner.read(name) for name in inner.namelist()}
    parts["data.pkl"] = pickle.dumps(((Touch(marker),), {}), 4)
    buffer = io.BytesIO()
    write(torch._C.PyTorchFileWriter(buffer), {k: v for k, v in parts.items() if k != "version"})
    members[SAMPLES] = buffer.getvalue()


def torchscript_sample_inputs(members: Members, marker: Path) -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.ReLU()), buffer)
    members[SAMPLES] = buffer.getvalue()


def pickled_weight(members: Members, marker: Path) -> None:
    def change(table: Any) -> None:
        entry = table["config"]["layer.weight"]
        entry["use_pickle"] = True
        members["data/weights/" + entry["path_name"]] = saved(Touch(marker))

    edit(members, change, WEIGHTS)


def legacy_weights(members: Members, marker: Path) -> None:
    members["data/weights/model.pt"] = saved({"layer.weight": Touch(marker)})


def legacy_constants(members: Members, marker: Path) -> None:
    members["data/constants/model.pt"] = saved({"shift": Touch(marker)})


def extra_constant(members: Members, file: str, content: bytes) -> None:
    entry = {"path_name": file, "is_param": False, "use_pickle": True, "tensor_meta": None}
    edit(members, lambda table: table["config"].update(evil=entry), CONSTANTS)
    members["data/constants/" + file] = content


def pickled_constant(members: Members, marker: Path) -> None:
    extra_constant(members, "tensor_9", saved(Touch(marker)))


def opaque_constant(members: Members, marker: Path) -> None:
    extra_constant(members, "opaque_obj_0", pickle.dumps(Touch(marker)))


def custom_object(members: Members, marker: Path) -> None:
    extra_constant(members, "custom_obj_0", saved(Touch(marker)))


def size_expression(members: Members, marker: Path) -> None:
    size = {"as_expr": {"expr_str": code(marker), "hint": None}}
    edit(members, lambda d: graph(d)["tensor_values"]["x"]["sizes"].__setitem__(0, size))


def node_name_with_default(members: Members, marker: Path) -> None:
    document = json.loads(members["models/model.json"])
    members["models/model.json"] = json.dumps(renamed(document, "x", f"x={code(marker)}")).encode()


def parameter_name_with_quote(members: Members, marker: Path) -> None:
    for name in ("models/model.json", WEIGHTS):
        document = renamed(json.loads(members[name]), "layer.weight", f'l"+str({code(marker)})+"')
        members[name] = json.dumps(document).encode()


def keyword_name(members: Members, marker: Path) -> None:
    relu, one = {"as_operator": "torch.ops.aten.relu.default"}, {"as_int": 1}
    wrap = node("torch.ops.higher_order.wrap", ("", relu), (f"q={code(marker)}, r", one))
    edit(members, lambda d: graph(d)["nodes"].append(wrap))


def operator_of_the_system(members: Members, marker: Path) -> None:
    call = node("torch.os.system", ("", {"as_string": f"touch {marker}"}))
    edit(members, lambda d: graph(d)["nodes"].append(call))


def operator_that_is_an_attribute(members: Members, marker: Path) -> None:
    edit(members, lambda d: graph(d)["nodes"].append(node("torch.ops.aten.__class__.mro")))


def operator_that_writes_files(members: Members, marker: Path) -> None:
    call = node(
        "torch.ops.aten.from_file.default",
        ("filename", {"as_string": str(marker)}),
        ("shared", {"as_bool": True}),
        ("size", {"as_int": 4}),
        output={"as_tensor": {"name": "w"}},
    )

    def change(document: Any) -> None:
        values = graph(document)["tensor_values"]
        values["w"] = {**values["x"], "sizes": [{"as_int": 4}], "strides": [{"as_int": 1}]}
        graph(document)["nodes"].append(call)

    edit(members, change)


def guard(members: Members, marker: Path) -> None:
    edit(members, lambda d: d.update(guards_code=[code(marker)]))


def endless_guard(members: Members, marker: Path) -> None:
    edit(members, lambda d: d.update(guards_code=["L['x'].size()[0] < 9**9**9"]))


def evil_module(marker: Path) -> str:
    name = f"evil_{marker.stem}"
    marker.with_name(f"{name}.py").write_text(f"{code(marker)}\n")
    return name


def enum_container(members: Members, marker: Path) -> None:
    context = json.dumps({"__enum__": True, "fqn": f"{evil_module(marker)}:X", "name": "Y"})
    tree = [1, {"type": "builtins.tuple", "context": context, "children_spec": []}]
    edit(members, lambda d: signature(d).update(in_spec=json.dumps(tree)))


def defaultdict_container(members: Members, marker: Path) -> None:
    context = {
        "default_factory_module": evil_module(marker),
        "default_factory_name": "os",
        "dict_context": [],
    }
    tree = [1, {"type": "collections.defaultdict", "context": context, "children_spec": []}]
    edit(members, lambda d: signature(d).update(out_spec=json.dumps(tree)))


def argument_names(members: Members, marker: Path) -> None:
    edit(members, lambda d: signature(d).update(forward_arg_names=[f"x:{code(marker)}"]))


def range_of_code(members: Members, marker: Path) -> None:
    bounds = {"min_val": 1, "max_val": 2}
    edit(members, lambda d: d["range_constraints"].update({code(marker): bounds}))


def source_function(members: Members, marker: Path) -> None:
    metadata = {"source_fn_stack": "x,torch.nn.__builtins__"}
    edit(members, lambda d: graph(d)["nodes"][0].update(metadata=metadata))


def hint_of_text(members: Members, marker: Path) -> None:
    size = {"as_expr": {"expr_str": "Symbol('s0')", "hint": {"as_int": code(marker)}}}
    edit(members, lambda d: graph(d)["tensor_values"]["x"]["sizes"].__setitem__(0, size))


def unknown_field(members: Members, marker: Path) -> None:
    edit(members, lambda d: d.update(on_load=code(marker)))


def text_in_utf_16(members: Members, marker: Path) -> None:
    members["models/model.json"] = members["models/model.json"].decode().encode("utf-16")


def shared_library(members: Members, marker: Path) -> None:
    members["data/aotinductor/model/e.so"] = b"\x7fELF"


def second_model(members: Members, marker: Path) -> None:
    members["models/other.json"] = members["models/model.json"]
    members[WEIGHTS.replace("model_", "other_")] = members[WEIGHTS]
    members[CONSTANTS.replace("model_", "other_")] = members[CONSTANTS]
    members["data/sample_inputs/other.pt"] = saved(((Touch(marker),), {}))


def executable_extra(members: Members, marker: Path) -> None:
    members["extra/a.so"] = b"\x7fELF"


def escape_sequence(members: Members, marker: Path) -> None:
    members["extra/\x1b[2J"] = b""


RUNS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        *(sample_inputs, sample_inputs_by_stack_global, pickled_weight, legacy_weights, legacy_constants),
        *(pickled_constant, opaque_constant, size_expression, node_name_with_default, keyword_name),
        *(operator_that_writes_files, guard, enum_container, defaultdict_container, second_model),
    )
}
# Stopped by something else in torch 2.13, or harmful in another way than by running the marker's code.
SUSPECT: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        *(torchscript_sample_inputs, custom_object, parameter_name_with_quote, operator_of_the_system),
        *(operator_that_is_an_attribute, endless_guard, argument_names, range_of_code, source_function),
        *(hint_of_text, unknown_field, text_in_utf_16, shared_library, executable_extra, escape_sequence),
    )
}

# Loads, unlifts and runs each archive, as from_exported would; whatever fails, the next one is tried.
CHILD = """
import logging, sys, warnings, torch
warnings.simplefilter("ignore"); logging.disable()
for path in sys.argv[1:]:
    try:
        torch.export.load(path).module()(torch.randn(2, 4))
    except Exception:
        pass
"""


def write(writer: Any, members: Members) -> None:
    for name, content in members.items():
        if not name.startswith(".data/"):
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()


def write_archive(path: Path, members: Members) -> None:
    writer = torch._C.PyTorchFileWriter(str(path))
    writer.set_min_version(6)
    write(writer, members)


@pytest.fixture(scope="module")
def honest_members(tmp_path_factory: pytest.TempPathFactory) -> Members:
    path = tmp_path_factory.mktemp("honest") / "tiny.pt2"
    torch.export.save(tiny(), path)
    with zipfile.ZipFile(path) as archive:
        return {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}


def marker_of(path: Path) -> Path:
    return path.with_suffix(".ran")


@pytest.fixture(scope="module")
def hostile(honest_members: Members, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of hostile archives, none of them loaded yet."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, attack in (RUNS | SUSPECT).items():
        members = dict(honest_members)
        attack(members, marker_of(folder / f"{name}.pt2"))
        write_archive(folder / f"{name}.pt2", members)
    write_old_layout(folder / "old_layout.pt2", honest_members)
    write_twice(folder / "duplicate_member.pt2", honest_members, SAMPLES)
    write_twice(folder / "case_variant.pt2", honest_members, "data/sample_inputs/MODEL.pt")
    return folder


def write_old_layout(path: Path, members: Members) -> None:
    major, minor = torch._export.serde.schema.SCHEMA_VERSION
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", f"{major}.{minor}")
        archive.writestr("serialized_exported_program.json", members["models/model.json"])
        archive.writestr("serialized_state_dict.pt", saved({"a": Touch(marker_of(path))}))
        archive.writestr("serialized_constants.pt", saved({}))
        archive.writestr("serialized_example_inputs.pt", saved(((), {})))


def write_twice(path: Path, members: Members, evil_name: str) -> None:
    """Two members of one name (case ignored): zipfile finds the last of them, torch's reader the first."""
    evil = saved(((Touch(marker_of(path)),), {}))
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        warnings.simplefilter("ignore")
        archive.writestr(f"a/{evil_name}", evil)
        for name, content in members.items():
            archive.writestr(f"a/{name}", content)


ZIPS = ("old_layout", "duplicate_member", "case_variant")


@pytest.fixture(scope="module")
def reasons(hostile: Path) -> dict[str, list[str]]:
    """What scan says of each hostile archive; scanning itself must run none of them."""
    found = {path.stem: scan(path) for path in sorted(hostile.glob("*.pt2"))}
    assert not list(hostile.glob("*.ran"))
    return found


@pytest.fixture(scope="module")
def ran(hostile: Path, reasons: dict[str, list[str]]) -> set[str]:
    """The archives whose code runs when torch loads them."""
    paths = [str(hostile / f"{name}.pt2") for name in (*RUNS, *ZIPS)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-c", CHILD, *paths], cwd=hostile, env=environment, check=True, timeout=120
    )
    return {path.stem for path in hostile.glob("*.ran")}


@pytest.mark.parametrize("name", [*RUNS, *SUSPECT, *ZIPS])
def test_a_hostile_archive_is_refused(name: str, reasons: dict[str, list[str]]) -> None:
    assert reasons[name]


@pytest.mark.parametrize("name", [*RUNS, *ZIPS])
def test_torch_would_have_run_it(name: str, ran: set[str]) -> None:
    assert name in ran


def test_the_archive_that_was_edited_is_harmless(honest_members: Members, tmp_path: Path) -> None:
    write_archive(tmp_path / "m.pt2", honest_members)
    assert scan(tmp_path / "m.pt2") == []


def test_reasons_say_what_would_run(reasons: dict[str, list[str]]) -> None:
    assert reasons["sample_inputs"] == ["the sample inputs would run io.open"]
    assert reasons["legacy_weights"] == ["member 'data/weights/model.pt' is not part of an exported program"]
    assert reasons["pickled_weight"] == ["'layer.weight' in data/weights/ is pickled"]
    assert reasons["operator_of_the_system"] == ["target is no plain tensor operator: torch.os.system"]
    assert reasons["endless_guard"] == [
        "guards_code is no plain list of comparisons: [\"L['x'].size()[0] < 9**9**9\"]"
    ]
    assert reasons["unknown_field"] == ["unknown field 'on_load'"]


def test_a_reason_cannot_steer_the_terminal(reasons: dict[str, list[str]]) -> None:
    assert reasons["escape_sequence"] == ["member 'extra/?[2J' is not part of an exported program"]


def test_a_cut_or_changed_archive_is_refused(honest_members: Members, tmp_path: Path) -> None:
    write_archive(tmp_path / "m.pt2", honest_members)
    content = (tmp_path / "m.pt2").read_bytes()
    (tmp_path / "cut.pt2").write_bytes(content[: len(content) // 2])
    (tmp_path / "longer.pt2").write_bytes(content + b"x")
    (tmp_path / "shifted.pt2").write_bytes(b"x" + content)
    assert scan(tmp_path / "cut.pt2")[0].startswith("not a readable archive: BadZipFile")
    assert scan(tmp_path / "longer.pt2") == ["bytes after the zip directory"]
    assert scan(tmp_path / "shifted.pt2") == ["bytes before the first member, or a zip comment"]


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("empty", b""),
        ("unknown", b"just some text\n"),
        ("tflite", b"\x1c\x00\x00\x00TFL3" + bytes(20)),
        ("onnx", b"\x08\x0a\x12\x07pytorch"),
        ("safetensors", b"\x02\x00\x00\x00\x00\x00\x00\x00{}"),
        ("truncated", b"PK\x03\x04" + bytes(100)),
        ("tensors", saved({"a": torch.ones(2)})),
        ("pickled-object", saved(nn.Linear(1, 1))),
        ("pickled-object", pickle.dumps(Touch(Path("x")))),
        ("pickled-object", pickle.dumps({"a": 1})),
        ("truncated", pickle.dumps({"a": 1})[:-1]),
    ],
)
def test_a_file_is_recognised_by_its_content(kind: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.jpeg"
    path.write_bytes(content)
    assert recognise(path) == kind


def test_files_of_before_torch_1_6_are_recognised(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    torch.save(nn.Linear(1, 1), tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    assert recognise(tmp_path / "a.pt") == "tensors"
    assert recognise(tmp_path / "b.pt") == "pickled-object"
    assert named_globals(tmp_path / "b.pt") == ["torch.nn.modules.linear.Linear"]


def test_other_archives_of_torch_are_recognised(hostile: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.ReLU()), tmp_path / "m.pt")
    assert recognise(tmp_path / "m.pt") == "torchscript"
    assert recognise(hostile / "old_layout.pt2") == "exported-old"


# The texts of a program that torch only keeps or prints; all others are looked at.
KEPT = {"as_string", "as_strings", "stack_trace", "nn_module_stack", "torch_fn", "from_node", "custom"}


def test_code_in_place_of_any_text_of_a_program_is_refused(tmp_path: Path) -> None:
    torch.export.save(HONEST["guards_and_branches"](), tmp_path / "m.pt2")
    with zipfile.ZipFile(tmp_path / "m.pt2") as archive:
        program = json.loads(archive.read("m/models/model.json"))
    places = [place for place in texts(program) if place[-1] not in KEPT]
    assert len(places) > 200
    accepted = [place for place in places if not [*check_program(with_code(program, place))]]
    assert accepted == []


def texts(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a document holds text."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from texts(item, (*place, key))
    if isinstance(value, str):
        yield place


def with_code(document: Any, place: tuple[Any, ...]) -> Any:
    changed = copy.deepcopy(document)
    holder = changed
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = "__import__('os').abort()"
    return changed

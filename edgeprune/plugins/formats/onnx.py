"""Format `onnx`: what an ONNX file holds; notes lie in its `metadata_props`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeprune.core.artifact import Format, Tensor
from edgeprune.core.contents import Contents
from edgeprune.core.errors import ModelError
from edgeprune.core.files import sha256
from edgeprune.core.quiet import first_line


@dataclass(frozen=True)
class OnnxFile:
    """Reads `.onnx`; weights beside the file are not looked at."""

    format: Format = field(default="onnx", init=False)

    def look(self, path: Path) -> Contents:
        """Everything the file says of itself."""
        model = _load(path)
        notes = {one.key: one.value for one in model.metadata_props}
        weights = Counter[str]()
        for tensor in model.graph.initializer:
            weights[_type_name(tensor.data_type)] += len(tensor.SerializeToString())
        stored = {one.name for one in model.graph.initializer}
        operators = Counter(node.op_type for node in _nodes(model.graph))
        opset = max((one.version for one in model.opset_import if not one.domain), default=0)
        return Contents(
            path=str(path),
            format=self.format,
            bytes=path.stat().st_size,
            sha256=sha256(path),
            made_for=f"opset {opset}",
            precision=notes.get("precision") or next(iter(dict(weights.most_common())), ""),
            inputs=tuple(_tensor(one) for one in model.graph.input if one.name not in stored),
            outputs=tuple(_tensor(one) for one in model.graph.output),
            operators=dict(operators.most_common()),
            transposes=operators["Transpose"],
            weights=dict(weights.most_common()),
            notes=notes,
        )

    def note(self, source: Path, path: Path, notes: Mapping[str, str]) -> None:
        """Write the file again with these notes in place of its own; the network in it stays as it is."""
        model = _load(source)
        model.ClearField("metadata_props")
        for key, value in sorted(notes.items()):
            model.metadata_props.add(key=key, value=value)
        path.write_bytes(model.SerializeToString(deterministic=True))


def _load(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(model, full_check=False)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"{path}: not a valid ONNX file ({first_line(error)})",
            hint="it is damaged or of another format; make it again",
        ) from error
    return model


def _nodes(graph: Any) -> Iterator[Any]:
    """Those of branches and loops, too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _tensor(value: Any) -> Tensor:
    kind = value.type.tensor_type
    shape = tuple(one.dim_value if one.HasField("dim_value") else None for one in kind.shape.dim)
    return Tensor(name=value.name, shape=shape, dtype=_type_name(kind.elem_type))


def _type_name(number: int) -> str:
    import onnx

    name = str(onnx.TensorProto.DataType.Name(number))
    return {"FLOAT": "float32", "DOUBLE": "float64"}.get(name, name.lower())

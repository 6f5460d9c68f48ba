"""Format `tflite`: what a TFLite file holds; notes lie in a metadata buffer called `edgeprune`, as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.core.artifact import Format, Tensor
from edgeprune.core.contents import Contents
from edgeprune.core.errors import ModelError
from edgeprune.core.files import sha256
from edgeprune.core.quiet import first_line
from edgeprune.core.tflite_model import operator_kind, packed, type_name, unpacked

_NOTES, _OLDEST = "edgeprune", "min_runtime_version"


@dataclass(frozen=True)
class TfliteFile:
    """Reads `.tflite`; names are those of the file's signature, where it has one."""

    format: Format = field(default="tflite", init=False)

    def look(self, path: Path) -> Contents:
        """Everything the file says of itself."""
        model = _load(path)
        graph, noted = model.subgraphs[0], _metadata(model)
        notes = json.loads(noted[_NOTES]) if _NOTES in noted else {}
        weights = _weights(model)
        operators = Counter(
            operator_kind(model, one) for part in model.subgraphs for one in part.operators or ()
        )
        oldest = noted.get(_OLDEST, b"").rstrip(b"\0").decode("ascii", "replace")
        inputs, outputs = _names(model)
        return Contents(
            path=str(path),
            format=self.format,
            bytes=path.stat().st_size,
            sha256=sha256(path),
            made_for=f"TFLite {oldest}" if oldest else f"schema {model.version}",
            precision=notes.get("precision") or next(iter(dict(weights.most_common())), ""),
            inputs=tuple(_tensor(graph, int(place), inputs) for place in graph.inputs),
            outputs=tuple(_tensor(graph, int(place), outputs) for place in graph.outputs),
            operators=dict(operators.most_common()),
            transposes=operators["TRANSPOSE"],
            weights=dict(weights.most_common()),
            notes=notes,
        )

    def note(self, source: Path, path: Path, notes: Mapping[str, str]) -> None:
        """Write the file again with these notes in place of its own; the network in it stays as it is."""
        model = _load(source)
        _put(model, _NOTES, json.dumps(dict(sorted(notes.items())), ensure_ascii=False).encode())
        path.write_bytes(packed(model))


def _load(path: Path) -> Any:
    try:
        return unpacked(path.read_bytes())
    except ValueError as error:
        raise ModelError(
            f"{path}: not a valid TFLite file ({first_line(error)})",
            hint="it is damaged or of another format; make it again",
        ) from error


# Reading


def _metadata(model: Any) -> dict[str, bytes]:
    return {
        one.name.decode(): bytes(np.asarray(model.buffers[one.buffer].data, np.uint8))
        for one in model.metadata or ()
        if model.buffers[one.buffer].data is not None
    }


def _weights(model: Any) -> Counter[str]:
    """Bytes per type; buffers that several tensors share count once."""
    seen: dict[int, str] = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if model.buffers[tensor.buffer].data is not None:
                seen.setdefault(tensor.buffer, type_name(tensor.type))
    weights = Counter[str]()
    for buffer, name in seen.items():
        weights[name] += len(model.buffers[buffer].data)
    return weights


def _names(model: Any) -> tuple[dict[int, str], dict[int, str]]:
    """Names of the signature by tensor, for inputs and outputs."""
    if not model.signatureDefs:
        return {}, {}
    signature = model.signatureDefs[0]
    inputs, outputs = (
        {one.tensorIndex: one.name.decode() for one in ends or ()}
        for ends in (signature.inputs, signature.outputs)
    )
    return inputs, outputs


def _tensor(graph: Any, place: int, names: Mapping[int, str]) -> Tensor:
    found = graph.tensors[place]
    shape = found.shape if found.shapeSignature is None else found.shapeSignature
    sizes = tuple(None if size < 0 else int(size) for size in ([] if shape is None else shape))
    name = names.get(place) or found.name.decode()
    return Tensor(name=name, shape=sizes, dtype=type_name(found.type))


# Writing


def _put(model: Any, name: str, content: bytes) -> None:
    """The metadata of that name, in the buffer it has already or in a new one."""
    from ai_edge_litert import schema_py_generated as schema

    data = np.frombuffer(content, np.uint8)
    for one in model.metadata or ():
        if one.name == name.encode():
            model.buffers[one.buffer].data = data
            return
    model.buffers.append(schema.BufferT(data=data))
    entry = schema.MetadataT(name=name.encode(), buffer=len(model.buffers) - 1)
    model.metadata = [*(model.metadata or ()), entry]

"""TFLite models as objects: a file taken apart and put together again, every buffer where kernels want it."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from edgeprune.core.errors import PluginError
from edgeprune.core.quiet import first_line

IDENTIFIER = b"TFL3"
_ALIGNED = 16
"""What kernels that read weights in place may rely on (`force_align` in TFLite's schema)."""


def unpacked(content: bytes) -> Any:
    """A `ModelT` of the schema, every buffer inside: quantizers leave weights behind the flatbuffer.

    Raises
    ------
    ValueError
        The bytes are no TFLite file, or a damaged one.
    PluginError
        The schema is not installed.
    """
    schema = _schema()
    try:
        if content[4:8] != IDENTIFIER:
            raise ValueError("no TFL3 mark at its beginning")
        model = schema.ModelT.InitFromPackedBuf(content)
        for buffer in model.buffers:
            if buffer.offset > 1:
                buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
                buffer.offset = buffer.size = 0
        if not model.subgraphs:
            raise ValueError("it holds no graph")
    except (TypeError, IndexError, struct.error, AttributeError) as error:
        raise ValueError(first_line(error)) from error
    return model


def packed(model: Any) -> bytes:
    """The bytes of a file that holds this model; the model's buffers are replaced by aligned ones."""
    import flatbuffers

    model.buffers = [_aligned(one) for one in model.buffers]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def operator_kind(model: Any, operator: Any) -> str:
    """`CONV_2D`, or the name of a custom operator."""
    code = model.operatorCodes[operator.opcodeIndex]
    if code.customCode:
        return str(code.customCode.decode())
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return _name_of(_schema().BuiltinOperator, number)


def type_name(number: int) -> str:
    """`float32`, `int8`, of a tensor's type number."""
    return _name_of(_schema().TensorType, number).lower()


def _name_of(table: type, number: int) -> str:
    """What an enumeration of the schema calls a number; the number itself where it is newer."""
    return next((name for name, value in vars(table).items() if value == number), str(number))


def _schema() -> Any:
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise PluginError(
            f"reading TFLite files needs ai-edge-litert: {first_line(error)}",
            hint="it is published for Linux only",
        ) from error
    return schema


def _aligned(buffer: Any) -> Any:
    """The buffer, packed as the schema asks: the generated code packs numpy arrays wherever they fall."""
    from ai_edge_litert import schema_py_generated as schema

    class Aligned(schema.BufferT):  # type: ignore[misc]
        def Pack(self, builder: Any) -> Any:  # noqa: N802 - the name that the generated code calls
            vector = None if self.data is None else _vector(builder, np.asarray(self.data, np.uint8))
            schema.BufferStart(builder)
            if vector is not None:
                schema.BufferAddData(builder, vector)
            return schema.BufferEnd(builder)

    return Aligned(data=buffer.data)


def _vector(builder: Any, data: np.ndarray[Any, np.dtype[np.uint8]]) -> Any:
    builder.StartVector(1, len(data), _ALIGNED)
    builder.head = builder.head - len(data)
    builder.Bytes[builder.head : builder.head + len(data)] = data.tobytes()
    return builder.EndVector()

"""Write the protobuf of an ONNX model: the few messages that a graph made here needs."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

IR, OPSET = 10, 21
CONTRIB = "com.microsoft"
TYPES = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "bool": 9}
_VARINT, _BYTES, _FIXED32 = 0, 2, 5
_FLOAT, _INT, _GRAPH, _INTS = 1, 2, 5, 7  # of AttributeProto.AttributeType
_EXTERNAL = 1  # of TensorProto.DataLocation


def _int_field(field: int, value: int) -> bytes:
    """Write an integer field."""
    return _varint(field << 3 | _VARINT) + _varint(value)


def _bytes_field(field: int, content: bytes | str) -> bytes:
    """Write a field of bytes: a text, or a message that is written already."""
    if isinstance(content, str):
        content = content.encode()
    return _varint(field << 3 | _BYTES) + _varint(len(content)) + content


def _bytes_fields(field: int, contents: Iterable[bytes | str]) -> bytes:
    """Write a repeated field of bytes."""
    return b"".join(_bytes_field(field, content) for content in contents)


def _int_fields(field: int, values: Iterable[int]) -> bytes:
    """Write a repeated integer field."""
    return b"".join(_int_field(field, value) for value in values)


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


@dataclass(frozen=True)
class Node:
    """A node that is written already, with the names of what it reads and makes."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    content: bytes


@dataclass
class Model:
    """An ONNX model in the making; the weights of its tensors lie in the file `data`.

    What no output needs is left out of it.
    """

    data: str
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, bytes] = field(default_factory=dict)
    inputs: dict[str, bytes] = field(default_factory=dict)
    outputs: dict[str, bytes] = field(default_factory=dict)

    def node(
        self,
        op: str,
        inputs: Iterable[str],
        outputs: Iterable[str],
        domain: str = "",
        **values: Any,
    ) -> None:
        """Add a node; `values` are its attributes: integers, lists of them, and floats."""
        reads, makes = tuple(inputs), tuple(outputs)
        content = _bytes_fields(1, reads) + _bytes_fields(2, makes) + _bytes_field(4, op)
        for name, value in values.items():
            content += _bytes_field(5, _attribute(name, value))
        self.nodes.append(Node(reads, makes, content + _bytes_field(7, domain)))

    def choose(self, condition: str, then: Model, otherwise: Model, output: str) -> None:
        """Add a node that runs one of two models, which may read all that is in this one."""
        parts = [_bytes_field(1, condition), _bytes_field(2, output), _bytes_field(4, "If")]
        read = {condition}
        for name, branch in (("then_branch", then), ("else_branch", otherwise)):
            graph = _bytes_field(6, branch._graph())
            attribute = _bytes_field(1, name) + graph + _int_field(20, _GRAPH)
            parts.append(_bytes_field(5, attribute))
            read |= branch._needed()[1]
        self.nodes.append(Node(tuple(sorted(read)), (output,), b"".join(parts)))

    def constant(self, name: str, value: np.ndarray) -> None:
        """Add a small tensor that the model holds itself."""
        raw = np.ascontiguousarray(value).tobytes()
        self.tensors[name] = _tensor(name, value.dtype.name, value.shape) + _bytes_field(9, raw)

    def external(
        self, name: str, dtype: str, shape: Sequence[int], offset: int, length: int
    ) -> None:
        """Add a tensor whose bytes lie in the data file."""
        entries = {"location": self.data, "offset": str(offset), "length": str(length)}
        tensor = _tensor(name, dtype, shape)
        for key, value in entries.items():
            tensor += _bytes_field(13, _bytes_field(1, key) + _bytes_field(2, value))
        self.tensors[name] = tensor + _int_field(14, _EXTERNAL)

    def add_input(self, name: str, dtype: str, dims: Sequence[int | str]) -> None:
        """Add an input; a dim that varies has a name."""
        self.inputs[name] = _value(name, dtype, dims)

    def add_output(self, name: str, dtype: str, dims: Sequence[int | str]) -> None:
        """Add an output."""
        self.outputs[name] = _value(name, dtype, dims)

    def serialized(self) -> bytes:
        """Return the ModelProto."""
        opsets = []
        for name, version in (("", OPSET), (CONTRIB, 1)):
            opsets.append(_bytes_field(1, name) + _int_field(2, version))
        return _int_field(1, IR) + _bytes_field(7, self._graph()) + _bytes_fields(8, opsets)

    def _graph(self) -> bytes:
        """Return the GraphProto."""
        nodes, needed = self._needed()
        tensors = [tensor for name, tensor in self.tensors.items() if name in needed]
        inputs = [value for name, value in self.inputs.items() if name in needed]
        return b"".join(
            (
                _bytes_field(2, "decoder"),
                _bytes_fields(1, [node.content for node in nodes]),
                _bytes_fields(5, tensors),
                _bytes_fields(11, inputs),
                _bytes_fields(12, self.outputs.values()),
            )
        )

    def _needed(self) -> tuple[list[Node], set[str]]:
        """Return the nodes that the outputs need, and the names of all that they read."""
        needed = set(self.outputs)
        nodes = []
        for node in reversed(self.nodes):
            if not needed.isdisjoint(node.outputs):
                nodes.append(node)
                needed.update(node.inputs)
        return nodes[::-1], needed


def _attribute(name: str, value: int | float | list[int]) -> bytes:
    if isinstance(value, list):
        return _bytes_field(1, name) + _int_fields(8, value) + _int_field(20, _INTS)
    if isinstance(value, float):
        content = _varint(2 << 3 | _FIXED32) + struct.pack("<f", value)
        return _bytes_field(1, name) + content + _int_field(20, _FLOAT)
    return _bytes_field(1, name) + _int_field(3, value) + _int_field(20, _INT)


def _tensor(name: str, dtype: str, shape: Sequence[int]) -> bytes:
    return _int_fields(1, shape) + _int_field(2, TYPES[dtype]) + _bytes_field(8, name)


def _value(name: str, dtype: str, dims: Sequence[int | str]) -> bytes:
    lengths = [_int_field(1, dim) if isinstance(dim, int) else _bytes_field(2, dim) for dim in dims]
    kind = _bytes_field(1, _int_field(1, TYPES[dtype]) + _bytes_field(2, _bytes_fields(1, lengths)))
    return _bytes_field(1, name) + _bytes_field(2, kind)

"""Write the protobuf of an ONNX model: the few messages that a graph made here needs."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

IR, OPSET = 10, 21
CONTRIB = "com.microsoft"
TYPES = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "bool": 9, "uint4": 21}
_VARINT, _BYTES, _FIXED32 = 0, 2, 5
_FLOAT, _INT, _GRAPH, _INTS = 1, 2, 5, 7  # of AttributeProto.AttributeType
_EXTERNAL = 1  # of TensorProto.DataLocation


def number(field: int, value: int) -> bytes:
    """Write an integer field."""
    return _varint(field << 3 | _VARINT) + _varint(value)


def block(field: int, content: bytes | str) -> bytes:
    """Write a field of bytes: a text, or a message that is written already."""
    if isinstance(content, str):
        content = content.encode()
    return _varint(field << 3 | _BYTES) + _varint(len(content)) + content


def blocks(field: int, contents: Iterable[bytes | str]) -> bytes:
    """Write a repeated field of bytes."""
    return b"".join(block(field, content) for content in contents)


def numbers(field: int, values: Iterable[int]) -> bytes:
    """Write a repeated integer field."""
    return b"".join(number(field, value) for value in values)


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
        content = blocks(1, reads) + blocks(2, makes) + block(4, op)
        for name, value in values.items():
            content += block(5, _attribute(name, value))
        self.nodes.append(Node(reads, makes, content + block(7, domain)))

    def choose(self, condition: str, then: Model, otherwise: Model, output: str) -> None:
        """Add a node that runs one of two models, which may read all that is in this one."""
        parts = [block(1, condition), block(2, output), block(4, "If")]
        read = {condition}
        for name, branch in (("then_branch", then), ("else_branch", otherwise)):
            attribute = block(1, name) + block(6, branch._graph()) + number(20, _GRAPH)
            parts.append(block(5, attribute))
            read |= branch._needed()[1]
        self.nodes.append(Node(tuple(sorted(read)), (output,), b"".join(parts)))

    def constant(self, name: str, value: np.ndarray) -> None:
        """Add a small tensor that the model holds itself."""
        raw = np.ascontiguousarray(value).tobytes()
        self.tensors[name] = _tensor(name, value.dtype.name, value.shape) + block(9, raw)

    def external(
        self, name: str, dtype: str, shape: Sequence[int], offset: int, length: int
    ) -> None:
        """Add a tensor whose bytes lie in the data file."""
        entries = {"location": self.data, "offset": str(offset), "length": str(length)}
        tensor = _tensor(name, dtype, shape)
        for key, value in entries.items():
            tensor += block(13, block(1, key) + block(2, value))
        self.tensors[name] = tensor + number(14, _EXTERNAL)

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
            opsets.append(block(1, name) + number(2, version))
        return number(1, IR) + block(7, self._graph()) + blocks(8, opsets)

    def _graph(self) -> bytes:
        """Return the GraphProto."""
        nodes, needed = self._needed()
        tensors = [tensor for name, tensor in self.tensors.items() if name in needed]
        inputs = [value for name, value in self.inputs.items() if name in needed]
        return b"".join(
            (
                block(2, "decoder"),
                blocks(1, [node.content for node in nodes]),
                blocks(5, tensors),
                blocks(11, inputs),
                blocks(12, self.outputs.values()),
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
        return block(1, name) + numbers(8, value) + number(20, _INTS)
    if isinstance(value, float):
        content = _varint(2 << 3 | _FIXED32) + struct.pack("<f", value)
        return block(1, name) + content + number(20, _FLOAT)
    return block(1, name) + number(3, value) + number(20, _INT)


def _tensor(name: str, dtype: str, shape: Sequence[int]) -> bytes:
    return numbers(1, shape) + number(2, TYPES[dtype]) + block(8, name)


def _value(name: str, dtype: str, dims: Sequence[int | str]) -> bytes:
    lengths = [number(1, dim) if isinstance(dim, int) else block(2, dim) for dim in dims]
    kind = block(1, number(1, TYPES[dtype]) + block(2, blocks(1, lengths)))
    return block(1, name) + block(2, kind)

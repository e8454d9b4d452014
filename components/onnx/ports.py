"""Type an ONNX file's tensors as ports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from composer.core.call_signature import OUT, CallSignature
from composer.core.component import Bound
from composer.core.ports import FLOATS, INTEGERS, Port, Ports

from .graph_contract import ContractTensor, Dim, GraphContract

if TYPE_CHECKING:
    from composer.core.ports import Dim as PortDim


def output_names(contract: GraphContract) -> dict[str, str]:
    """Map each output port to its tensor: `out` is the first, and several have their own names."""
    names = list(contract.outputs)
    if len(names) == 1:
        return {OUT: names[0]}
    ports: dict[str, str] = {}
    for name in names:
        _claim(ports, _identifier(name), name)
    if OUT in ports:
        return ports
    return {OUT: names[0], **ports}


def contract_ports(contract: GraphContract) -> tuple[CallSignature, dict[str, Bound]]:
    """Return the ports of the graph, and every number in them with the tensor it stands in."""
    typing = _Typing(contract)
    inputs = {tensor.name: typing.inputs(tensor) for tensor in contract.port_inputs}
    marks = contract.frame_marks
    for name, port in marks.items():
        axis = 0 if contract.input_config(name).layout == "F D" else -1
        inputs[port] = (Port(dtype="bool", dims=(inputs[name][0].dims[axis],)),)
    returns = {}
    for port, name in output_names(contract).items():
        returns[port] = typing.output(contract.outputs[name])
    return CallSignature(inputs, returns, frozenset(marks.values())), dict(typing.bounds())


@dataclass
class _Typing:
    contract: GraphContract
    symbols: dict[str, str] = field(default_factory=dict)
    numbers: dict[int, list[ContractTensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for tensor in (*self.contract.inputs.values(), *self.contract.outputs.values()):
            for dim in tensor.dims:
                if isinstance(dim, str) and dim not in self.symbols.values():
                    _claim(self.symbols, _identifier(dim), dim)

    def inputs(self, tensor: ContractTensor) -> Ports:
        """Type an input; integers may be a mask, so they take bool as well."""
        port = self.input(tensor)
        if tensor.dtype in INTEGERS:
            return port, replace(port, dtype="bool")
        return (port,)

    def input(self, tensor: ContractTensor) -> Port:
        settings = self.contract.input_config(tensor.name)
        dims = [self.dim(tensor, dim) for dim in tensor.inner]
        if settings.pad:
            dims[self.contract.axis(tensor)] = self.own_length(f"{tensor.name}_frames")
        if settings.layout == "F M":
            dims.reverse()
        return Port("tensor", tensor.dtype, tuple(dims))

    def output(self, tensor: ContractTensor) -> Port:
        dims = [self.dim(tensor, dim) for dim in tensor.inner]
        if self.recounted(tensor):
            dims[0] = self.own_length(f"{tensor.name}_rows")
        return Port("tensor", tensor.dtype, tuple(dims))

    def recounted(self, tensor: ContractTensor) -> bool:
        """Return whether axis 0 of an output is counted by `rows` alone, whatever the file says."""
        contract, rows = self.contract, self.contract.rows
        if rows is None or tensor.name != contract.rows_output:
            return False
        first = tensor.inner[0]
        if isinstance(first, int):
            return rows.keep == "valid"
        return any(first in each.dims for each in contract.inputs.values())

    def dim(self, tensor: ContractTensor, dim: Dim) -> PortDim:
        if dim is None:
            return "_"
        if isinstance(dim, str):
            return next(legal for legal, symbol in self.symbols.items() if symbol == dim)
        holders = self.numbers.setdefault(dim, [])
        if tensor not in holders:
            holders.append(tensor)
        return self.number(dim)

    def number(self, value: int) -> str:
        """Name a number, so that the wiring can say where it was read."""
        name = f"d{value}"
        while name in self.symbols:
            name += "_"
        return name

    def own_length(self, name: str) -> str:
        """Name a length that is the component's, not the file's."""
        name = _identifier(name)
        while name in self.symbols and self.symbols[name] != f"\0{name}":
            name += "_"
        self.symbols[name] = f"\0{name}"
        return name

    def bounds(self) -> Iterator[tuple[str, Bound]]:
        for value, holders in self.numbers.items():
            where = ", ".join(map(str, holders))
            yield self.number(value), Bound(value, f"{self.contract.file}: {where}")


def _identifier(name: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_]", "_", name)
    if not re.match(r"[A-Za-z]", name):
        return f"n_{name}"
    return name


def _claim(taken: dict[str, str], name: str, owner: str) -> None:
    while name in taken:
        name += "_"
    taken[name] = owner


def float_dtype(method: CallSignature) -> str:
    """Return the dtype of the first output of floats, float32 where there is none."""
    for port in method.returns.values():
        if port.dtype and port.dtype in FLOATS:
            return port.dtype
    return "f32"

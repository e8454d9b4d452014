"""Check the config of an ONNX component against its file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from composer.core.errors import Place
from composer.core.ports import FLOATS
from composer.core.problems import Problems
from composer.core.suggest import did_you_mean, listed

from .graph_config import OnnxGraphConfig
from .graph_contract import ContractTensor, Dim, GraphContract, shape_text

if TYPE_CHECKING:
    from composer.formats import OnnxSignature, OnnxValue

CARRIED = ("f32", "f16", "f64", "i64", "i32", "i16", "i8", "u8", "u16", "u32", "u64", "bool")
MASKS = ("bool", "i64", "i32", "f32", "f16")


def check_config(signature: OnnxSignature, config: OnnxGraphConfig) -> GraphContract:
    """Check the config against the file; raise ComposerError with all that does not fit."""
    return _ConfigCheck(signature, config).contract()


@dataclass
class _ConfigCheck:
    signature: OnnxSignature
    config: OnnxGraphConfig

    def __post_init__(self) -> None:
        self.problems = Problems(place=Place(str(self.signature.file)))
        self.report = self.problems.report

    def contract(self) -> GraphContract:
        file = str(self.signature.file)
        inputs = self.tensors("input", self.signature.inputs)
        led = all(tensor.batched for tensor in inputs.values() if tensor.dims)
        outputs = self.tensors("output", self.signature.outputs, led)
        self.check_names()
        self.problems.raise_any()
        config, mask, rows = self.config, self.config.mask, self.config.rows
        plain = GraphContract(file, inputs, outputs, config)
        for name in config.inputs:
            self.check_layout(plain, inputs[name])
        mask_of = rows_of = rows_output = None
        if mask:
            mask_of = self.framed_input(plain, "mask", mask.of)
        if rows:
            rows_of = self.framed_input(plain, "rows", rows.of)
            rows_output = rows.output or next(iter(outputs))
        contract = GraphContract(file, inputs, outputs, config, mask_of, rows_of, rows_output)
        self.problems.raise_any()
        for name in config.inputs:
            self.check_padding(contract, inputs[name])
        self.check_rows(contract)
        self.check_mask(contract)
        self.problems.raise_any()
        return contract

    def tensors(
        self, role: str, values: Iterable[OnnxValue], led: bool = False
    ) -> dict[str, ContractTensor]:
        found = {}
        for value in values:
            what = f"{role} {value.name}"
            hint = "export it with its axes, named where their length varies"
            dims, stated = value.dims, None
            if role == "output":
                stated = self.config.outputs.get(value.name)
                hint += f", or state them: outputs: {{{value.name}: {{shape: [...]}}}}"
            if stated:
                dims = tuple(stated.shape)
            if value.dtype not in CARRIED:
                self.report(
                    "W262",
                    f"{what} is {value.dtype}, which NumPy cannot carry",
                    hint=f"export it as one of {listed(CARRIED)}",
                )
            elif dims is None:
                self.report("W262", f"{what} declares no shape, so it cannot be wired", hint=hint)
            else:
                batched = self.has_batch(role, what, dims, led)
                found[value.name] = ContractTensor(
                    role, value.name, value.dtype, dims, batched, stated is not None
                )
        return found

    def has_batch(self, role: str, what: str, dims: tuple[Dim, ...], led: bool) -> bool:
        """Return whether axis 0 is a batch; report where that is not plain."""
        rule = self.config.batch
        if rule == "none" or not dims or (rule == "inputs" and role == "output"):
            return False
        first = dims[0]
        if isinstance(first, int):
            if rule != "auto" and first != 1:
                self.report(
                    "W261",
                    f"axis 0 of {what} {shape_text(dims)} is {first}, but a run is one utterance",
                    hint="export it for a batch of 1 or of any size, or say batch: none",
                )
            return first == 1
        word = (first or "").lower()
        if rule != "auto" or "batch" in word or word in ("b", "bs"):
            return True
        # Exporters lose the batch's name on the way to the output; a run checks that it is 1.
        if led and len(dims) > 2:
            return True
        self.report(
            "W261",
            f"axis 0 of {what} {shape_text(dims)} may be a batch or not",
            hint="say which tensors have one: batch: leading (all), inputs, or none",
        )
        return False

    def check_names(self) -> None:
        """Report each name in the config that the file does not have."""
        mask, rows = self.config.mask, self.config.rows
        for name in self.config.inputs:
            self.require_name(f"inputs.{name}", "input", name)
        for name in self.config.outputs:
            self.require_name(f"outputs.{name}", "output", name)
        if mask:
            self.require_name("mask.input", "input", mask.input)
        if mask and mask.of:
            self.require_name("mask.of", "input", mask.of)
        if rows and rows.of:
            self.require_name("rows.of", "input", rows.of)
        if rows and rows.output:
            self.require_name("rows.output", "output", rows.output)

    def require_name(self, setting: str, role: str, name: str) -> None:
        """Report a name that a setting gives and the file does not have."""
        values = self.signature.inputs if role == "input" else self.signature.outputs
        names = [value.name for value in values]
        if name in names:
            return
        hint = f"{role}s: {listed(names)}"
        if near := did_you_mean(name, names):
            hint = f"{near}; {hint}"
        self.report("W260", f"{setting}: the file has no {role} '{name}'", hint=hint)

    def framed_input(self, contract: GraphContract, setting: str, of: str | None) -> str | None:
        """Return the input whose frames a setting counts."""
        mask = self.config.mask
        able = [tensor.name for tensor in contract.port_inputs if tensor.inner]
        if of is None and len(able) == 1:
            return able[0]
        if of in able:
            return of
        if of is None:
            message = f"{setting} does not say whose frames it counts"
        elif mask and of == mask.input:
            message = f"{setting}.of is '{of}', which is the mask itself"
        else:
            message = f"{setting}.of is '{of}', which has no axis of frames"
        self.report("W267", message, hint=f"write {setting}.of: one of {listed(able)}")
        return None

    def check_layout(self, contract: GraphContract, tensor: ContractTensor) -> None:
        settings, rank = contract.input_config(tensor.name), len(tensor.inner)
        if self.config.mask and tensor.name == self.config.mask.input:
            self.report(
                "W265",
                f"inputs.{tensor.name} is the mask, which is filled and takes no settings",
                hint=f"remove inputs.{tensor.name}, or mask",
            )
        elif rank == 0 or (settings.layout == "F M" and rank != 2):
            wants = f"layout '{settings.layout}'" if settings.layout else "an axis of frames"
            axes = "1 axis" if rank == 1 else f"{rank} axes"
            self.report(
                "W263",
                f"inputs.{tensor.name} wants {wants}, but the file has {tensor}",
                f"without the batch it has {axes}",
            )

    def check_padding(self, contract: GraphContract, tensor: ContractTensor) -> None:
        settings = contract.input_config(tensor.name)
        pad, length = settings.pad, tensor.inner[contract.axis(tensor)]
        if pad is None:
            return
        if isinstance(length, int) and pad.fixed != length:
            rule = f"fixed: {pad.fixed}" if pad.fixed else f"multiple_of: {pad.multiple_of}"
            self.report(
                "W264",
                f"inputs.{tensor.name}.pad is {{{rule}}}, but the file takes {length} frames",
                f"{length} comes from {contract.file}: {tensor}",
                hint=f"write pad: {{fixed: {length}}}",
            )
        if tensor.dtype not in FLOATS and settings.fill != int(settings.fill):
            self.report(
                "W264",
                f"inputs.{tensor.name}.fill is {settings.fill}, but the input is {tensor.dtype}",
                hint="write a whole number",
            )

    def check_rows(self, contract: GraphContract) -> None:
        rows = contract.rows
        if rows is None or contract.rows_of is None or contract.rows_output is None:
            return
        output = contract.outputs[contract.rows_output]
        if not output.inner:
            self.report("W266", f"rows.output has no axis of rows: the file has {output}")
            return
        fed, gives = contract.fixed_frames(contract.rows_of), output.inner[0]
        if fed is not None and isinstance(gives, int) and rows.count(fed) != gives:
            self.report(
                "W266",
                f"rows gives {rows.count(fed)} rows for {fed} frames, but the file gives {gives}",
                f"{rows.count(fed)} is {rows.formula(fed)}",
                f"{gives} comes from {contract.file}: {output}",
                hint="correct rows.chunk and rows.stride",
            )

    def check_mask(self, contract: GraphContract) -> None:
        mask, rows = contract.mask, contract.rows
        if mask is None or contract.mask_of is None:
            return
        tensor = contract.inputs[mask.input]
        if mask.unit == "row" and rows is None:
            self.report(
                "W265",
                "mask.unit is 'row', but nothing says how many rows there are",
                hint="add rows: {stride: ...}",
            )
        rank, counts = len(tensor.inner), tensor.dtype in ("i64", "i32")
        if rank > 1 or tensor.dtype not in MASKS or (rank == 0 and not counts):
            self.report(
                "W265",
                f"mask.input cannot be filled: the file has {tensor} of {tensor.dtype}",
                f"a mask has one axis of {', '.join(MASKS)}; a count has none, of i64 or i32",
            )
            return
        fed = contract.fixed_frames(contract.mask_of)
        if rank == 0 or fed is None or not isinstance(tensor.inner[0], int):
            return
        length: int | None = fed
        if mask.unit == "row":
            length = rows.count(fed) if rows else None
        if length is not None and length != tensor.inner[0]:
            self.report(
                "W265",
                f"the mask has {tensor.inner[0]} marks, but {fed} frames make {length} "
                f"{mask.unit}s",
                f"{tensor.inner[0]} comes from {contract.file}: {tensor}",
                hint="mask.unit is 'frame' or 'row'",
            )

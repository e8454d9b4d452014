"""What an ONNX file and its config promise together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .graph_config import InputConfig, MaskConfig, OnnxGraphConfig, RowCount

Dim = int | str | None

PLAIN = InputConfig()


@dataclass(frozen=True)
class ContractTensor:
    """An input or output; `batched` where ports leave out its axis 0.

    `dims` are what the file declares, or with `stated` what the config states instead.
    """

    role: str
    name: str
    dtype: str
    dims: tuple[Dim, ...]
    batched: bool
    stated: bool = False

    def __str__(self) -> str:
        return f"{self.role} {self.name} {shape_text(self.dims)}"

    @property
    def inner(self) -> tuple[Dim, ...]:
        """Return the dims without the batch axis."""
        return self.dims[1:] if self.batched else self.dims

    def mismatch(
        self, lengths: tuple[int, ...], seen: dict[str, tuple[int, str]], skip: int | None = None
    ) -> str:
        """Describe how an array's shape breaks what is declared, or return nothing.

        `seen` keeps the first length of each symbol; the axis `skip` is checked by other means.
        """
        if len(lengths) != len(self.dims):
            return f"has the shape {list(lengths)}"
        if self.batched and lengths[0] != 1:
            return f"has {lengths[0]} on axis 0, which is the batch"
        for axis, (dim, length) in enumerate(zip(self.dims, lengths, strict=True)):
            if axis == skip or dim is None:
                continue
            if isinstance(dim, int):
                if dim != length:
                    return f"has {length} on axis {axis}"
                continue
            first, where = seen.setdefault(dim, (length, f"axis {axis} of {self}"))
            if first != length:
                return f"has {length} on axis {axis}, but '{dim}' is {first} on {where}"
        return ""


@dataclass(frozen=True)
class GraphContract:
    """The tensors of a file by name, and the settings, every name in them resolved."""

    file: str
    inputs: Mapping[str, ContractTensor]
    outputs: Mapping[str, ContractTensor]
    config: OnnxGraphConfig
    mask_of: str | None = None
    rows_of: str | None = None
    rows_output: str | None = None

    @property
    def mask(self) -> MaskConfig | None:
        """Return the mask's settings."""
        return self.config.mask

    @property
    def rows(self) -> RowCount | None:
        """Return the rows' settings."""
        return self.config.rows

    @property
    def port_inputs(self) -> Iterable[ContractTensor]:
        """Return the inputs that are ports."""
        filled = self.mask.input if self.mask else None
        return [tensor for name, tensor in self.inputs.items() if name != filled]

    @property
    def count_reasons(self) -> dict[str, str]:
        """Return, by input port that may be meant for a number of frames, how to have it filled."""
        found = {}
        for tensor in self.port_inputs:
            if not tensor.inner and tensor.dtype in ("i64", "i32"):
                setting = f"mask: {{input: {tensor.name}}}"
                found[tensor.name] = f"{setting} in config fills it with the number of true frames"
        return found

    @property
    def frame_marks(self) -> dict[str, str]:
        """Return by input the port that marks which of its frames are no padding.

        There is one where that matters: where a mask is filled, or only valid rows are kept.
        """
        names = []
        if self.rows_of and self.rows and self.rows.keep == "valid":
            names.append(self.rows_of)
        if self.mask_of and self.mask_of not in names:
            names.append(self.mask_of)
        found = {}
        for name in names:
            port = "valid" if len(names) == 1 else f"{name}_valid"
            while port in self.inputs:
                port += "_"
            found[name] = port
        return found

    def input_config(self, name: str) -> InputConfig:
        """Return the settings of an input."""
        return self.config.inputs.get(name, PLAIN)

    def axis(self, tensor: ContractTensor) -> int:
        """Return the axis of an input's frames in the file, not counting the batch."""
        if self.input_config(tensor.name).layout in ("F M", "F D"):
            return 0
        return len(tensor.inner) - 1

    def fixed_frames(self, name: str) -> int | None:
        """Return how many frames an input is always fed, or None where that varies."""
        pad, tensor = self.input_config(name).pad, self.inputs[name]
        length = tensor.inner[self.axis(tensor)]
        if pad and pad.fixed:
            return pad.fixed
        return length if isinstance(length, int) else None


def shape_text(dims: Iterable[Dim]) -> str:
    """Write dims as a message shows them."""
    shown = ["?" if dim is None else str(dim) for dim in dims]
    return f"[{', '.join(shown)}]"

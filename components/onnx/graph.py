"""Any ONNX graph as a component, its ports read from the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from composer.core.backend import LONG, SHORT
from composer.core.call_signature import CALL, OUT
from composer.core.component import Component, Facts, Spec
from composer.core.errors import ComposerError
from composer.core.ports import FLOATS

from ..checkpoints.file_stamps import StampedFacts, require_unchanged, stamp_files
from .config_check import check_config
from .file_precision import conversion, converted, converted_nbytes, precision_problems
from .graph_config import OnnxGraphConfig
from .graph_contract import ContractTensor, GraphContract
from .padding import pad_frames
from .ports import contract_ports, float_dtype, output_names
from .session import Session, describe_feeds, fail
from .versions import version_problems

if TYPE_CHECKING:
    from composer.core.placement import Placement
    from composer.core.private_folder import PrivateFolder
    from composer.formats import Headers


@dataclass(frozen=True)
class GraphFacts(StampedFacts):
    """What was read of a file, to be compared with what is loaded."""

    contract: GraphContract | None = None


STALE = (
    "if the file declares a shape that it does not compute, state the true one in the config: "
    "outputs: {NAME: {shape: [...]}}"
)


@dataclass(frozen=True)
class FrameCounts:
    """How many frames an input has, and how many the file was fed."""

    true: int
    fed: int


class OnnxGraph(Component, name="onnx.graph"):
    """Any ONNX graph, such as an audio encoder, whose ports come from its file.

    Each input of the file is an input port. A single output is the node's value; of several, the
    first is, and each is `$node.name` too. Ports leave out the batch axis, which is 1. With
    `config` the component pads frames itself, fills a mask from their true number, and holds the
    rows that come out against a formula: it never cuts an input and never returns a wrong count.
    Qwen3-ASR exported for 30 s: `{inputs: {input_features: {pad: {fixed: 3000}}},
    rows: {chunk: 100, stride: 8}}`. With a `precision` the file is converted when it is loaded.
    """

    backend = "numpy"
    requires = frozenset({"weights"})
    accepts = frozenset({"precision"})
    placement_keys = frozenset({"providers", "threads", "time_limit", "child_memory_gb"})
    Config = OnnxGraphConfig

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        if headers is None or spec.weights is None:
            return Facts(unknown=True)
        signature = headers.onnx(spec.weights)
        problems = [*version_problems(signature), *precision_problems(spec.precision)]
        if errors := [each for each in problems if each.severity == "error"]:
            raise ComposerError(errors)
        contract = check_config(signature, spec.config)
        method, dims = contract_ports(contract)
        return GraphFacts(
            dims=dims,
            dtype=float_dtype(method),
            nbytes=converted_nbytes(signature.nbytes, spec.precision),
            **conversion(spec.weights, signature.files, spec.precision),
            methods={CALL: method},
            masks=contract.frame_marks,
            missing_reasons=contract.count_reasons,
            contract=contract,
            notes=tuple(problems),
            stamps=stamp_files(signature.files),
        )

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        assert isinstance(facts, GraphFacts)
        assert facts.contract is not None
        assert spec.weights is not None
        assert spec.weights.path is not None
        require_unchanged(facts)
        path, folder = converted(spec.weights.path, facts.packing)
        return cls(facts.contract, Session(path, facts.contract, placement, facts.nbytes), folder)

    def __init__(
        self, contract: GraphContract, session: Session, folder: PrivateFolder | None = None
    ) -> None:
        self.contract = contract
        self.session = session
        self.folder = folder  # of a converted file, which a child process may load again

    def __call__(self, /, **inputs: np.ndarray) -> Any:
        """Run the graph on the inputs by name; return its output, or several by name."""
        contract, lengths = self.contract, dict[str, Any]()
        feeds, frames = {}, {}
        for tensor in contract.port_inputs:
            valid = inputs.get(contract.frame_marks.get(tensor.name, ""))
            fed_value, counted = self._prepare(tensor, inputs[tensor.name], valid)
            feeds[tensor.name], frames[tensor.name] = fed_value, counted
        if contract.mask:
            feeds[contract.mask.input] = self._marks(frames[contract.mask_of or ""])
        for name, array in feeds.items():
            wrong = contract.inputs[name].mismatch(array.shape, lengths)
            if wrong:
                fail(contract, "R539", f"{contract.inputs[name]} {wrong}", describe_feeds(feeds))
        kept = {}
        for name, array in self.session.run(feeds).items():
            kept[name] = self._valid_rows(name, array, frames, feeds, lengths)
        answer = {port: kept[name] for port, name in output_names(contract).items()}
        if len(answer) == 1:
            return answer[OUT]
        return answer

    def _prepare(
        self, tensor: ContractTensor, value: np.ndarray, valid: np.ndarray | None
    ) -> tuple[np.ndarray, FrameCounts]:
        """Lay out and pad one value as the file takes it; `valid` marks what is no padding yet."""
        if value.dtype == bool:
            value = value.astype(LONG[tensor.dtype])
        assert SHORT[value.dtype.name] == tensor.dtype, f"{value.dtype} for {tensor}"
        assert value.ndim == len(tensor.inner), f"{value.shape} for {tensor}"
        settings = self.contract.input_config(tensor.name)
        if settings.layout == "F M":
            value = value.T
        frames = FrameCounts(1, 1)
        if value.ndim:
            axis = self.contract.axis(tensor)
            length = value.shape[axis]
            frames = self._frames(tensor, length, valid)
            if frames.fed != length:
                value = pad_frames(tensor, value, axis, frames.fed, settings.fill)
        if tensor.batched:
            value = value[None]
        # ONNX Runtime reads the memory in order
        return np.asarray(value, order="C"), frames

    def _frames(self, tensor: ContractTensor, given: int, valid: np.ndarray | None) -> FrameCounts:
        pad = self.contract.input_config(tensor.name).pad
        length = pad.length(given) if pad else given
        if length < given:
            fail(
                self.contract,
                "R538",
                f"{tensor} has {given} frames, but it is padded to {length}",
                hint="cut the audio into shorter pieces before it is encoded; none is cut here",
            )
        true = given if valid is None else int(np.count_nonzero(valid))
        if valid is not None and (len(valid) != given or not valid[:true].all()):
            fail(
                self.contract,
                "R538",
                f"{tensor} has {given} frames, and the mask {len(valid)}, of which {true} are true",
                hint="a mask marks each frame, and padding comes after all others",
            )
        counted = (self.contract.mask_of, self.contract.rows_of)
        if true == 0 and (pad or tensor.name in counted):
            fail(self.contract, "R538", f"{tensor} has no frames")
        return FrameCounts(true, length)

    def _marks(self, frames: FrameCounts) -> np.ndarray:
        """Fill the mask, or the count, from the true number of frames."""
        contract, mask, rows = self.contract, self.contract.mask, self.contract.rows
        assert mask is not None
        tensor, true, length = contract.inputs[mask.input], frames.true, frames.fed
        if mask.unit == "row" and rows is not None:
            true, length = rows.count(true), rows.count(length)
        marks = np.asarray(true)
        if tensor.inner:
            marks = (np.arange(length) < true) == bool(mask.valid)
        array: np.ndarray = marks.astype(LONG[tensor.dtype])
        if tensor.batched:
            return array[None]
        return array

    def _valid_rows(
        self,
        name: str,
        array: np.ndarray,
        frames: dict[str, FrameCounts],
        feeds: dict[str, np.ndarray],
        lengths: dict[str, Any],
    ) -> np.ndarray:
        """Check one output, and return it without the batch and without padding rows."""
        contract, tensor, rows = self.contract, self.contract.outputs[name], self.contract.rows
        counted = rows is not None and name == contract.rows_output
        if SHORT.get(array.dtype.name) != tensor.dtype:
            wrong = f"{tensor} came out as {array.dtype.name}, but is {tensor.dtype}"
            fail(contract, "R535", wrong, describe_feeds(feeds))
        rows_axis = int(tensor.batched) if counted else None
        wrong = tensor.mismatch(array.shape, lengths, rows_axis)
        if wrong:
            fail(contract, "R535", f"{tensor} {wrong}", describe_feeds(feeds), hint=STALE)
        if not array.size and all(each.size for each in feeds.values()):
            fail(contract, "R535", f"{tensor} is empty, {list(array.shape)}", describe_feeds(feeds))
        if tensor.dtype in FLOATS and not np.isfinite(array).all():
            self._refuse_nan(tensor, array, feeds)
        if tensor.batched:
            array = np.asarray(array[0])  # of one axis a number is left
        if rows is None or not counted:
            return array
        clip = frames[contract.rows_of or ""]
        if len(array) != rows.count(clip.fed):
            fail(
                contract,
                "R537",
                f"{tensor} has {len(array)} rows, but rows gives {rows.count(clip.fed)} for "
                f"{clip.fed} frames",
                rows.formula(clip.fed),
                f"{contract.rows_of} has {clip.true} frames, fed as {clip.fed}",
                hint="correct rows.chunk and rows.stride in the component's config",
            )
        if rows.keep == "valid":
            return array[: rows.count(clip.true)]
        return array

    def _refuse_nan(
        self, tensor: ContractTensor, array: np.ndarray, feeds: dict[str, np.ndarray]
    ) -> None:
        bad = int(array.size - np.isfinite(array).sum())
        already = []
        for name, a in feeds.items():
            if a.dtype.kind == "f" and not np.isfinite(a).all():
                already.append(name)
        whose = "none in its inputs"
        if already:
            whose = f"already in its inputs: {', '.join(already)}"
        message = f"{tensor} has {bad} of {array.size} numbers that are NaN or infinite"
        fail(self.contract, "R536", message, whose, describe_feeds(feeds))

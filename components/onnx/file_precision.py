"""Convert an ONNX file to another precision with ONNX Runtime's own tools."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from composer.core.errors import ComposerError, Problem
from composer.core.location import Location
from composer.core.private_folder import PrivateFolder
from composer.core.weight_group import WeightGroup
from composer.formats.packing import FileConversion
from composer.formats.quantization import DYNAMIC, Scheme

from .proto import CONTRIB

INSTALL = "pip install 'bundle-composer[onnx]'"
FLOAT16 = "float16"
LARGEST = 1_500_000_000  # bytes of a file of protobuf; more lie beside it
KINDS = {"MatMulNBits": "products", "MatMulInteger": "products", "MatMul": "products",
         "Gemm": "products", "Conv": "convolutions"}  # fmt: skip


def precision_problems(precision: Any) -> Iterator[Problem]:
    """Yield why an ONNX file cannot be converted to a dtype or by a recipe."""
    if precision is None:
        return
    if isinstance(precision, str) or precision.dtype:
        dtype = precision if isinstance(precision, str) else precision.dtype
        if dtype != FLOAT16 or not isinstance(precision, str):
            hint = "say precision: float16, or a recipe without a dtype"
            yield Problem("W246", f"an ONNX file is not converted to {dtype}", hint=hint)
    elif precision.rules:
        hint = "take a recipe without rules, such as int8, and name nodes under keep"
        yield Problem("W246", "an ONNX file is packed in one number of bits", hint=hint)
    elif precision.mode not in ("affine", DYNAMIC) or precision.bits not in (4, 8):
        hint = "take 4 or 8 bits, or int8-dynamic"
        form = f"{precision.bits} bits, {precision.mode}"
        yield Problem("W246", f"ONNX Runtime does not multiply by {form}", hint=hint)
    if find_spec("onnx") is None:
        message = "an ONNX file is converted by the package onnx, which is not here"
        yield Problem("R595", message, hint=INSTALL)


def conversion(weights: Location, files: tuple[Location, ...], precision: Any) -> dict[str, Any]:
    """Return the facts of a file that is converted: how it is written, and what a plan lists."""
    if precision is None:
        return {}
    title = precision if isinstance(precision, str) else precision.title
    packing = FileConversion(weights, files, partial(convert, precision=precision))
    return {"packing": packing, "casts": (f"converted when it is loaded: {title}",)}


def converted(path: Path, packing: FileConversion | None) -> tuple[Path, PrivateFolder | None]:
    """Return the file to load, and the folder to hold while it is used where it was converted."""
    if packing is None:
        return path, None
    folder = PrivateFolder()
    packing.convert(path, folder.path / path.name)
    return folder.path / path.name, folder


def converted_nbytes(nbytes: int, precision: Any) -> int:
    """Return about what float32 weights take in another precision, as if all were of products."""
    if precision is None:
        return nbytes
    if isinstance(precision, str):
        return nbytes // 2
    return Scheme(precision.bits, precision.group_size, "affine").nbytes(nbytes // 4, 4)


def convert(source: Path, target: Path, precision: Any) -> tuple[WeightGroup, ...]:
    """Write a file in another precision, and return its weights by kind.

    `float16` converts all but inputs and outputs; a recipe packs the constant matrices of products
    in 4 or 8 bits, or in mode `dynamic` rounds both factors to 8. The file is read as a whole.
    """
    onnx = import_module("onnx")
    with _quiet():
        if precision == FLOAT16:
            model = _float16(onnx, source)
        elif precision.mode == DYNAMIC:
            model = _dynamic(onnx, source, precision)
        else:
            model = _packed(onnx.load(str(source)), precision)
    for each in [*model.metadata_props]:
        if each.key.startswith("onnx.quant."):
            model.metadata_props.remove(each)
    groups = _groups(model)  # before it is saved, which may move the bytes out of it
    beside = sum(len(each.raw_data) for each in model.graph.initializer) > LARGEST
    onnx.save(model, str(target), save_as_external_data=beside, location=f"{target.name}.data")
    return groups


def _float16(onnx: Any, source: Path) -> Any:
    """Convert all but inputs and outputs. With constants a graph may be too large for shapes."""
    tool = import_module("onnxruntime.transformers.float16")
    model = onnx.load(str(source), load_external_data=False)
    model = onnx.shape_inference.infer_shapes(model)
    onnx.load_external_data_for_model(model, str(source.parent))
    return tool.convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True)


def _packed(model: Any, recipe: Any) -> Any:
    """Replace products with constant matrices [K, N] by MatMulNBits, in blocks along K."""
    onnx = import_module("onnx")
    import_module("onnxruntime.quantization.onnx_model").ONNXModel(model).replace_gemm_with_matmul()
    kept = _kept(model, recipe)
    constants = {each.name: each for each in model.graph.initializer}
    replaced = set()
    for node in model.graph.node:
        stored = constants.get(node.input[1]) if node.op_type == "MatMul" else None
        if stored is None or len(stored.dims) != 2 or node.name in kept:
            continue
        parts = _blocks(onnx.numpy_helper.to_array(stored), recipe.bits, recipe.group_size)
        for suffix, part in zip(("codes", "scales", "zeros"), parts, strict=True):
            name = f"{stored.name}.{suffix}"
            if name not in constants:
                constants[name] = onnx.numpy_helper.from_array(part, name)
                model.graph.initializer.append(constants[name])
            node.input.append(name)
        del node.input[1]
        replaced.add(stored.name)
        node.op_type, node.domain = "MatMulNBits", CONTRIB
        rows, columns = stored.dims
        sizes = {"K": rows, "N": columns, "bits": recipe.bits, "block_size": recipe.group_size}
        node.attribute.extend(onnx.helper.make_attribute(*each) for each in sizes.items())
    replaced -= _names_read(model.graph)
    for each in [*model.graph.initializer]:
        if each.name in replaced:
            model.graph.initializer.remove(each)
    if CONTRIB not in [each.domain for each in model.opset_import]:
        model.opset_import.append(onnx.helper.make_opsetid(CONTRIB, 1))
    return model


def _names_read(graph: Any) -> set[str]:
    """Return what a graph's nodes read, those of its inner graphs too, and its outputs."""
    found = {each.name for each in graph.output}
    for node in graph.node:
        found.update(node.input)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                found |= _names_read(inner)
    return found


def _blocks(weight: np.ndarray, bits: int, size: int) -> tuple[np.ndarray, ...]:
    """Return the codes, scales and zero points of a matrix [K, N], as ONNX Runtime packs it."""
    rows, columns = weight.shape
    blocks = -(-rows // size)
    codes = np.zeros((columns, blocks, size * bits // 8), np.uint8)
    scales = np.zeros(columns * blocks, np.float32)
    zeros = np.zeros(columns * -(-blocks * bits // 8), np.uint8)
    pack = getattr(import_module("onnxruntime.capi._pybind_state"), f"quantize_matmul_{bits}bits")
    pack(codes, np.ascontiguousarray(weight, np.float32), scales, zeros, size, columns, rows, False)
    return codes, scales, zeros


def _dynamic(onnx: Any, source: Path, recipe: Any) -> Any:
    quantization = import_module("onnxruntime.quantization")
    given: Any = source
    if recipe.keep:
        given = onnx.load(str(source))  # whose nodes get names where they have none
    kept = _kept(given, recipe) if recipe.keep else []
    with TemporaryDirectory(prefix="composer-") as folder:
        made = Path(folder) / "made.onnx"
        quantization.quantize_dynamic(
            given, made, op_types_to_quantize=["MatMul"], per_channel=True,
            weight_type=quantization.QuantType.QInt8, nodes_to_exclude=kept,
        )  # fmt: skip
        return onnx.load(str(made))


def _kept(model: Any, recipe: Any) -> list[str]:
    """Return the nodes that `keep` names, by their own names or those of their weights.

    Nodes without a name get one, by which they can be distinguished from each other.
    """
    kept, used = [], set()
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}_unnamed"
        for glob in recipe.keep:
            if any(fnmatchcase(name, glob) for name in (node.name, *node.input)):
                kept.append(node.name)
                used.add(glob)
    if unused := [glob for glob in recipe.required_globs if glob not in used]:
        message = f"the glob '{unused[0]}' in precision matches no node and no weight"
        raise ComposerError(Problem("W246", message))
    return kept


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the tools log: that their own preparation was not run."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _groups(model: Any) -> tuple[WeightGroup, ...]:
    """Return the constants of a model by what reads them and how they are stored."""
    onnx = import_module("onnx")
    readers: dict[str, Any] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, node)
    names = {value: key.lower() for key, value in onnx.TensorProto.DataType.items()}
    counts: dict[tuple[str, str, bool], Counter[str]] = {}
    for tensor in model.graph.initializer:
        node = readers.get(tensor.name)
        kind = KINDS.get(node.op_type, "others") if node else "others"
        form, numbers, packed = names[tensor.data_type], prod(tensor.dims), False
        nbytes = len(tensor.raw_data) or numbers * 4
        if node and node.op_type in ("MatMulNBits", "MatMulInteger"):
            packed = True
            numbers, form = _packed_form(node, tensor)
        count = counts.setdefault((kind, form, packed), Counter())
        count.update(modules=numbers > 0, numbers=numbers, nbytes=nbytes)
    found = []
    for (kind, form, packed), each in counts.items():
        found.append(
            WeightGroup(kind, form, packed, each["modules"], each["numbers"], each["nbytes"])
        )
    return tuple(sorted(found, key=lambda group: -group.nbytes))


def _packed_form(node: Any, tensor: Any) -> tuple[int, str]:
    """Return how many weights a tensor of a packed product holds, none for scales, and its form."""
    first = tensor.name == node.input[1]
    if node.op_type == "MatMulInteger":
        return prod(tensor.dims) if first else 0, "8 bits, activations too"
    values = {each.name: each.i for each in node.attribute}
    form = f"{values['bits']} bits, groups of {values['block_size']}"
    return values["K"] * values["N"] if first else 0, form

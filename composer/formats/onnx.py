"""Read the signature of an ONNX file: ports, operator domains, external data; never the weights."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from composer.core.location import Location
from composer.formats.file_problems import FileProblems, join_names, refuse, show
from composer.formats.files import Files, LocalFiles
from composer.formats.onnx_initializers import (
    AXES,
    DTYPES,
    ExternalData,
    Initializers,
    is_addressable,
)
from composer.formats.onnx_nodes import GraphWalker
from composer.formats.protobuf import (
    ExcessiveMessage,
    Field,
    MalformedMessage,
    ProtobufReader,
    Span,
    read_message,
)
from composer.formats.wrong_file_type import refuse_wrong_type

MODEL = {
    1: Field("ir", "int"),
    7: Field("graph", "span"),
    8: Field("opsets", "span", many=True),
    25: Field("functions", "span", many=True),
}
OPSET = {1: Field("domain", "text"), 2: Field("version", "int")}
VALUE = {1: Field("name", "text"), 2: Field("type", "span")}
TYPE = {1: Field("tensor", "span")}
TENSOR_TYPE = {1: Field("dtype", "int"), 2: Field("shape", "span")}
SHAPE = {1: Field("dims", "span", many=True)}
DIMENSION = {1: Field("value", "int"), 2: Field("symbol", "text")}
SIZE = 2**31
MAX_IR, MAX_OPSET = 50, 100

Dim = int | str | None


@dataclass(frozen=True)
class OnnxValue:
    """An input or output; a dim is a number, a symbol or unknown, and no dims is unknown rank."""

    name: str
    dtype: str
    dims: tuple[Dim, ...] | None


@dataclass(frozen=True, eq=False)
class OnnxSignature:
    """An ONNX file's inputs, outputs, versions, external data and size in bytes.

    `bfloat16` are the operators that compute with bfloat16, each with where that comes from.
    `opsets` are the newest of the model and of its functions.
    """

    file: Location
    inputs: tuple[OnnxValue, ...]
    outputs: tuple[OnnxValue, ...]
    ir: int
    opsets: Mapping[str, int]
    domains: frozenset[str]
    external: tuple[ExternalData, ...]
    nbytes: int
    bfloat16: Mapping[str, str]

    @property
    def files(self) -> tuple[Location, ...]:
        """Return the model's file and its external data files."""
        return tuple(dict.fromkeys((self.file, *(data.file for data in self.external))))


def read_onnx_signature(location: Location, files: Files | None = None) -> OnnxSignature:
    """Describe an ONNX file, or refuse it before a runtime opens it."""
    files = files or LocalFiles()
    if files.kind(location) == "folder":
        models = [name for name in files.names(location) if name.endswith(".onnx")]
        refuse(
            location,
            "S402",
            f"is a folder; expected an ONNX file (it has {join_names(models)})",
        )
    with files.open(location) as ranges:
        head = ranges.read(0, min(ranges.size, 512))
        if not head or head[0] != 8:
            refuse_wrong_type(location, head, "an ONNX model")
        if ranges.size >= SIZE:
            refuse(
                location,
                "S408",
                f"has {ranges.size} bytes; protobuf files must be smaller than {SIZE}",
                hint="save it with external data",
            )
        try:
            return _read(location, ProtobufReader(ranges), files)
        except MalformedMessage as error:
            refuse(
                location,
                "S440",
                f"is not a readable ONNX model: {error}",
                hint="it is damaged or cut off; download it again",
            )
        except ExcessiveMessage as error:
            refuse(location, "S447", f"is too large to describe: {error}")


def _read(location: Location, reader: ProtobufReader, files: Files) -> OnnxSignature:
    model = read_message(reader, (0, reader.size), MODEL)
    if model["graph"] is None:
        refuse(location, "S440", "is not a readable ONNX model: it has no graph")
    report = FileProblems()
    initializers = Initializers(location, reader, files, report)
    opsets = _opsets(location, reader, model["ir"], model["opsets"], report)
    walker = GraphWalker(location, reader, initializers, report)
    parts, stored, undefined = walker.graph(model["graph"])
    walker.report_undefined(undefined)
    walker.functions(model["functions"])
    for domain, version in _versions(reader, walker.opsets):
        opsets[domain] = max(opsets.get(domain, version), version)
    inputs = _values(location, reader, "input", parts["inputs"], stored, report)
    outputs = _values(location, reader, "output", parts["outputs"], (), report)
    report.raise_any()
    domains = frozenset(domain for domain, _ in walker.operators)
    external = tuple(initializers.external)
    return OnnxSignature(
        location,
        inputs,
        outputs,
        model["ir"],
        opsets,
        domains,
        external,
        initializers.nbytes,
        walker.bfloat16.operators,
    )


def _opsets(
    location: Location,
    reader: ProtobufReader,
    ir: int | None,
    spans: list[Span],
    report: FileProblems,
) -> dict[str, int]:
    if ir is None or not 3 <= ir <= MAX_IR:
        report.at(location, "S453", f"has the IR version {ir}; expected 3 to {MAX_IR}")
    opsets: dict[str, int] = {}
    for domain, version in _versions(reader, spans):
        if domain in opsets:
            report.at(location, "S453", f"names an opset of {show(domain)} twice")
        if not 1 <= version <= MAX_OPSET:
            report.at(
                location,
                "S453",
                f"names the opset {version} of {show(domain)}; expected 1 to {MAX_OPSET}",
            )
        opsets[domain] = version
    if not opsets:
        report.at(location, "S453", "names no opset")
    return opsets


def _versions(reader: ProtobufReader, spans: Iterable[Span]) -> Iterator[tuple[str, int]]:
    for span in spans:
        opset = read_message(reader, span, OPSET)
        yield opset["domain"] or "", opset["version"] or 0


def _values(
    location: Location,
    reader: ProtobufReader,
    role: str,
    spans: list[Span],
    stored: Collection[str],
    report: FileProblems,
) -> tuple[OnnxValue, ...]:
    found: dict[str, OnnxValue] = {}
    seen: set[str] = set()
    for span in spans:
        value = read_message(reader, span, VALUE)
        name = value["name"] or ""
        if not name or name in seen:
            what = f"two {role}s are called {show(name)}" if name else f"an {role} has no name"
            report.at(location, "S442", what)
        seen.add(name)
        if name not in stored:
            typed = _typed(location, reader, f"the {role} {show(name)}", value["type"], report)
            if typed:
                found[name] = OnnxValue(name, *typed)
    if not seen.difference(stored):
        report.at(location, "S441", f"has no {role}")
    return tuple(found.values())


def _typed(
    location: Location, reader: ProtobufReader, what: str, span: Span | None, report: FileProblems
) -> tuple[str, tuple[Dim, ...] | None] | None:
    tensor = read_message(reader, span, TYPE)["tensor"] if span else None
    if tensor is None:
        report.at(location, "S443", f"{what} is not a tensor; only tensors can be wired")
        return None
    parts = read_message(reader, tensor, TENSOR_TYPE)
    if parts["dtype"] not in DTYPES:
        report.at(location, "S443", f"{what} has the unknown element type {parts['dtype']}")
        return None
    dtype = DTYPES[parts["dtype"]][0]
    if parts["shape"] is None:
        return dtype, None
    dims: list[Dim] = []
    for inner in read_message(reader, parts["shape"], SHAPE)["dims"]:
        dim = read_message(reader, inner, DIMENSION)
        length = dim["value"]
        dims.append(dim["symbol"] or None if length is None else length)
    if len(dims) > AXES or not is_addressable([dim for dim in dims if isinstance(dim, int)]):
        report.at(
            location, "S444", f"{what} has the dims {show(str(dims))}, which are out of range"
        )
        return None
    return dtype, tuple(dims)

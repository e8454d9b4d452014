"""Walk the nodes of an ONNX model: list its operators and check that every value is defined."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from composer.core.location import Location
from composer.formats.cycles import NodeNames, cyclic_names
from composer.formats.file_problems import FileProblems, join_names, show
from composer.formats.onnx_bfloat16 import BFloat16Values
from composer.formats.onnx_call import NodeCall
from composer.formats.onnx_costs import Costs, WorkLimits, inlined_node_count
from composer.formats.onnx_initializers import Initializers
from composer.formats.protobuf import ExcessiveMessage, Field, ProtobufReader, Span, read_message

GRAPH = {
    1: Field("nodes", "span", many=True),
    5: Field("initializers", "span", many=True),
    11: Field("inputs", "span", many=True),
    12: Field("outputs", "span", many=True),
    15: Field("sparse", "span", many=True),
}
NODE = {
    1: Field("inputs", "text", many=True),
    2: Field("outputs", "text", many=True),
    3: Field("name", "text"),
    4: Field("op", "text"),
    5: Field("attributes", "span", many=True),
    7: Field("domain", "text"),
}
ATTRIBUTE = {
    1: Field("name", "text"),
    3: Field("integer", "int"),
    5: Field("tensor", "span"),
    6: Field("graph", "span"),
    10: Field("tensors", "span", many=True),
    11: Field("graphs", "span", many=True),
    22: Field("sparse", "span"),
    23: Field("sparses", "span", many=True),
}
SMALL = {
    1: Field("name", "text"),
    3: Field("integer", "int"),
    4: Field("text", "span"),
    5: Field("tensor", "span"),
    8: Field("integers", "int", many=True),
}
SPARSE = {1: Field("values", "span"), 2: Field("indices", "span")}
FUNCTION = {
    1: Field("name", "text"),
    4: Field("inputs", "text", many=True),
    5: Field("outputs", "text", many=True),
    7: Field("nodes", "span", many=True),
    9: Field("opsets", "span", many=True),
    10: Field("domain", "text"),
}
NAMED = {1: Field("name", "text")}
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
MAX_DEPTH = 16
UNFOLDED = 200_000  # nodes, with those of functions wherever they are called

Operator = tuple[str, str]


class GraphWalker:
    """Visit every graph of a model once, subgraphs and functions included.

    `opsets` are the messages that name those of functions.
    """

    def __init__(
        self,
        location: Location,
        reader: ProtobufReader,
        initializers: Initializers,
        report: FileProblems,
    ) -> None:
        self.location = location
        self.reader = reader
        self.initializers = initializers
        self.report = report
        self.operators: Counter[Operator] = Counter()
        self.bfloat16 = BFloat16Values(initializers.bfloat16)
        self.opsets: list[Span] = []
        self.work = WorkLimits()

    def graph(self, span: Span, depth: int = 0) -> tuple[dict[str, Any], set[str], set[str]]:
        """Return a graph's fields, its initializers' names and the outer names that it reads."""
        if depth > MAX_DEPTH:
            raise ExcessiveMessage(f"its graphs are nested more than {MAX_DEPTH} deep")
        parts = read_message(self.reader, span, GRAPH)
        stored = set[str]()
        costs = Costs(self.initializers, self._report_cost, self.work.current)
        values = filter(None, map(self._values, parts["sparse"]))
        for tensor in (*parts["initializers"], *values):
            name = self.initializers.add(tensor)
            if name in stored:
                self._wrong("S442", f"two initializers are called {show(name)}")
            stored.add(name)
            if known := self.initializers.known(tensor):
                costs.values[name] = known
        inputs = list(map(self._name, parts["inputs"]))
        outputs = list(map(self._name, parts["outputs"]))
        undefined = self._check_nodes(parts["nodes"], [*stored, *inputs], outputs, costs, depth)
        return parts, stored, undefined

    def functions(self, spans: Iterable[Span]) -> None:
        """Visit the model's local functions, which must not be recursive."""
        calls: dict[Operator, Counter[Operator]] = {}
        used = self.operators
        for span in spans:
            parts = read_message(self.reader, span, FUNCTION)
            own = (parts["domain"] or "", parts["name"] or "")
            if own in calls:
                self._wrong("S442", f"two functions are called {show('.'.join(own))}")
            self.operators = calls.setdefault(own, Counter())
            self.opsets += parts["opsets"]
            self.work.enter(own)
            costs = Costs(self.initializers, self._report_cost, self.work.current)
            defined, outputs = parts["inputs"], parts["outputs"]
            self.report_undefined(self._check_nodes(parts["nodes"], defined, outputs, costs, 0))
        self.operators = sum(calls.values(), used.copy())
        nodes, numbers = [], {}
        for number, (own, called) in enumerate(calls.items()):
            nodes.append(NodeNames(".".join(own), frozenset(map(repr, called)), (repr(own),)))
            numbers[repr(own)] = number
        self._acyclic(nodes, numbers)
        many = inlined_node_count(used, calls)
        if many > UNFOLDED:
            raise ExcessiveMessage(f"its functions unfold to {many} nodes; the limit is {UNFOLDED}")
        if wrong := self.work.too_much_together(used, calls):
            self._report_cost(wrong)
        foreign = defaultdict[str, list[str]](list)
        for domain, name in sorted(self.operators.keys() - calls.keys()):
            if domain not in DOMAINS:
                foreign[domain].append(name)
        for domain, names in foreign.items():
            self._wrong(
                "S445",
                f"uses the operator {join_names(names)} of the domain {show(domain)}",
                hint="only operators of ONNX, ai.onnx.ml and com.microsoft run: export again "
                "without custom operators",
            )

    def _report_cost(self, message: str) -> None:
        """Report what no run could take."""
        self.work.is_reported = True
        self._wrong("W269", message, hint="whoever made the file means harm, or a shape is wrong")

    def report_undefined(self, names: Collection[str]) -> None:
        """Report the names that are read in the outermost scope but defined nowhere."""
        if names:
            self._wrong("S446", f"reads {join_names(sorted(names))}, which no node produces")

    def _check_nodes(
        self,
        spans: list[Span],
        defined: Collection[str],
        outputs: Iterable[str],
        costs: Costs,
        depth: int,
    ) -> set[str]:
        nodes = [self._node(span, costs, depth) for span in spans]
        known, producer = set(defined), dict[str, int]()
        for number, node in enumerate(nodes):
            for name in node.outputs:
                if name in producer or name in known:
                    self._wrong("S442", f"the value {show(name)} is produced twice")
                producer[name] = number
        self._acyclic(nodes, producer)
        read = set[str]().union(*(node.inputs for node in nodes), filter(None, outputs))
        return read - known - producer.keys()

    def _node(self, span: Span, costs: Costs, depth: int) -> NodeNames:
        parts = read_message(self.reader, span, NODE)
        inputs = set(filter(None, parts["inputs"]))
        outputs = tuple(filter(None, parts["outputs"]))
        self.operators[parts["domain"] or "", parts["op"] or ""] += 1
        if parts["domain"] in (None, "", "ai.onnx") and costs.knows(parts["op"]):
            costs.visit(self._call(parts, costs), parts["outputs"])
        target, constant = None, outputs[:1] if parts["op"] == "Constant" else ()
        for attribute in parts["attributes"]:
            inner = read_message(self.reader, attribute, ATTRIBUTE)
            if inner["name"] == "to":
                target = inner["integer"]
            sparse = [self._values(span) for span in (inner["sparse"], *inner["sparses"]) if span]
            for tensor in (inner["tensor"], *inner["tensors"], *sparse):
                if tensor:
                    self.initializers.add(tensor, *constant)
            for graph in (inner["graph"], *inner["graphs"]):
                if graph:
                    inputs |= self.graph(graph, depth + 1)[2]
        self.bfloat16.visit(parts["op"] or "", sorted(inputs), outputs, target)
        return NodeNames(parts["name"] or parts["op"] or "", frozenset(inputs), outputs)

    def _call(self, parts: Mapping[str, Any], costs: Costs) -> NodeCall:
        """Return a node with what is known of its inputs, and with its attributes."""
        integers: dict[str, tuple[int, ...]] = {}
        value, equation = None, ""
        for span in parts["attributes"]:
            own = read_message(self.reader, span, SMALL)
            if own["integer"] is not None:
                integers[own["name"] or ""] = (own["integer"],)
            elif own["integers"]:
                integers[own["name"] or ""] = tuple(own["integers"])
            elif own["tensor"]:
                value = self.initializers.known(own["tensor"])
            elif own["name"] == "equation" and own["text"]:
                equation = self.reader.text(own["text"])
        inputs = [costs.values.get(name) for name in parts["inputs"]]
        name = parts["name"] or ", ".join(parts["outputs"][:1])
        return NodeCall(name, parts["op"], inputs, integers, value, equation)

    def _acyclic(self, nodes: list[NodeNames], producer: dict[str, int]) -> None:
        cyclic = cyclic_names(nodes, producer)
        if len(cyclic) == 1:
            self._wrong("S446", f"{join_names(cyclic)} depends on its own output")
        elif cyclic:
            self._wrong("S446", f"{join_names(cyclic)} depend on each other in a cycle")

    def _values(self, span: Span) -> Span | None:
        values: Span | None = read_message(self.reader, span, SPARSE)["values"]
        return values

    def _name(self, span: Span) -> str:
        return read_message(self.reader, span, NAMED)["name"] or ""

    def _wrong(self, code: str, message: str, hint: str | None = None) -> None:
        self.report.at(self.location, code, message, hint=hint)

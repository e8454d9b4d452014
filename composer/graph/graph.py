"""A task's graph once its names, dims and spaces are resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from composer.core import registry
from composer.core.call_signature import CallSignature, Option
from composer.core.component import Bound, Facts, Spec
from composer.core.placement import HOST
from composer.core.ports import Port, Ports
from composer.graph.dims import DimUnifier, Length
from composer.manifest.entries import DEFAULT

if TYPE_CHECKING:
    from composer.core.component import Component
    from composer.core.location import Location
    from composer.manifest import Input


# The space of a component whose `emits` was refused: no follow-up errors.
ANY = "*"


@dataclass(frozen=True)
class CheckedComponent:
    """A component's `Spec` and all that checking it found out.

    `facts` is None where its own facts are broken. `files` are those that it read to report its
    facts, and will read again when it is loaded. `use` is what the manifest calls its kind,
    `reason` why this kind was chosen where it names a family.
    """

    cls: type[Component]
    spec: Spec
    facts: Facts | None
    emits: str | None = None
    files: tuple[Location, ...] = ()
    use: str = ""
    reason: str = ""

    @property
    def is_family(self) -> bool:
        """Return whether the manifest names a family, so that the backend was chosen."""
        return self.use not in ("", self.cls.name)

    @property
    def backend(self) -> str:
        """Return the backend of the kind: what stands before the family's name."""
        return self.cls.name.partition(".")[0]

    @property
    def methods(self) -> Mapping[str, CallSignature] | None:
        """Return its signatures, or None if they are unknown."""
        if self.facts is None:
            return None
        if self.facts.methods is not None:
            return self.facts.methods
        if self.facts.unknown:
            return self.cls.methods or None
        return self.cls.methods

    @property
    def dims(self) -> Mapping[str, Bound]:
        """Return the lengths that its files fix, by the symbols of its ports."""
        return self.facts.dims if self.facts else {}

    @property
    def dtype(self) -> str | None:
        """Return the dtype of its ports that name none, or None if it is unknown."""
        return self.facts.dtype if self.facts else None

    @property
    def spaces(self) -> set[str]:
        """Return the embedding spaces of its ports."""
        found = set()
        for signature in (self.methods or {}).values():
            for port in chain(*signature.inputs.values(), signature.returns.values()):
                if port.space:
                    found.add(port.space)
        return found


@dataclass(frozen=True)
class Value:
    """A named value of a graph; `port` is None if its type is unknown.

    `rows` names the values whose rows it has, in order, where these are not its own. Of a mask,
    `marks` names the values for whose rows it marks positions.
    """

    name: str
    port: Port | None
    dims: tuple[Length, ...] = ()
    backend: str = HOST
    rows: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()

    @property
    def origin(self) -> tuple[str, ...]:
        """Return the names of the values whose rows it has."""
        return self.rows or (self.name,)

    def __str__(self) -> str:
        if self.port is None:
            return "anything"
        return str(self.port) or "scalar"


@dataclass(frozen=True)
class Conversion:
    """A component's method that takes rows of `dtype` from one of its spaces to another."""

    component: str
    method: str
    dtype: str
    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source} -> {self.target} by {self.component}.{self.method}"


@dataclass(frozen=True)
class Node:
    """One call of a graph, resolved; `converts` says which inputs change their space first.

    `range` has the least and the greatest number of its outputs, as the manifest expects.
    """

    name: str
    run: str
    component: str | None
    method: str
    signature: CallSignature | None
    wires: Mapping[str, str]
    literals: Mapping[str, str]
    options: Mapping[str, Any]
    outputs: Mapping[str, str]
    converts: Mapping[str, Conversion] = field(default_factory=dict)
    range: tuple[float | None, float | None] | None = None

    @property
    def components(self) -> tuple[str, ...]:
        """Return the components that the call needs: those that convert its inputs, and its own."""
        found = [conversion.component for conversion in self.converts.values()]
        if self.component:
            found.append(self.component)
        return tuple(found)

    def wires_of(self, key: str) -> list[str]:
        """Return the values that are wired to an input: one, those of a list in order, or none."""
        return [
            value for name, value in self.wires.items() if name == key or name.startswith(f"{key}[")
        ]

    @property
    def inputs(self) -> Mapping[str, Ports]:
        """Return the ports of its inputs; none where its signature is unknown."""
        return self.signature.inputs if self.signature else {}

    @property
    def known_options(self) -> Mapping[str, Option]:
        """Return the options that it may be given; none where its signature is unknown."""
        return self.signature.options if self.signature else {}

    def backend(self, component: CheckedComponent | None, first: Value | None) -> str:
        """Return where its component runs, or its operator on the first value."""
        if component:
            return component.cls.backend
        if first is None:
            return registry.operator_backend(self.run, HOST)
        return registry.operator_backend(self.run, first.backend)


@dataclass(frozen=True)
class Graph:
    """A task's graph, typed; `inputs` and `values` by name, `outputs` from name to value name."""

    task: str
    inputs: Mapping[str, Input]
    nodes: Mapping[str, Node]
    values: Mapping[str, Value]
    outputs: Mapping[str, str]
    dims: DimUnifier

    @property
    def owner(self) -> str:
        """Return what an author knows it as: the bundle's one graph, or a task of several."""
        return "the bundle" if self.task == DEFAULT else f"task '{self.task}'"

    @property
    def components(self) -> tuple[str, ...]:
        """Return the components that it runs, each once: those of its nodes, and detectors."""
        names = [name for node in self.nodes.values() for name in node.components]
        return tuple(dict.fromkeys([*names, *self.detectors.values()]))

    @property
    def detectors(self) -> dict[str, str]:
        """Return the components that detect speech, by the input that is cut with their help."""
        found = {}
        for name, entry in self.inputs.items():
            if entry.split and entry.split.vad:
                found[name] = entry.split.vad
        return found

    @property
    def producers(self) -> dict[str, Node]:
        """Return the node that makes each value, by the value's name."""
        return {value: node for node in self.nodes.values() for value in node.outputs.values()}

    def length(self, dim: Length) -> int | None:
        """Return a dim's number where headers fix it."""
        bound = self.dims.bound(dim)
        return bound.value if bound else None


def facts_of(components: Mapping[str, CheckedComponent], name: str | None) -> Facts:
    """Return a component's facts; empty ones where there are none."""
    component = components.get(name or "")
    if component is None or component.facts is None:
        return Facts()
    return component.facts


def methods_of(
    components: Mapping[str, CheckedComponent], name: str | None
) -> Mapping[str, CallSignature]:
    """Return a component's signatures by method; none where they are unknown."""
    component = components.get(name or "")
    if component is None:
        return {}
    return component.methods or {}


def float_of(component: CheckedComponent | None, value: Value | None) -> str | None:
    """Return the float dtype of a component's outputs, or of an operator's on its first value."""
    if component:
        return component.dtype
    if value is None or value.port is None:
        return None
    return value.port.dtype

"""Hold what is wired into an input against its port: kind, dtype, rank, dims and space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from composer.core.component import Bound
from composer.core.ports import Port, alternative, fits
from composer.core.signature import OUT
from composer.core.suggest import listed
from composer.graph.dims import Dims, Length
from composer.graph.graph import ANY, CheckedComponent, Conversion, Node, Value

Scope = dict[str, str | None]


class Fit:
    """The dims of one task, unified wire by wire."""

    def __init__(
        self,
        known: Mapping[str, CheckedComponent],
        values: Mapping[str, Value],
        report: Callable[..., None],
    ) -> None:
        self.known = known
        self.values = values
        self.report = report
        self.dims = Dims()
        for component, met in known.items():
            for symbol, bound in (met.facts.dims if met.facts else {}).items():
                own = bound.witness.startswith("config.")
                witness = f"{component}: {bound.witness}" if own else bound.witness
                self.dims.unify(("component", component, symbol), bound.value, witness)

    def wire(
        self,
        node: Node,
        key: str,
        given: str,
        value: Value,
        scope: Scope,
    ) -> Conversion | None:
        """Hold the value that `given` names against the port `key` of a node.

        `scope` keeps what the node's spaces stand for, from one wire to the next. Return what
        must be done to the value first.
        """
        assert node.signature is not None
        have, at, ports = value.port, ("graph", node.name, "with", key), node.signature.inputs[key]
        label = f"{node.run}.{key}"
        if have is None:
            return None
        port = alternative(ports, have)
        if port is None:
            wants = " or ".join(f"'{p}'" for p in ports)
            self.report("W211", f"{given} is '{have}' but {label} needs {wants}", *at)
            return None
        if have.kind != "tensor":
            return None
        if not fits(have.dtype, port.dtype):
            wants = port.dtype or "floats"
            message = f"{given} holds {have.dtype or 'floats'} but {label} needs {wants}"
            self.report("W211", message, *at)
        if len(have.dims) != len(port.dims):
            self.report(
                "W208",
                f"{given} has {_axes(have)} but {label} needs {_axes(port)}",
                *at,
            )
            return None
        for axis, (want, got) in enumerate(zip(port.dims, value.dims, strict=True)):
            if want == "_":
                continue
            conflict = self.dims.unify(got, self.length(node, want), f"{label}: '{port}'")
            if conflict:
                left, right = conflict.left, conflict.right
                self.report(
                    "W209",
                    f"axis {axis} of {given} is {left.value} but {label} needs {right.value}",
                    *at,
                    causes=(_cause(left), _cause(right)),
                    hint="put a projector between them, or take parts that were made to fit"
                    if port.space
                    else None,
                )
        return self.space(node, key, port, given, value, scope, at)

    def space(
        self,
        node: Node,
        key: str,
        port: Port,
        given: str,
        value: Value,
        scope: Scope,
        at: tuple[str, ...],
    ) -> Conversion | None:
        have = value.port.space if value.port else None
        label = f"{node.run}.{key}"
        if port.space is None:
            return None
        if port.space[0].islower():
            want: str | None = f"{node.component}.{port.space}"
            first = label
        elif port.space not in scope:
            scope[port.space] = have
            scope[f"{port.space} from"] = given
            return None
        else:
            want, first = scope[port.space], f"{scope[port.space + ' from']}"
        if have == want or ANY in (have, want):
            return None
        found = self.conversion(have, want)
        if found is None:
            theirs = f"in the space '{have}'" if have else "in no declared space"
            ours = f"'{want}'" if want else "no declared space"
            self.report(
                "W210",
                f"{given} is {theirs} but {first} is in {ours}"
                if first != label
                else f"{given} is {theirs} but {label} needs {ours}",
                *at,
                hint=self.into(want),
            )
        return found

    def conversion(self, have: str | None, want: str | None) -> Conversion | None:
        """Return the method that leads from one space of a component to another of its spaces."""
        owner = (have or "").partition(".")[0]
        if have is None or want is None or want.partition(".")[0] != owner:
            return None
        known = self.known.get(owner)
        for name, signature in ((known.methods if known else None) or {}).items():
            if known and known.facts and signature.converts:
                (ports,) = signature.inputs.values()
                leads = (f"{owner}.{ports[0].space}", f"{owner}.{signature.returns[OUT].space}")
                if leads == (have, want):
                    return Conversion(owner, name, known.facts.dtype, have, want)
        return None

    def into(self, want: str | None) -> str | None:
        """Say which values are in a space, and how another component gets there."""
        if want is None:
            return None
        there = [f"${v.name}" for v in self.values.values() if v.port and v.port.space == want]
        lead = f"in that space: {listed(there)}; " if there else ""
        return f"{lead}if its component was trained into it, say so there: emits: {want}"

    def witnesses(self, component: str | None, ports: Iterable[Port]) -> tuple[str, ...]:
        """Return what says the dims of a component's ports."""
        known = self.known.get(component or "")
        bound = known.facts.dims if known and known.facts else {}
        dims = dict.fromkeys(str(dim) for port in ports for dim in port.dims)
        return tuple(_cause(bound[dim]) for dim in dims if dim in bound)

    def length(self, node: Node, dim: int | str) -> Length:
        """Return what a dim of a node's port stands for: the component's, or the node's own."""
        if isinstance(dim, int):
            return dim
        known = self.known.get(node.component or "")
        if known and known.facts and dim in known.facts.dims:
            return ("component", node.component, dim)
        return ("node", node.name, dim)


def _cause(bound: Bound) -> str:
    return f"{bound.value} comes from {bound.witness}"


def _axes(port: Port) -> str:
    count = len(port.dims)
    noun = "axis" if count == 1 else "axes"
    return f"{count} {noun} [{' '.join(map(str, port.dims))}]"

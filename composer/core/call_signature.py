"""What a function of a graph takes and gives: its ports, and its options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from functools import wraps
from itertools import chain
from typing import Any, get_type_hints

from composer.core.ports import Port, Ports, parse_port, parse_ports

CALL = "__call__"
OUT = "out"
WINDOW = "window"  # of what detects speech: the samples of each score
MANY = "..."
ADAPTERS = "adapters"  # the option of what can switch adapters on
WHEN = "when"  # the input that says whether they are on, which the executor reads


@dataclass(frozen=True)
class Option:
    """A literal that a method takes in `with`, such as max_tokens."""

    annotation: Any
    default: Any


@dataclass(frozen=True)
class Derived:
    """A length that follows from another one, such as rows of which so many become one.

    `count` takes the length of the symbol `of`, and `words` say in a message what it does.
    """

    of: str
    count: Callable[[int], int]
    words: str


@dataclass(frozen=True)
class CallSignature:
    """The ports of one method: inputs by name (alternatives), options, and outputs by name.

    `lengths` are the symbols of outputs that follow from those of inputs. `option_rules` are rules
    between options, as JSON Schema, for editors: the attribute `json_schema_rules` of a dataclass
    of options. One that `converts` takes rows of one of the component's spaces to another of them;
    the checker puts it on any wire that needs it. Inputs in `several` take a list of values, those
    in `repeated` one or a list.
    """

    inputs: Mapping[str, Ports]
    returns: Mapping[str, Port]
    optional: frozenset[str] = frozenset()
    options: Mapping[str, Option] = field(default_factory=dict)
    option_rules: tuple[Mapping[str, Any], ...] = ()
    streams: bool = False
    converts: bool = False
    lengths: Mapping[str, Derived] = field(default_factory=dict)
    several: frozenset[str] = frozenset()
    repeated: frozenset[str] = frozenset()

    @property
    def defaults(self) -> dict[str, Any]:
        """Return each option's default, `Parameter.empty` where it must be given."""
        return {name: option.default for name, option in self.options.items()}

    @property
    def required_options(self) -> frozenset[str]:
        """Return the options without a default."""
        defaults = self.defaults
        return frozenset(name for name in defaults if defaults[name] is inspect.Parameter.empty)

    def output_names(self, node: str) -> dict[str, str]:
        """Return a node's values by output: the only one has the node's name, others `NODE.out`."""
        names = {}
        for out in self.returns:
            names[out] = node if out == OUT else f"{node}.{out}"
        return names

    def with_items(self, name: str, count: int) -> CallSignature:
        """Return the signature of a call with `count` values for an input that takes several.

        A symbol that stands nowhere else is each value's own: `N D ...` gives `N D` to each.
        """
        others: dict[str, Ports] = {}
        inputs: dict[str, Ports] = {}
        for key, ports in self.inputs.items():
            if key != name:
                others[key] = inputs[key] = ports
                continue
            for index in range(count):
                inputs[item_name(name, index)] = ports
        shared = _symbols(*others.values(), tuple(self.returns.values()))
        for index in range(count):
            key = item_name(name, index)
            inputs[key] = tuple(_own_dims(port, shared, index) for port in inputs[key])
        return replace(
            self, inputs=inputs, several=self.several - {name}, repeated=self.repeated - {name}
        )


def item_name(name: str, index: int) -> str:
    """Return the name of one value of an input that takes several."""
    return f"{name}[{index}]"


def gather_items(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call: values of one input, `x[0]` and `x[1]`, as one tuple `x`."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        name, bracket, _ = key.partition("[")
        found[name] = (*found.get(name, ()), value) if bracket else value
    return found


def _symbols(*inputs: Ports) -> set[int | str]:
    found: set[int | str] = set()
    for port in chain(*inputs):
        found.update(port.dims)
    return found


def _own_dims(port: Port, shared: set[int | str], index: int) -> Port:
    dims: list[int | str] = []
    for dim in port.dims:
        own = isinstance(dim, str) and dim != "_" and dim not in shared
        dims.append(f"{dim}{index}" if own else dim)
    return replace(port, dims=tuple(dims))


def flatten_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that takes the options of a dataclass among its own keywords."""
    groups = _groups(function)
    if not groups:
        return function

    @wraps(function)
    def call(*args: Any, **given: Any) -> Any:
        for parameter, group in groups.items():
            options = {}
            for each in fields(group):
                if each.name in given:
                    options[each.name] = given.pop(each.name)
            given[parameter] = group(**options)
        return function(*args, **given)

    return call


def _default(option: Field[Any]) -> Any:
    if option.default is MISSING:
        return inspect.Parameter.empty
    return option.default


def _groups(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the keyword-only parameters whose type is a dataclass of options."""
    hints = get_type_hints(function)
    groups = {}
    for each in inspect.signature(function).parameters.values():
        if each.kind is each.KEYWORD_ONLY and is_dataclass(hints[each.name]):
            groups[each.name] = hints[each.name]
    return groups


def signature_of(
    function: Callable[..., Any],
    inputs: Mapping[str, str],
    returns: str | Mapping[str, str],
    streams: bool = False,
    converts: bool = False,
) -> CallSignature:
    """Read the ports of a function, and its options from its keyword-only parameters.

    One whose type is a dataclass stands for the options that are its fields. An input that ends in
    `...` takes a list of values. Whatever has the option `adapters` has the input `when` too.
    """
    groups = _groups(function)
    own: dict[str, Option] = {}
    grouped: dict[str, Option] = {}
    optional, rules = set(), []
    hints = get_type_hints(function, include_extras=True)
    for p in inspect.signature(function).parameters.values():
        if p.name in inputs:
            if p.default is None:
                optional.add(p.name)
        elif p.kind is p.KEYWORD_ONLY and p.name not in groups:
            own[p.name] = Option(hints[p.name], p.default)
    for group in groups.values():
        types = get_type_hints(group, include_extras=True)
        for each in fields(group):
            grouped[each.name] = Option(types[each.name], _default(each))
        if hasattr(group, "json_schema_rules"):
            rules.append(group.json_schema_rules)
    if ADAPTERS in own:
        inputs = {**inputs, WHEN: "bool 1"}
        optional.add(WHEN)
    if isinstance(returns, str):
        returns = {OUT: returns}
    return CallSignature(
        inputs={name: parse_ports(text.removesuffix(MANY)) for name, text in inputs.items()},
        returns={name: parse_port(text) for name, text in returns.items()},
        optional=frozenset(optional),
        options=own | grouped,
        option_rules=tuple(rules),
        streams=streams,
        converts=converts,
        several=frozenset(name for name, text in inputs.items() if text.endswith(MANY)),
    )

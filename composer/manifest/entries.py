"""Hold what a manifest says, once it is known to be well formed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Source:
    """Where files come from: a hub repository owner/name, or a folder beside the manifest."""

    kind: Literal["hf", "folder"]
    value: str
    revision: str | None = None


@dataclass(frozen=True)
class QuantizationRule:
    """Bits and group size of the weights that one glob matches."""

    bits: int
    group_size: int


@dataclass(frozen=True)
class Quantization:
    """How a component's projections are quantized when it is loaded."""

    bits: int
    group_size: int = 64
    rules: Mapping[str, QuantizationRule] = field(default_factory=dict)
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class AdapterEntry:
    """An adapter's weights, as source/path, and its scale; None is the adapter's own."""

    weights: str
    scale: float | None = None


@dataclass(frozen=True)
class ComponentEntry:
    """A component as it is written; its config is checked by the component itself."""

    name: str
    use: str
    weights: str | None = None
    files: str | None = None
    precision: str | Quantization | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    adapters: Mapping[str, AdapterEntry] = field(default_factory=dict)
    emits: str | None = None


@dataclass(frozen=True)
class Split:
    """How long audio is cut: seconds in a piece, and what stands between two pieces' texts."""

    seconds: int
    join: str


@dataclass(frozen=True)
class Input:
    """What a task takes; without a default it must be given."""

    type: Literal["audio", "text", "ids", "mask", "image", "tensor"]
    port: str | None = None
    default: Any = None
    split: Split | None = None


@dataclass(frozen=True)
class Node:
    """What a node runs and what it is given: `$references` and literals."""

    run: str
    with_: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """A graph with its inputs and outputs; `at` is where its keys stand in the manifest."""

    name: str
    inputs: Mapping[str, Input]
    graph: Mapping[str, Node]
    outputs: Mapping[str, str]
    at: tuple[str, ...] = ()
    summary: str = ""


@dataclass(frozen=True)
class Origin:
    """Where one part of the bundle comes from."""

    what: str
    from_: str
    how: str | None = None
    licence: str | None = None

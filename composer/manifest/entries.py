"""The contents of a validated manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Source:
    """Where files come from: a hub repository owner/name, or a folder beside the manifest."""

    kind: Literal["hf", "folder"]
    value: str
    revision: str | None = None


@dataclass(frozen=True)
class QuantizationRule:
    """How the weights that one glob matches are packed."""

    bits: int
    group_size: int
    mode: str = "affine"


@dataclass(frozen=True)
class Quantization:
    """How a component's projections are quantized, and the dtype that it computes in.

    Without a dtype it computes in the one that is stored. The globs of a recipe with a `name` are
    for several architectures, and may match nothing.
    """

    bits: int
    group_size: int = 64
    rules: Mapping[str, QuantizationRule] = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    mode: str = "affine"
    dtype: str | None = None
    name: str | None = None

    @property
    def title(self) -> str:
        """Return its name, or what it does in a few words."""
        title = self.name
        if not title:
            title = f"{self.bits} bits, {self.mode}, groups of {self.group_size}"
            if self.rules:
                title += f" and {len(self.rules)} rules"
        if self.dtype:
            title += f", in {self.dtype}"
        return title


def precision_json(precision: str | Quantization | None) -> Any:
    """Return a precision in JSON's types: of a recipe, what it says."""
    if not isinstance(precision, Quantization):
        return precision
    return {**asdict(precision), "keep": list(precision.keep)}


@dataclass(frozen=True)
class AdapterEntry:
    """An adapter's weights, as source/path, and its scale; None is the adapter's own."""

    weights: str
    scale: float | None = None


@dataclass(frozen=True)
class ComponentEntry:
    """A component's entry; the component itself checks its config.

    Beside `ComponentModel`, which is the shape of the file and its schema, so that short forms end
    there: an absent group size, a dtype or a recipe, and pydantic with them.
    """

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
    """How long audio is split: the most seconds of a piece, and the text that joins two texts.

    `vad` is the component that detects speech; without one a piece ends where it is quietest.
    """

    seconds: int
    join: str
    vad: str | None = None


@dataclass(frozen=True)
class Input:
    """An input of a task; without a default it is required."""

    type: Literal["audio", "text", "ids", "mask", "image", "tensor"]
    port: str | None = None
    default: Any = None
    split: Split | None = None
    channel: Literal["mix", "left", "right", "each"] = "mix"

    @property
    def in_pieces(self) -> bool:
        """Return whether the task is run on parts of it."""
        return self.split is not None or self.channel == "each"


@dataclass(frozen=True)
class Node:
    """A node's component or operator, its inputs, and what it expects of its outputs.

    Inputs are `$references` and literals. `expect` has ports by output, `range` the least and the
    greatest number, None where there is no limit.
    """

    run: str
    with_: Mapping[str, Any] = field(default_factory=dict)
    expect: Mapping[str, str] = field(default_factory=dict)
    range: tuple[float | None, float | None] | None = None


@dataclass(frozen=True)
class Task:
    """A graph with its inputs and outputs; `at` is the path of its keys in the manifest."""

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

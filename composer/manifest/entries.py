"""The contents of a validated manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from composer.core.quantization_recipe import QuantizationRecipe


@dataclass(frozen=True)
class Source:
    """Where files come from: a hub repository owner/name, or a folder beside the manifest."""

    kind: Literal["hf", "folder"]
    value: str
    revision: str | None = None


@dataclass(frozen=True)
class AdapterEntry:
    """An adapter's weights, as source/path, and its scale; None is the adapter's own."""

    weights: str
    scale: float | None = None


@dataclass(frozen=True)
class ComponentEntry:
    """A component's entry; the component itself checks its config.

    Beside `ComponentFields`, which is the shape of the file and its schema, so that short forms end
    there: an absent group size, a dtype or a recipe, and pydantic with them.
    """

    name: str
    use: str
    weights: str | None = None
    files: str | None = None
    precision: str | QuantizationRecipe | None = None
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

    type: Literal["audio", "text", "ids", "mask", "image", "images", "tensor"]
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


DEFAULT = "default"  # the task of a bundle with one


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

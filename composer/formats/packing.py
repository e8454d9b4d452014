"""What of a checkpoint a recipe packs, for whoever writes it down packed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from composer.core.location import Location
from composer.core.weight_group import WeightGroup
from composer.formats.quantization import Scheme

# Rows [N, columns] of a dtype, as bytes, become the bytes of weight, scales and, if affine, biases.
Pack = Callable[[Any, str, int, Scheme], tuple[bytes, ...]]


@dataclass(frozen=True)
class ModuleToPack:
    """A module that is packed: the tensor that it is stored as, its own name, and how.

    `key` is what config.json calls it, and `path` what its component does. `half` is which of the
    two it is that a tensor joins along its last axis but one; None where the tensor is its own.
    """

    name: str
    key: str
    stored: str
    scheme: Scheme
    half: int | None = None
    path: str = ""


@dataclass(frozen=True)
class FileConversion:
    """A file that is written in another precision as a whole; `files` are all that it consists of.

    `convert` maps a path to a new one and returns the weights by what they do.
    """

    weights: Location
    files: tuple[Location, ...]
    convert: Callable[[Path, Path], tuple[WeightGroup, ...]]


@dataclass(frozen=True)
class Packing:
    """The modules of a checkpoint that are packed; `dropped` are tensors that nothing reads.

    `weights` is the folder or the file that holds them, or `files` are, where they are no model of
    one folder; `groups` are all its weights as they are then stored. The `config` may not be there
    yet. `metadata` goes into the headers. `packs` pack the modules of these names in their own way,
    and `changed` are the new bytes of other tensors. `names` are what tensors are stored as, by
    what their component calls them, where a prefix is not enough.
    """

    weights: Location
    config: Location
    modules: tuple[ModuleToPack, ...]
    pack: Pack
    groups: tuple[WeightGroup, ...]
    dropped: frozenset[str] = frozenset()
    files: tuple[Location, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    packs: Mapping[str, Pack] = field(default_factory=dict)
    changed: Mapping[str, bytes] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

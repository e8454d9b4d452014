"""Open a checkpoint: a folder, named by itself or by its one file of weights, or a GGUF file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location
from composer.core.suggest import some
from composer.formats.file_problems import show
from composer.formats.gguf import SUFFIX as GGUF
from composer.formats.safetensors import TensorIndex

from .embedding_table import TABLE
from .gguf.decoder_file import read_decoder_file
from .inline_adapter import adapter_of
from .layout import count_are
from .nested_config import THINKER, TIED, config_of_part, nested_config
from .part_names import HEADS, WHOLE, PartNames, find_part_names, part_prefix

if TYPE_CHECKING:
    from composer.formats import Headers

PREFIX = (
    "The decoder is a part of a larger checkpoint: its tensors are those whose names begin with "
    "this, with a head that is stored beside them, and its config is the nested one (text_config "
    "and the like). Tensors of an encoder "
    "whose config stands beside that one are another component's."
)
HEAD = (
    "false leaves the head out: it has no use for the vocabulary, as where it names times. Then "
    "there are `embed` and `hidden` alone, and `lm_head` is another component's."
)
TOWERS = {
    "audio_config": ("audio_tower.", "multi_modal_projector."),
    "vision_config": ("visual.", "vision_tower.", "vision_model.", "multi_modal_projector."),
}


@dataclass(frozen=True)
class CheckpointFolder:
    """A folder's config and tensors, or those of one part of it; a GGUF file has both.

    `keys` lead to the part's config inside config.json. `tensors` have the decoder's own names, of
    which `names` are the stored ones. `left_out` are the stored names of the other parts' tensors.
    """

    location: Location
    config: dict[str, Any]
    tensors: TensorIndex
    keys: tuple[str, ...] = ()
    names: PartNames = WHOLE
    left_out: tuple[str, ...] = ()

    def without_towers(self) -> CheckpointFolder:
        """Leave out the encoders that a whole checkpoint has beside its language model."""
        _, keys = nested_config(self.config)
        towers = _towers(self.config, keys)
        towers += tuple(f"model.{name}" for name in towers)
        kept = {name: each for name, each in self.tensors.items() if not name.startswith(towers)}
        left_out = (*self.left_out, *(name for name in self.tensors if name not in kept))
        index = TensorIndex(kept, self.tensors.metadata, self.tensors.files)
        return replace(self, tensors=index, left_out=left_out)

    def notes(self) -> Iterator[Problem]:
        """Count the tensors that the checkpoint stores and this part does not read."""
        if self.left_out:
            parts = sorted(set(map(_part_of, self.left_out)))
            yield Problem(
                "L325",
                f"{count_are(self.left_out)} not the text decoder's and not read by it, of "
                f"{some(parts, 4)}",
                Place(str(self.location)),
                severity="warning",
            )


def folder_of(place: Location, suffix: str = ".safetensors") -> Location:
    """Return the folder of a file with this suffix, or the folder that is given."""
    if not place.inside.endswith(suffix):
        return place
    return replace(place, inside=place.inside.rpartition("/")[0])


def optional_config(folder: Location, headers: Headers) -> dict[str, Any]:
    """Return what a folder's config.json holds, nothing where there is none."""
    file = folder / "config.json"
    return headers.config(file) if headers.exists(file) else {}


def config_file(location: Location) -> Location:
    """Return where the config of a checkpoint stands: in the folder, or in the GGUF file."""
    return location if location.inside.endswith(GGUF) else location / "config.json"


def open_folder(
    weights: Location, headers: Headers, prefix: str = "", head: bool = True
) -> CheckpointFolder:
    """Read the config and the tensors of a folder, or of its part under a prefix.

    The decoder of a Qwen3-ASR is found without a prefix, in the release and in MLX's conversions.
    Without a `head` the embeddings stand for one that nothing is multiplied by.
    Raise ComposerError if there is no config, or no tensor under the prefix.
    """
    found = _open(weights, headers, prefix)
    return found if head else _without_head(found)


def prefix_hint(whole: CheckpointFolder) -> str | None:
    """Say how the language model inside a larger checkpoint is named, None where there is none."""
    inner, keys = nested_config(whole.config)
    tables = [name for name in whole.tensors if f".{name}".endswith(f".{TABLE}")]
    if whole.keys or not keys or len(tables) != 1:
        return None
    kind = show(str(inner.get("model_type")))
    return f"its language model, {kind}, is named by config: {{prefix: {part_prefix(tables[0])}}}"


def _open(weights: Location, headers: Headers, prefix: str) -> CheckpointFolder:
    if weights.inside.endswith(GGUF):
        return CheckpointFolder(weights, *read_decoder_file(weights, headers))
    location = folder_of(weights)
    if not headers.exists(location / "config.json"):
        raise ComposerError(
            Problem(
                "W241",
                f"{location} has no config.json, so the sizes of the model are not known",
                hint="give the folder that holds config.json and the safetensors, or one "
                "safetensors file of such a folder",
            )
        )
    found = CheckpointFolder(location, headers.config(location), headers.safetensors(weights))
    if prefix:
        return _part(found, prefix.removesuffix(".") + ".")
    if THINKER not in found.config:
        return found
    for name in found.tensors:
        if name.startswith("thinker."):
            return _part(found, "thinker.")
    return _part(found, "")


def _part(whole: CheckpointFolder, prefix: str) -> CheckpointFolder:
    names = find_part_names(prefix, whole.tensors)
    tensors = {}
    for stored, tensor in whole.tensors.items():
        own = names.own(stored)
        if own is not None:
            tensors[own] = replace(tensor, name=own)
    if not tensors:
        beginnings: dict[str, None] = {}
        for name in whole.tensors:
            beginnings[name.partition(".")[0] + "."] = None
        raise ComposerError(
            Problem(
                "W259",
                f"no tensor of {whole.location} begins with {prefix}",
                Place("config.prefix"),
                (f"its tensors begin with {some(beginnings)}",),
            )
        )
    config, keys = nested_config(whole.config)
    others = _towers(whole.config, keys)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(others)}
    stored_names = set(map(names.stored, tensors))
    left_out = tuple(name for name in whole.tensors if name not in stored_names)
    return replace(
        whole,
        config=config_of_part(whole.config, config, names),
        tensors=TensorIndex(tensors, whole.tensors.metadata, whole.tensors.files),
        keys=keys,
        names=names,
        left_out=left_out,
    )


def _without_head(whole: CheckpointFolder) -> CheckpointFolder:
    kept = {name: each for name, each in whole.tensors.items() if not name.startswith(HEADS)}
    return replace(
        whole,
        config={**whole.config, TIED: True},
        tensors=TensorIndex(kept, whole.tensors.metadata, whole.tensors.files),
    )


def _towers(config: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return how names of encoders begin whose configs stand beside the language model's own."""
    beside = config
    for key in keys[:-1]:
        beside = beside[key]
    prefixes: list[str] = []
    for key, names in TOWERS.items():
        if isinstance(beside.get(key), dict):
            prefixes += names
    return tuple(prefixes)


def _part_of(name: str) -> str:
    """Return the part of a checkpoint that a tensor is of: its name up to a tower's."""
    if adapter := adapter_of(name):
        return f"the adapter {adapter}"
    for towers in TOWERS.values():
        for tower in towers:
            before, found, _ = name.partition(tower)
            if found and (not before or before.endswith(".")):
                return before + tower.removesuffix(".")
    return name.partition(".")[0]

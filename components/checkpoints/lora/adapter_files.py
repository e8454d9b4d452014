"""Where an adapter is: in a file with a config beside it, or inside the checkpoint it adapts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from composer.core.location import Location
from composer.core.problems import Problems
from composer.core.suggest import listed
from composer.formats.file_problems import refuse
from composer.formats.files import raise_missing

from ..inline_adapter import adapter_of, adapter_tensors
from .adapter_config import (
    MLX_LM,
    RELEASE,
    AdapterConfig,
    parse_adapter_config,
    parse_inline_config,
)

if TYPE_CHECKING:
    from composer.formats import Headers
    from composer.formats.safetensors import TensorIndex

WEIGHTS = ("adapters.safetensors", "adapter_model.safetensors")
CONFIG = "config.json"  # of a checkpoint that has adapters inside


@dataclass(frozen=True)
class AdapterFiles:
    """An adapter's tensors by the names of a file of its own, and what configs say of it.

    `place` is that file, or the checkpoint that the adapter is inside of.
    """

    place: Location
    tensors: TensorIndex
    config_files: tuple[Location, ...]
    configs: tuple[AdapterConfig, ...]

    @property
    def files(self) -> tuple[Location, ...]:
        """All files that it was read from."""
        return (*self.tensors.files, *self.config_files)


def open_adapter(name: str, place: Location, headers: Headers, problems: Problems) -> AdapterFiles:
    """Open an adapter by its folder, its file, or the checkpoint that it is inside of.

    Raise ComposerError where there is none; `problems` gets what is wrong with its configs.
    """
    if headers.files.kind(place) is None:
        raise_missing(headers.files, place)
    if headers.files.kind(place) == "file":
        return _beside_config(place, replace(place, inside=_folder(place)), headers, problems)
    present = [each for each in WEIGHTS if headers.exists(place / each)]
    if not present and headers.exists(place / CONFIG):
        return _inside(name, place, headers, problems)
    if len(present) != 1:
        has = " and ".join(present) or f"neither {' nor '.join(WEIGHTS)}"
        refuse(place, "W285", f"it holds {has}", hint="write the path of the adapter's file")
    return _beside_config(place / present[0], place, headers, problems)


def _folder(file: Location) -> str:
    return file.inside.rpartition("/")[0]


def _beside_config(
    file: Location, folder: Location, headers: Headers, problems: Problems
) -> AdapterFiles:
    """Read a file of an adapter and the configs in its folder."""
    config_files = tuple(
        folder / each for each in (MLX_LM, RELEASE) if headers.exists(folder / each)
    )
    if not config_files:
        refuse(
            file,
            "W285",
            f"there is neither {MLX_LM} nor {RELEASE} beside it",
            hint="put the config that training wrote into the same folder",
        )
    configs: list[AdapterConfig] = []
    for config_file in config_files:
        with problems.collect():
            configs.append(parse_adapter_config(config_file, headers.config(config_file)))
    return AdapterFiles(file, headers.safetensors(file), config_files, tuple(configs))


def _inside(name: str, place: Location, headers: Headers, problems: Problems) -> AdapterFiles:
    """Read an adapter inside a checkpoint, whose name there is that in the manifest."""
    stored = headers.safetensors(place)
    tensors = adapter_tensors(stored, name)
    if not tensors:
        others = sorted({found for each in stored if (found := adapter_of(each))})
        hint = f"adapters inside it: {listed(others)}" if others else None
        refuse(
            place,
            "W285",
            f"it holds neither {' nor '.join(WEIGHTS)}, and no tensor ends in lora_A.{name}.weight",
            hint=hint or "write the path of the adapter's folder or file",
        )
    config_file = place / CONFIG
    configs: list[AdapterConfig] = []
    with problems.collect():
        config = parse_inline_config(config_file, headers.config(config_file), name)
        configs = [config] if config else []
    return AdapterFiles(place, tensors, (config_file,), tuple(configs))

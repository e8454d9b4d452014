"""Open the folder of a checkpoint, which is named by itself or by its one file of weights."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from composer.core.errors import ComposerError, Problem

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats import Headers
    from composer.formats.safetensors import TensorIndex


def folder_of(weights: Location) -> Location:
    """Return the folder that holds the config and the tokenizer of some weights."""
    if not weights.inside.endswith(".safetensors"):
        return weights
    return replace(weights, inside=weights.inside.rpartition("/")[0])


def open_folder(
    weights: Location, headers: Headers
) -> tuple[Location, dict[str, Any], TensorIndex]:
    """Return the folder, its config and the tensors; raise ComposerError if there is no config."""
    folder = folder_of(weights)
    if not headers.exists(folder / "config.json"):
        raise ComposerError(
            Problem(
                "W241",
                f"{folder} has no config.json, so the sizes of the model are not known",
                hint="give the folder that holds config.json and the safetensors, or one "
                "safetensors file of such a folder",
            )
        )
    return folder, headers.config(folder), headers.safetensors(weights)

"""Find the text decoder in a Gemma-4 checkpoint and check it against its config."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location
from composer.core.suggest import some
from composer.formats.file_problems import show
from composer.formats.safetensors import Tensor, TensorIndex

from .. import checkpoint
from ..checkpoint import Checkpoint
from ..config_keys.key_positions import with_key_positions, with_place
from ..folder import config_file, open_folder
from ..part_names import PartNames
from .config import MODELS, flatten, read_settings, unread_problems
from .layout import layout_problems, stored_parts, tensor_shapes
from .lint import (
    low_bit_warnings,
    partly_stored_kv,
    quantized_towers,
    stray_tensors_problem,
    unread_tensors,
)
from .settings import Gemma4Settings
from .text_part import PREFIXES, is_unused, own_config, separate_tensors

if TYPE_CHECKING:
    from composer.formats import Headers

TABLE = "embed_tokens_per_layer"


@dataclass(frozen=True)
class Gemma4Checkpoint:
    """A checkpoint whose names begin at the layers' list: embed_tokens.weight, layers.0...

    `table` is what its per-layer table is stored as, by part, which is no part of `loaded`.
    """

    checkpoint: Checkpoint
    settings: Gemma4Settings
    prefix: str
    notes: tuple[Problem, ...]

    @property
    def names(self) -> PartNames:
        """How its tensors are stored."""
        return PartNames(self.prefix, head=self.prefix)

    @property
    def without_kv(self) -> frozenset[str]:
        """Return the projections that layers with shared keys and values do not have."""
        found: set[str] = set()
        for number, layer in enumerate(self.settings.layers):
            if layer.shares_kv:
                at = f"layers.{number}.self_attn"
                found.update((f"{at}.k_proj", f"{at}.v_proj"))
        return frozenset(found)

    @property
    def table(self) -> dict[str, Tensor]:
        return stored_parts(self.checkpoint.tensors, TABLE)

    @property
    def table_tensors(self) -> dict[str, Tensor]:
        """Return what the per-layer table is stored as, by name."""
        return {f"{TABLE}.{part}": tensor for part, tensor in self.table.items()}

    @property
    def loaded(self) -> dict[str, Tensor]:
        """Return the tensors that loading computes."""
        tensors = self.checkpoint.tensors.items()
        return {name: tensor for name, tensor in tensors if not name.startswith(f"{TABLE}.")}


def read_decoder(weights: Location, headers: Headers) -> Gemma4Checkpoint:
    """Read a folder's headers; raise ComposerError with everything that contradicts."""
    folder = open_folder(weights, headers)
    location, outer, index = folder.location, folder.config, folder.tensors
    place = Place(str(config_file(location)))
    kind = outer.get("model_type")
    if kind not in MODELS:
        raise ComposerError(
            Problem(
                "W275",
                f"config.json has the model_type {show(str(kind))}; expected {' or '.join(MODELS)}",
                place,
                hint="mlx.lm takes other language models",
            )
        )
    config, problems = flatten(outer)
    prefix = _prefix(location, index)
    text, strange, towers = separate_tensors(index, prefix)
    nested = ("text_config",) if "text_config" in outer else ()
    unread = with_key_positions(config_file(location), headers, unread_problems(config), nested)
    problems += unread
    settings, more = read_settings(config, text)
    problems += [*more, *stray_tensors_problem(strange, prefix)]
    unused = _unused_kv(settings, text)
    loaded = {name: tensor for name, tensor in text.items() if name not in unused}
    used = TensorIndex(loaded, index.metadata, index.files)
    problems += partly_stored_kv(settings, unused)
    config = own_config(config, prefix, used)
    try:
        checked = checkpoint.build_checkpoint(location, headers, config, used)
    except ComposerError as error:
        _refuse([*problems, *error.problems], place)
        raise
    if settings:
        problems += layout_problems(
            tensor_shapes(settings), checked.tensors, checked.schemes, f"{location}: {prefix}"
        )
    _refuse(problems, place)
    assert settings is not None
    stored = Place(str(location))
    few = low_bit_warnings(checked.schemes, stored, "the checkpoint is quantized in")
    packed = quantized_towers(towers, stored)
    notes = (*checked.notes, *unread_tensors(towers, unused, stored), *packed, *few)
    return Gemma4Checkpoint(replace(checked, notes=()), settings, prefix, notes)


def _refuse(problems: list[Problem], place: Place) -> None:
    errors = [problem for problem in problems if problem.severity == "error"]
    with_place(errors, place).raise_any()


def _unused_kv(settings: Gemma4Settings | None, names: Iterable[str]) -> set[str]:
    """Return the tensors of keys and values of layers that use those of layers before them."""
    if settings is None or not settings.args["num_kv_shared_layers"]:
        return set()
    first = len(settings.layers) - settings.args["num_kv_shared_layers"]
    return {name for name in names if is_unused(name, first)}


def _prefix(location: Location, index: TensorIndex) -> str:
    for prefix in PREFIXES:
        if f"{prefix}embed_tokens.weight" in index:
            return prefix
    raise ComposerError(
        Problem(
            "W277",
            f"{location} has no embed_tokens.weight",
            Place(str(location)),
            (f"the tensors are: {some(index)}",),
            hint=f"their names should begin with {', '.join(PREFIXES[:-1])} or {PREFIXES[-1]}",
        )
    )

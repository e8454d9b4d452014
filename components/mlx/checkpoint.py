"""Read the headers of a checkpoint for mlx-lm."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from ..checkpoints.checkpoint import Checkpoint, build_checkpoint
from ..checkpoints.config_keys.key_positions import Placed, with_key_positions
from ..checkpoints.folder import config_file, open_folder, prefix_hint
from ..checkpoints.head_copy import HEAD
from ..checkpoints.part_names import PartNames
from ..checkpoints.rope import mrope_problems, without_mrope
from ..models.decoder import has_bidirectional_blocks
from .config.arguments import TEXT
from .config.conversion import MlxConfig, convert_config
from .continued_alone import continued_alone
from .mlx_lm_support import mlx_lm_folder, mlx_lm_module_name, unsupported_problem
from .stored_layouts import layout_problems

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats import Headers


@dataclass(frozen=True)
class MlxCheckpoint(Checkpoint):
    """A checkpoint with its config converted for mlx-lm.

    `names` are those that its tensors are stored under. In one that is `bidirectional` the rows of
    a picture, or of audio, see each other both ways.
    """

    mlx_config: MlxConfig
    names: PartNames
    bidirectional: bool

    @property
    def continued_alone(self) -> str:
        """Return why its sequences are continued one by one, or nothing."""
        return continued_alone(self.mlx_config.config)


def read_checkpoint(
    weights: Location,
    headers: Headers,
    ignore: Collection[str] = (),
    prefix: str = "",
    head: bool = True,
) -> MlxCheckpoint:
    """Read a folder's headers; raise ComposerError with all contradictions.

    `ignore` are keys of the config that the author declares to have no effect, `prefix` names
    the part of a larger checkpoint that is the decoder, `head` whether its head is read.
    """
    opened = open_folder(weights, headers, prefix, head).without_towers()
    location, config, tensors = opened.location, opened.config, opened.tensors
    placed: list[Placed] = [((), problem) for problem in mrope_problems(config)]
    if unsupported := unsupported_problem(config):
        hint = prefix_hint(opened) or unsupported.hint
        placed.insert(0, (("model_type",), replace(unsupported, hint=hint)))
    mlx_config = MlxConfig(config)
    package = mlx_lm_folder()
    if not placed and package is not None:
        models, name = package / "models", mlx_lm_module_name(config)
        stored = any(f".{tensor}".endswith(f".{HEAD}") for tensor in tensors)
        mlx_config = convert_config(without_mrope(config), models, name, stored, ignore)
        placed += mlx_config.problems
        text = mlx_config.config.get(TEXT, {})
        placed += layout_problems(name, text, tensors, prefix_hint(opened))
    problems = with_key_positions(config_file(location), headers, placed, opened.keys)
    found = build_checkpoint(location, headers, config, tensors, [*problems, *opened.notes()])
    shared = {each.name: getattr(found, each.name) for each in fields(found)}
    blocks = has_bidirectional_blocks(str(config.get("model_type")), opened.keys)
    return MlxCheckpoint(**shared, mlx_config=mlx_config, names=opened.names, bidirectional=blocks)

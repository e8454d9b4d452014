"""What the headers of a folder say that mlx-lm is to run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from ..checkpoints.checkpoint import HEAD, Checkpoint, check_checkpoint
from ..checkpoints.folder import open_folder
from ..checkpoints.keys.places import at_their_keys
from ..checkpoints.rope import faults, plain
from .architecture import folder, module_name_of, refusal
from .config.spelling import Spelled, spell

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats import Headers


@dataclass(frozen=True)
class MlxCheckpoint(Checkpoint):
    """A checkpoint whose config is also spelled as mlx-lm reads it.

    `prefix` stands before the stored names of its tensors.
    """

    spelled: Spelled
    prefix: str


def read_checkpoint(
    weights: Location, headers: Headers, ignore: Collection[str] = (), prefix: str = ""
) -> MlxCheckpoint:
    """Read a folder's headers; raise ComposerError with everything that contradicts.

    `ignore` are keys of the config that the author declares to be without effect, `prefix` names
    the part of a larger checkpoint that is the decoder.
    """
    opened = open_folder(weights, headers, prefix)
    location, config, tensors = opened.location, opened.config, opened.tensors
    problems = [*filter(None, [refusal(config)]), *faults(config)]
    spelled = Spelled(config)
    home = folder()
    if not problems and home is not None:
        models, name = home / "models", module_name_of(config)
        head = any(f".{tensor}".endswith(f".{HEAD}") for tensor in tensors)
        spelled = spell(plain(config), models, name, head, ignore)
        placed = [((*opened.keys, *path), problem) for path, problem in spelled.problems]
        problems += at_their_keys(location / "config.json", headers, placed)
    found = check_checkpoint(location, headers, config, tensors, problems)
    shared = {each.name: getattr(found, each.name) for each in fields(found)}
    return MlxCheckpoint(**shared, spelled=spelled, prefix=opened.prefix)

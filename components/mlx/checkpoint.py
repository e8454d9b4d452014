"""What the headers of a folder say that mlx-lm is to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..checkpoints.checkpoint import Checkpoint, open_folder
from ..checkpoints.checkpoint import check_checkpoint as hold
from ..checkpoints.rope import faults
from .architecture import refusal

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats import Headers


def read_checkpoint(location: Location, headers: Headers) -> Checkpoint:
    """Read a folder's headers; raise ComposerError with everything that contradicts."""
    config, tensors = open_folder(location, headers)
    problems = [*filter(None, [refusal(config)]), *faults(config)]
    return hold(location, headers, config, tensors, problems)

"""What the headers of a folder say that mlx-lm is to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lm.checkpoint import Checkpoint, open_folder
from ..lm.checkpoint import hold_checkpoint as hold
from ..lm.rope import faults
from .architecture import refusal

if TYPE_CHECKING:
    from composer.headers import Headers
    from composer.location import Location


def read_checkpoint(location: Location, headers: Headers) -> Checkpoint:
    """Read a folder's headers; raise ComposerError with everything that contradicts."""
    config, tensors = open_folder(location, headers)
    problems = [*filter(None, [refusal(config)]), *faults(config)]
    return hold(location, headers, config, tensors, problems)

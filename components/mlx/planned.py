"""Refuse to load what this release can check but not run."""

from __future__ import annotations

from composer.component import Spec
from composer.errors import ComposerError, Problem


def not_yet(kind: str, spec: Spec) -> ComposerError:
    """Return the refusal of a component that has ports and facts, and no forward pass yet."""
    return ComposerError(
        Problem(
            "R506",
            f"{spec.name} ({kind}) can be checked by this release of composer, not run",
            hint="composer list --components tells which kinds run",
        )
    )

"""Leave out the warnings that an author knows of and means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from composer.core.errors import Problem

if TYPE_CHECKING:
    from composer.manifest import Manifest


def without_accepted(manifest: Manifest, problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems but for warnings that `accepts` names; warn of what it names in vain."""
    given = list(problems)
    accepted = {each.code for each in given if each.severity == "warning"} & set(manifest.accepts)
    kept = [each for each in given if each.code not in accepted]
    if manifest.variants:  # another one may have it
        return kept
    for code in manifest.accepts:
        if code not in accepted:
            kept.append(
                Problem(
                    "L344",
                    f"accepts names {code}, and this bundle has no such warning",
                    manifest.place("accepts", code, key=True),
                    hint="remove it",
                    severity="warning",
                )
            )
    return kept

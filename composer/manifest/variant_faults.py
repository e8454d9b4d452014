"""Find what a variant changes that the bundle does not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from composer.core.suggest import listed, with_nearest
from composer.manifest.tree import shortened
from composer.manifest.validation_faults import Fault


def misspelt_components(data: Mapping[str, Any], variant: str) -> list[Fault]:
    """Return a fault for each component that a variant changes and the bundle does not have."""
    known = data.get("components")
    changed: Any = data.get("variants")
    for key in (variant, "components"):
        changed = changed.get(key) if isinstance(changed, dict) else None
    if not isinstance(changed, dict) or not isinstance(known, dict):
        return []
    findings = []
    for name, entry in changed.items():
        if isinstance(entry, dict) and name not in known and "use" not in entry:
            message = with_nearest(f"there is no component '{shortened(name)}'", name, known)
            hint = f"a new one needs the key 'use'; components: {listed(known)}"
            findings.append(Fault("M122", message, ("components", name), hint, key=True))
    return findings

"""Write the manifest of a bundle whose weights were quantized."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from composer.core.quantization_recipe import QuantizationRecipe
from composer.graph.checked import Checked

GONE = ("variants", "publishes", "recognises")  # which are of the bundle that it was made from


def manifest_text(
    checked: Checked,
    recipes: Mapping[str, str | QuantizationRecipe],
    folder: Path,
    calibration: Mapping[str, Any] | None = None,
) -> str:
    """Return the manifest of a bundle whose sources are folders of their names.

    Components with a recipe are stored as it says now; its dtype stays their precision. What was
    calibrated is in their provenance.
    """
    manifest = checked.manifest
    data: dict[str, Any] = {k: v for k, v in manifest.document.data.items() if k not in GONE}
    name = re.sub(r"[^a-z0-9-]+", "-", folder.absolute().name.lower()).strip("-")
    data["name"] = name or manifest.name
    data["sources"] = {source: f"./{source}" for source in manifest.sources}
    components = dict(data["components"])
    for each, recipe in recipes.items():
        entry = {k: v for k, v in components[each].items() if k != "precision"}
        if isinstance(recipe, QuantizationRecipe) and recipe.dtype:
            entry["precision"] = recipe.dtype
        components[each] = entry
    data["components"] = components
    data["provenance"] = list(data.get("provenance", ()))
    for each, recipe in recipes.items():
        how = f"converted: {recipe}"
        if isinstance(recipe, QuantizationRecipe):
            how = f"quantized: {replace(recipe, dtype=None).title}"
        if calibration and each in calibration["modules"]:
            how += f", by {calibration['method']} on {len(calibration['samples'])} files"
        data["provenance"].append({"what": each, "from": _origin(checked, each), "how": how})
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)


def _origin(checked: Checked, name: str) -> str:
    """Return where a component's weights came from: a repository's file, or the bundle."""
    weights = checked.components[name].spec.weights
    source = checked.manifest.sources.get(weights.source) if weights else None
    if source is None or weights is None or source.kind != "hf":
        return checked.manifest.name
    return f"{source.value}/{weights.inside}" if weights.inside else source.value

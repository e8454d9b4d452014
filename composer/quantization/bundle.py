"""Write a whole bundle down with some of its weights quantized."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from composer.core.location import Location
from composer.core.new_folder import require_room
from composer.core.quantization_recipe import QuantizationRecipe, precision_json
from composer.core.weight_group import WeightGroup
from composer.formats import Headers
from composer.formats.packing import FileConversion, Packing
from composer.graph.checked import Checked
from composer.graph.files import component_files
from composer.quantization.checkpoint import Rewrite, plan_rewrite, write_checkpoint
from composer.quantization.manifest import manifest_text

ORIGINS = "quantization.json"
WEIGHTS = (".safetensors", ".safetensors.index.json")
BESIDE = (".json", ".txt", ".jinja", ".model", ".md")  # what other readers of a folder look for
MOST_BESIDE = 100_000_000  # bytes of such a file
PIECE = 16_000_000


@dataclass(frozen=True)
class QuantizedBundle:
    """What is to be written: checkpoints and files that are rewritten, and files that are not."""

    checked: Checked
    recipes: Mapping[str, str | QuantizationRecipe]
    rewrites: tuple[Rewrite, ...]
    conversions: Mapping[str, FileConversion]
    copies: Mapping[str, Path]

    @property
    def nbytes(self) -> int:
        """Return the bytes that it takes at most."""
        copied = sum(path.stat().st_size for path in self.copies.values())
        return copied + self._converted + sum(each.nbytes for each in self.rewrites)

    @property
    def _converted(self) -> int:
        files = [file for each in self.conversions.values() for file in each.files]
        return sum(file.path.stat().st_size for file in files if file.path)

    @property
    def read(self) -> int:
        """Return the bytes of what is rewritten."""
        return self._converted + sum(each.read for each in self.rewrites)

    @property
    def steps(self) -> int:
        """Return how many tensors and files are made or copied in these."""
        tensors = sum(len(entries) for each in self.rewrites for entries in each.files.values())
        return tensors + len(self.conversions)


def plan_bundle(
    checked: Checked, shard: int, calibrated: Mapping[str, Packing] | None = None
) -> QuantizedBundle:
    """Plan the bundle in which each component with a recipe is stored as that says.

    `calibrated` are packings that stand for a component's own.
    """
    packings: dict[str, list[Packing]] = {}
    recipes, conversions = {}, {}
    for name, known in checked.components.items():
        packing = known.facts.packing if known.facts else None
        packing = (calibrated or {}).get(name, packing)
        if not packing:
            continue
        recipes[name] = known.spec.precision
        if isinstance(packing, FileConversion):
            conversions[name] = packing
        else:
            packings.setdefault(str(packing.config), []).append(packing)
    headers = Headers()
    rewrites = tuple(plan_rewrite(found, headers, shard) for found in packings.values())
    copies = _copies(checked, rewrites, conversions.values())
    return QuantizedBundle(checked, recipes, rewrites, conversions, copies)


def _copies(
    checked: Checked, rewrites: Iterable[Rewrite], conversions: Iterable[FileConversion]
) -> dict[str, Path]:
    """Return the files that stay as they are, by their path in the new bundle."""
    rewritten = {str(file) for each in conversions for file in each.files}
    for rewrite in rewrites:
        entries = [entry for each in rewrite.files.values() for entry in each]
        rewritten |= {str(entry.tensor.file) for entry in entries}
        rewritten.add(str(rewrite.place))
    found: dict[str, Path] = {}
    folders: dict[str, Location] = {}
    for known in checked.components.values():
        for place in component_files(known):
            folder = Location(place.source, place.inside.rpartition("/")[0], place.root)
            folders[str(folder)] = folder
            index = str(place).endswith(WEIGHTS[1]) and _is_rewritten(place, rewritten)
            if str(place) not in rewritten and not index:
                assert place.path
                found[str(place)] = place.path
    for folder in folders.values():
        for path in sorted(folder.path.iterdir()) if folder.path else ():
            small = path.name.endswith(BESIDE) and not path.name.endswith(WEIGHTS)
            if small and path.is_file() and path.stat().st_size <= MOST_BESIDE:
                inside = str(folder / path.name)
                if inside not in rewritten:
                    found[inside] = path
    for own in ("bundle.json", "bundle.lock", ORIGINS):
        for source in checked.manifest.sources:
            found.pop(f"{source}/{own}", None)
    return found


def _is_rewritten(index: Location, rewritten: set[str]) -> bool:
    folder = str(index).rpartition("/")[0]
    return any(file.rpartition("/")[0] == folder for file in rewritten)


def write_quantized_bundle(
    planned: QuantizedBundle,
    target: Path,
    folder: Path,
    done: Callable[[], None],
    calibration: Mapping[str, Any] | None = None,
) -> dict[str, tuple[WeightGroup, ...]]:
    """Write a bundle that is to become `target` into a new folder.

    `calibration` is what its packing was calibrated on, which is written down. Return the weights
    of each quantized component, as they are stored there. Raise R507 where it does not fit on the
    disk, and OSError where it cannot be written.
    """
    require_room(target, planned.nbytes)
    for name, path in planned.copies.items():
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as source, copy.open("xb") as made:
            shutil.copyfileobj(source, made, PIECE)
    origins: dict[str, Any] = {}
    for rewrite in planned.rewrites:
        place = rewrite.place
        inside = f"{place.source}/{place.inside}".rpartition("/")[0]
        origins[inside] = write_checkpoint(rewrite, folder / inside, done)
    weights = {}
    for name in planned.recipes:
        facts = planned.checked.components[name].facts
        if name not in planned.conversions and facts:
            weights[name] = facts.packing.groups
    for name, conversion in planned.conversions.items():
        weights[name] = _convert(conversion, folder, origins)
        done()
    for name in planned.checked.manifest.sources:
        (folder / name).mkdir(exist_ok=True)
    text = manifest_text(planned.checked, planned.recipes, target, calibration)
    (folder / "bundle.yaml").write_text(text, "utf-8")
    recipes = {name: precision_json(recipe) for name, recipe in planned.recipes.items()}
    notes: dict[str, Any] = {"recipes": recipes, "tensors": origins}
    if calibration:
        notes["calibration"] = calibration
    (folder / ORIGINS).write_text(json.dumps(notes, indent=1) + "\n", "utf-8")
    return weights


def _convert(
    conversion: FileConversion, folder: Path, origins: dict[str, Any]
) -> tuple[WeightGroup, ...]:
    """Write a file in its new precision; note the digests of what it was made of."""
    place = conversion.weights
    target = folder / str(place)
    target.parent.mkdir(parents=True, exist_ok=True)
    assert place.path
    groups = conversion.convert(place.path, target)
    digests = {}
    for file in conversion.files:
        assert file.path
        with file.path.open("rb") as opened:
            digests[str(file)] = hashlib.file_digest(opened, "sha256").hexdigest()
    origins[str(place)] = {"from": digests}
    return groups

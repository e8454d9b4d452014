"""Write a whole bundle down with some of its weights quantized."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from composer.core.location import Location
from composer.core.new_folder import require_room
from composer.core.quantization_recipe import QuantizationRecipe, precision_json
from composer.core.weight_group import WeightGroup
from composer.formats import Headers
from composer.formats.packing import Packing
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
    """What is to be written: the rewritten checkpoints, and the files that stay as they are."""

    checked: Checked
    recipes: Mapping[str, QuantizationRecipe]
    rewrites: tuple[Rewrite, ...]
    copies: Mapping[str, Path]

    @property
    def nbytes(self) -> int:
        """Return the bytes that it takes."""
        copied = sum(path.stat().st_size for path in self.copies.values())
        return copied + sum(each.nbytes for each in self.rewrites)

    @property
    def weights(self) -> dict[str, tuple[WeightGroup, ...]]:
        """Return the weights of each quantized component, as they are then stored."""
        facts = {name: self.checked.components[name].facts for name in self.recipes}
        return {name: each.packing.groups for name, each in facts.items() if each}

    @property
    def read(self) -> int:
        """Return the bytes of the checkpoints that are rewritten."""
        return sum(each.read for each in self.rewrites)

    @property
    def tensors(self) -> int:
        """Return how many tensors are made or copied in these."""
        return sum(len(entries) for each in self.rewrites for entries in each.files.values())


def plan_bundle(checked: Checked, shard: int) -> QuantizedBundle:
    """Plan the bundle in which each component with a recipe is stored as that says."""
    packings: dict[str, list[Packing]] = {}
    recipes = {}
    for name, known in checked.components.items():
        if known.facts and known.facts.packing:
            recipes[name] = known.spec.recipe
            packings.setdefault(str(known.facts.packing.config), []).append(known.facts.packing)
    headers = Headers()
    rewrites = tuple(plan_rewrite(found, headers, shard) for found in packings.values())
    return QuantizedBundle(checked, recipes, rewrites, _copies(checked, rewrites))


def _copies(checked: Checked, rewrites: tuple[Rewrite, ...]) -> dict[str, Path]:
    """Return the files that stay as they are, by their path in the new bundle."""
    rewritten = set()
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


def write_bundle(
    planned: QuantizedBundle, target: Path, folder: Path, done: Callable[[], None]
) -> None:
    """Write a bundle that is to become `target` into a new folder.

    Raise R507 where it does not fit on the disk, and OSError where it cannot be written.
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
    for name in planned.checked.manifest.sources:
        (folder / name).mkdir(exist_ok=True)
    text = manifest_text(planned.checked, planned.recipes, target)
    (folder / "bundle.yaml").write_text(text, "utf-8")
    recipes = {name: precision_json(recipe) for name, recipe in planned.recipes.items()}
    notes = {"recipes": recipes, "tensors": origins}
    (folder / ORIGINS).write_text(json.dumps(notes, indent=1) + "\n", "utf-8")

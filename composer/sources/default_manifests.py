"""Find the manifest for a checkpoint that has none, by what its headers say.

These are its config.json, the names of its tensors and files, or its GGUF metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location
from composer.core.suggest import did_you_mean, listed
from composer.formats import Headers
from composer.formats.file_problems import show
from composer.formats.gguf import SUFFIX as GGUF
from composer.manifest import Manifest, read_manifest
from composer.sources.checkpoint import CONFIG, GENAI
from composer.sources.hub import HubFiles
from composer.sources.shipped import shipped_folder

FOLDER = "defaults"
MODEL_TYPE, GENAI_TYPE, ARCHITECTURE = "model_type", "model.type", "general.architecture"
CLIP = "clip."  # how the keys of encoders in GGUF files begin
# The keys of `recognises` that list what names of tensors begin with, and files.
TENSORS, FILES = "tensors", "files"
BESIDE = (TENSORS, FILES)


def default_manifests() -> Mapping[str, Manifest]:
    """Return every default manifest by its name."""
    return _manifests(shipped_folder("bundles") / FOLDER)


@cache
def _manifests(folder: Path) -> Mapping[str, Manifest]:
    found = (read_manifest(path) for path in sorted(folder.glob("*.yaml")))
    return {manifest.name: manifest for manifest in found}


def default_manifest(checkpoint: Location, mmproj: Location | None = None) -> Manifest:
    """Return the default manifest of a checkpoint; raise S456 where there is none.

    It is a folder with a config.json or a genai_config.json, or a GGUF file, `mmproj` that of
    encoders beside it. Of several that fit, it is the one that states most.
    """
    headers = Headers(HubFiles())
    if checkpoint.inside.endswith(GGUF):
        file, kind = checkpoint, ARCHITECTURE
        stated = headers.gguf(file).metadata
        if mmproj is not None:
            stated = {**_of_encoders(headers.gguf(mmproj).metadata), **stated}
    elif headers.exists(checkpoint / GENAI):
        file, kind = checkpoint / GENAI, GENAI_TYPE
        stated = headers.config(file)
    else:
        file, kind = checkpoint / CONFIG, MODEL_TYPE
        stated = headers.config(file)
    fitting = [each for each in default_manifests().values() if _fits(each, stated)]
    for manifest in sorted(fitting, key=_statements, reverse=True):
        if _has_tensors(manifest, checkpoint, headers) and _has_files(
            manifest, checkpoint, headers
        ):
            return manifest
    raise ComposerError(_unknown(checkpoint, file, kind, _value(stated, kind)))


def _statements(manifest: Manifest) -> tuple[int, int]:
    """Return how much a manifest states."""
    return len(manifest.recognises), len(manifest.recognises.get(FILES, ()))


def _of_encoders(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the metadata of a file of encoders says of them."""
    return {key: value for key, value in metadata.items() if key.startswith(CLIP)}


def _fits(manifest: Manifest, stated: Mapping[str, Any]) -> bool:
    wanted = {key: values for key, values in manifest.recognises.items() if key not in BESIDE}
    return bool(wanted) and all(_value(stated, key) in values for key, values in wanted.items())


def _has_tensors(manifest: Manifest, checkpoint: Location, headers: Headers) -> bool:
    """Return whether there are tensors under every prefix that a manifest is for."""
    prefixes = manifest.recognises.get(TENSORS, ())
    if not prefixes:
        return True
    is_file = checkpoint.inside.endswith(GGUF)
    index = headers.gguf(checkpoint).tensors if is_file else headers.safetensors(checkpoint)
    names = [name.removeprefix("model.") for name in index]
    return all(any(name.startswith(prefix) for name in names) for prefix in prefixes)


def _has_files(manifest: Manifest, checkpoint: Location, headers: Headers) -> bool:
    """Return whether all files are there that a manifest is for, and no safetensors."""
    files = manifest.recognises.get(FILES, ())
    if not files:
        return True
    if any(name.endswith(".safetensors") for name in headers.files.names(checkpoint)):
        return False
    return all(headers.exists(checkpoint / name) for name in files)


def _value(stated: Mapping[str, Any], path: str) -> Any:
    """Return the value of a key, which of a GGUF file has dots of its own."""
    if path in stated:
        return stated[path]
    value: Any = stated
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _unknown(checkpoint: Location, file: Location, key: str, found: Any) -> Problem:
    """Return the problem that no default manifest fits, with what one for this value wants."""
    known: list[Any] = []
    causes = [f"the default manifests are {listed(sorted(default_manifests()))}"]
    for each in default_manifests().values():
        values = each.recognises.get(key, ())
        known += values
        if found in values:
            rest = {other: some for other, some in each.recognises.items() if other != key}
            wanted = "; ".join(f"{other}: {', '.join(some)}" for other, some in rest.items())
            causes.append(f"{each.name} is for it with {wanted}")
    near = None if found in known else did_you_mean(str(found), known)
    return Problem(
        "S456",
        f"{checkpoint} has no bundle.yaml, and no default manifest is for its {key} "
        f"{show(str(found))}" + " alone" * (found in known),
        Place(str(file)),
        tuple(causes),
        hint=near or "write a manifest: composer new DIR makes one to change",
    )

"""Read a bundle.yaml into a validated manifest that knows its lines (above formats)."""

from composer.manifest.entries import (
    AdapterEntry,
    ComponentEntry,
    Input,
    Node,
    Origin,
    Source,
    Task,
)
from composer.manifest.manifest import FILES, Manifest, find_manifest, read_document, read_manifest

__all__ = [
    "FILES",
    "AdapterEntry",
    "ComponentEntry",
    "Input",
    "Manifest",
    "Node",
    "Origin",
    "Source",
    "Task",
    "find_manifest",
    "read_document",
    "read_manifest",
]

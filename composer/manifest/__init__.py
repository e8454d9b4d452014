"""Read a file's text into a validated manifest that knows the place of each part."""

from composer.manifest.entries import (
    AdapterEntry,
    ComponentEntry,
    Input,
    Node,
    Origin,
    Quantization,
    QuantizationRule,
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
    "Quantization",
    "QuantizationRule",
    "Source",
    "Task",
    "find_manifest",
    "read_document",
    "read_manifest",
]

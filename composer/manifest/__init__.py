"""From a file's text to a manifest that is well formed, with the place of everything in it."""

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
from composer.manifest.manifest import FILES, Manifest, find_manifest, read_manifest

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
    "read_manifest",
]

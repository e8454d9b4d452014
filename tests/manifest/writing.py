"""Write small manifests, and read what they are refused with."""

from pathlib import Path

import pytest

from composer.core.errors import ComposerError
from composer.manifest import (
    read_manifest,
)

BASE = {
    "composer": "1",
    "name": "tiny",
    "components": "{features: {use: audio.log_mel}}",
    "inputs": "{audio: audio}",
    "graph": "{mel: {run: features, with: {audio: $audio}}}",
    "outputs": "{mel: $mel}",
}


def bundle(**changes) -> Path:
    """Write BASE with other keys; the changed ones come last, from line 7 - len(replaced) on."""
    keys = {k: v for k, v in BASE.items() if k not in changes} | changes
    path = Path("b.yaml")
    path.write_text("".join(f"{k}: {v}\n" for k, v in keys.items() if v is not None), "utf-8")
    return path


def error_text(path, variant=None):
    with pytest.raises(ComposerError) as caught:
        read_manifest(path, variant)
    return str(caught.value)

"""The functions of the Elderwise release's quickstart, on top of its manifest.

Code that was written for `elderwise.inference` runs with this module in its place:

    pipeline = load_pipeline(meralion_dir=..., gemma_id=..., projector_path=..., lora_path=...)
    text = transcribe_with_pipeline(pipeline, "your_audio.wav", max_tokens=128)

Each part may lie in a folder of its own. What the release trusts is checked: that the parts fit
together, and that the adapter is of the rank and on the modules that are named.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

import composer
from composer.formats import Headers
from composer.manifest import find_manifest
from composer.sources.resolve import find_bundle

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
MATRIX = re.compile(r"\.(\w+)\.lora_[ab]$")


def load_pipeline(
    meralion_dir: str | Path,
    gemma_id: str | Path,
    projector_path: str | Path,
    lora_path: str | Path,
    lora_rank: int = 16,
    lora_target_names: Sequence[str] = TARGETS,
    manifest: str | Path = "elderwise",
) -> composer.Bundle:
    """Load the four parts as the manifest wires them; every part is a folder on this machine.

    Raise ComposerError where they do not fit together, and ValueError where the adapter is another
    than the arguments say.
    """
    parts = {
        "speech_part": Path(meralion_dir),
        "decoder_part": Path(gemma_id),
        "projector_part": Path(projector_path),
        "lora_part": Path(lora_path),
    }
    wired = yaml.safe_load(find_manifest(find_bundle(manifest).path).read_text(encoding="utf-8"))
    wired["sources"] = {name: f"./{name}" for name in parts}
    components = wired["components"]
    components["speech"]["weights"] = "speech_part"
    components["projector"]["weights"] = "projector_part"
    components["decoder"]["weights"] = "decoder_part"
    components["decoder"]["adapters"]["speech"]["weights"] = "lora_part"
    for name in ("decoder", "prompt", "talk"):
        components[name]["files"] = "decoder_part"
    wired.pop("variants", None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle.json"
        path.write_text(json.dumps(wired), encoding="utf-8")
        bundle = composer.load(path, sources=parts)
    rank, targets = _adapter(bundle)
    if (rank, targets) != (lora_rank, set(lora_target_names)):
        bundle.close()
        raise ValueError(
            f"the adapter is of rank {rank} on {', '.join(sorted(targets))}; asked for was rank "
            f"{lora_rank} on {', '.join(sorted(lora_target_names))}"
        )
    return bundle


def transcribe_with_pipeline(pipeline: composer.Bundle, audio: Any, max_tokens: int = 128) -> str:
    """Transcribe one clip with the speech adapter on."""
    options = {"answer": {"max_tokens": max_tokens}}
    return pipeline.run(task="transcribe", audio=audio, options=options).text


def _adapter(bundle: composer.Bundle) -> tuple[int, set[str]]:
    """Return the rank and the target modules that the adapter's tensors have."""
    adapter = bundle.checked.components["decoder"].spec.adapters["speech"]
    tensors = Headers().safetensors(adapter.weights / "adapters.safetensors")
    targets = {found[1] for name in tensors if (found := MATRIX.search(name))}
    (rank,) = {tensor.shape[1] for name, tensor in tensors.items() if name.endswith("lora_a")}
    return rank, targets

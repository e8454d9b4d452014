"""What other tools call the keys of a manifest, so that a message can name the one here."""

from __future__ import annotations

from collections.abc import Collection

from composer.core.suggest import nearest

CALLED = {
    "run": "use uses call component function module op",
    "use": "uses type kind class model_type",
    "with": "inputs input args arguments params kwargs",
    "weights": "path file model model_path checkpoint pretrained",
    "precision": "dtype quantization quantize bits",
    "config": "params parameters settings options args kwargs",
    "graph": "nodes steps pipeline flow edges",
    "components": "models modules parts",
    "like": "extends inherits base parent",
    "port": "shape dims dtype",
    "composer": "version format",
    "summary": "description title",
    "rate": "sample_rate sampling_rate samplerate sr",
    "mels": "n_mels num_mel_bins feature_size",
    "hop": "hop_length hop_size",
    "n_fft": "win_length window fft_size",
    "max_tokens": "max_new_tokens max_length",
}
PLACEMENT = frozenset({"device", "devices", "backend", "threads", "providers", "device_map", "gpu"})
PLACEMENT_HINT = "where it runs is the user's choice: --backend, --place or a profile"


def likely_key(word: str, options: Collection[str]) -> str | None:
    """Return the key that an author means: by another tool's name, by its look, or by a part."""
    for option in options:
        if word.lower() in CALLED.get(option, "").split():
            return option
    near = nearest(word, options)
    if near:
        return near
    parts = [option for option in options if option in word.lower().split("_")]
    return parts[0] if len(parts) == 1 else None

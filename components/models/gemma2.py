"""Gemma 2's text decoder: Gemma 3's layers with bounded attention, and no norm of queries and keys.

The formulas are those of transformers' Gemma2ForCausalLM. Embeddings come as their table has them.
"""

from __future__ import annotations

from ..checkpoints.config_keys.window import FULL, SLIDING
from .decoder import Architecture
from .decoder_config import DecoderConfigReader
from .gemma3 import Gemma3Settings, forward, listed_types, read_common_settings, tensors


def read_settings(config: DecoderConfigReader) -> Gemma3Settings:
    """Read what the network needs; where the config is silent, transformers' values count."""
    rotary = config.rotary(config.count("head_dim", 256))
    return read_common_settings(
        config,
        _read_layer_types(config),
        {SLIDING: rotary, FULL: rotary},
        qk_norm=False,
        final_softcap=_read_bound(config, "final_logit_softcapping", 30.0),
        attention_softcap=_read_bound(config, "attn_logit_softcapping", 50.0),
    )


def _read_bound(config: DecoderConfigReader, key: str, default: float) -> float | None:
    """Return a bound; a key that is null sets none, one that is absent has the default."""
    if key in config.values and config.value(key) is None:
        return None
    return config.real(key, default)


def _read_layer_types(config: DecoderConfigReader) -> list[str]:
    """Return the type of each layer: as listed, or every other one with a window."""
    num_layers = config.count("num_hidden_layers")
    types = config.value("layer_types")
    if types is None:
        return [FULL if number % 2 else SLIDING for number in range(num_layers)]
    return listed_types(config, types, num_layers)


ARCHITECTURE = Architecture(("gemma2",), read_settings, tensors, forward)

"""What a config says of Phi-4's speech conformer, all of which its tensors show or are fixed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from composer.core.location import Location

from ..encoder_config import refuse_unread
from ..layout import ExpectedSetting, LayoutChecker

SIZES = {
    "attention_dim": "width",
    "attention_heads": "heads",
    "depthwise_seperable_out_channel": "width",  # as the release spells it
    "encoder_embedding_config.input_size": "mels",
    "ext_pw_out_channel": "width",
    "input_size": "mels",
    "kernel_size": "kernel",
    "linear_units": "ffn",
    "nemo_conv_settings.conv_channels": "channels",
    "num_blocks": "layers",
    "relative_attention_bias_args.t5_bias_max_distance": "reach",
}
FIXED: Mapping[str, Any] = {
    "activation": "swish",
    "attention_group_size": 1,
    "batch_norm": False,
    "bias_in_glu": True,
    "causal": True,
    "chunk_se": 0,
    "chunk_size": -1,
    "conv_activation": "swish",
    "conv_glu_type": "swish",
    "depthwise_multiplier": 1,
    "ext_pw_kernel_size": 1,
    "extra_layer_output_idx": -1,
    "input_layer": "nemo_conv",
    "linear_glu_in_convm": False,
    "nemo_conv_settings.is_causal": False,
    "relative_attention_bias_args.t5_bias_symmetric": False,
    "relative_attention_bias_args.type": "t5",
    "replication_pad_for_subsample_embedding": False,
    "time_reduction": 8,
}
NESTED = ("encoder_embedding_config", "nemo_conv_settings", "relative_attention_bias_args")
# Of training, of the chunks that chunk_size -1 does not make, and of what the tensors show.
READ = (
    "activation_checkpointing", "cnn_layer_norm", "dropout_rate", "left_chunk",
    "use_pt_scaled_dot_product_attention",
)  # fmt: skip


def expected_settings(
    checker: LayoutChecker, file: Location, audio: Mapping[str, Any]
) -> Iterator[ExpectedSetting]:
    """Return the settings that are checked against the tensors; report keys that nothing reads."""
    stated = _flat(audio)
    for key, value in stated.items():
        if key in SIZES or key in FIXED:
            path = f"audio_config.{key}"
            yield ExpectedSetting(file, path, value, SIZES.get(key), FIXED.get(key))
    refuse_unread(checker, file, "audio_config", stated, (*SIZES, *FIXED, *READ))


def _flat(audio: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with the keys of its nested parts after a dot."""
    found: dict[str, Any] = {}
    for key, value in audio.items():
        if key in NESTED and isinstance(value, dict):
            found |= {f"{key}.{inner}": each for inner, each in value.items()}
        else:
            found[key] = value
    return found

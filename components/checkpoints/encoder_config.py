"""Refuse keys of an encoder's config that nothing reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from composer.formats.file_problems import show_bare

from .config_keys.meaning import unread_keys
from .layout import LayoutChecker

if TYPE_CHECKING:
    from composer.core.location import Location

# Keys of training, of Whisper's decoder and of limits that the encoder does not have.
INERT = frozenset(
    """
    activation_dropout apply_spec_augment classifier_proj_size conv_chunksize
    decoder_attention_heads decoder_ffn_dim decoder_layerdrop decoder_layers dropout
    encoder_layerdrop init_std is_encoder_decoder mask_feature_length mask_feature_min_masks
    mask_feature_prob mask_time_length mask_time_min_masks mask_time_prob max_position_embeddings
    max_source_positions max_target_positions median_filter_width num_hidden_layers
    tie_word_embeddings use_weighted_layer_sum vocab_size
    """.split()
)


def refuse_unread(
    checker: LayoutChecker,
    file: Location,
    path: str,
    config: Mapping[str, Any],
    read: Collection[str],
) -> None:
    """Report each key that is neither read nor known to change no number."""
    for key in unread_keys(config, frozenset(read) | INERT):
        what = f"{path}.{show_bare(key)} is no setting of this encoder"
        checker.report(
            "W273", what, f"{show_bare(config[key])} comes from {file}: {path}.{show_bare(key)}"
        )

"""What the keys of a decoder's config.json mean to the numbers that it computes.

A key is read by the network that runs it, or stands in `INERT`, or has one of the values at which
it changes nothing (`NEUTRAL`), or is refused by its name. The names are those of transformers and
of mlx-lm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# Keys of training, of saving, of generation and of other tasks: no value of theirs changes logits.
INERT = frozenset(
    """
    _attn_implementation _attn_implementation_autoset _commit_hash _name_or_path architectures
    attention_dropout attention_probs_dropout_prob attn_implementation attn_pdrop audio_config
    audio_token_id audio_token_index auto_map bad_words_ids begin_suppress_tokens boi_token_id
    boi_token_index bos_token bos_token_id classifier_dropout custom_pipelines datasets
    decoder_start_token_id diversity_penalty do_sample dtype early_stopping emb_dropout
    embd_dropout embd_pdrop encoder_no_repeat_ngram_size eoi_token_id eoi_token_index eos_token
    eos_token_id exponential_decay_length_penalty finetuning_task forced_bos_token_id
    forced_eos_token_id gradient_checkpointing hidden_dropout hidden_dropout_prob id2label
    image_seq_length image_token_id image_token_index initializer_range label2id language
    language_model_only length_penalty license max_length max_new_tokens max_tokenizer_truncation
    min_length min_p
    mlx_version mm_tokens_per_image model_type mtp_layer_types mtp_mlp_layer_types
    multimodal_projector_bias no_repeat_ngram_size num_beam_groups num_beams
    num_nextn_predict_layers num_return_sequences out_hidden_size output_attentions
    output_hidden_states output_router_logits output_scores pad_token pad_token_id prefix
    pretraining_tp problem_type projector_hidden_act projector_hidden_size quantization
    quantization_config remove_invalid_values repetition_penalty resid_pdrop residual_dropout
    return_dict return_dict_in_generate router_aux_loss_coef router_jitter_noise
    router_z_loss_coef sep_token_id spatial_merge_size summary suppress_tokens
    task_specific_params temperature tf_legacy_loss tokenizer_class top_k top_p torch_dtype
    torchscript transformers.js_config transformers_version typical_p unsloth_fixed
    unsloth_version use_bfloat16 use_cache video_token_id video_token_index vision_config
    vision_end_token_id vision_feature_layer vision_feature_select_strategy
    vision_start_token_id
    """.split()
)

IGNORE = (
    "keys of the checkpoint's config.json that change nothing, by your word: one that nothing "
    "reads is refused otherwise"
)
# Values at which a key changes nothing where the network does not read it; null never does.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "add_cross_attention": (False,),
    "chunk_size_feed_forward": (0,),
    "cross_attention_hidden_size": (None,),
    "is_decoder": (False, True),
    "is_encoder_decoder": (False,),
    "pruned_heads": ({}, []),
    "tie_encoder_decoder": (False,),
    "alibi": (False,),
    "attention_bias": (False,),
    "attention_multiplier": (),
    "attn_logit_softcapping": (0, 0.0),
    "embedding_multiplier": (1, 1.0),
    "final_logit_softcapping": (0, 0.0),
    "logit_scale": (1, 1.0),
    "logits_scaling": (1, 1.0),
    "lm_head_bias": (False,),
    "mlp_bias": (False,),
    "moe_apply_router_weight_on_input": (False,),
    "moe_router_logit_softcapping": (0, 0.0),
    "n_group": (1,),
    "topk_group": (1,),
    "num_shared_experts": (0,),
    "qkv_bias": (False,),
    "residual_multiplier": (1, 1.0),
    "rope_traditional": (False,),
    "routed_scaling_factor": (1, 1.0),
    "scale_embedding": (False,),
    "use_bidirectional_attention": (False,),
    "use_sliding_window": (False,),
    "use_qk_norm": (False,),
    "use_mrope": (False,),
}

# Two names of one meaning: a network that reads the second takes what stands under the first.
ALIASES = (
    ("num_local_experts", "num_experts"),
    ("num_experts", "num_local_experts"),
    ("n_routed_experts", "num_experts"),
    ("num_experts", "n_routed_experts"),
    ("hidden_activation", "hidden_act"),
    ("hidden_act", "hidden_activation"),
    ("activation_function", "hidden_act"),
    ("moe_num_experts", "num_experts"),
)


def unread_keys(config: Mapping[str, Any], read: frozenset[str]) -> Iterator[str]:
    """Yield the keys that nothing reads and that may change what is computed."""
    for key, value in config.items():
        if key in read or key in INERT or value is None:
            continue
        if key == "mlp_layer_types" and value == ["sparse"] * len(value):
            continue
        if not any(_same(value, plain) for plain in NEUTRAL.get(key, ())):
            yield key


def _same(value: Any, plain: Any) -> bool:
    """Compare as JSON does: true is not 1."""
    return value == plain and isinstance(value, bool) == isinstance(plain, bool)
